"""Read the API for a whole fleet, and write what was read, signed, to the fleet's bucket."""

from __future__ import annotations

import gc
import secrets
import signal
from pathlib import Path
from typing import Final

from droplan_boot import paths
from droplan_boot.errors import DroplanError, NoAnswerError, UsageError
from droplan_boot.host import openssl
from droplan_boot.host.doors import Host
from droplan_boot.publish import settings
from droplan_boot.publish.asking import Asking
from droplan_boot.publish.holding import Holding
from droplan_boot.publish.publisher import Publisher
from droplan_boot.publish.signing import Signer, Written
from droplan_boot.sources.shared.store import Condition, Store

_HOSTNAME: Final = Path("/proc/sys/kernel/hostname")
_STORE_S: Final = 30.0


def run(host: Host, *, once: bool = False) -> None:
    """Publish until stopped, or ``once``.

    Raises:
        DroplanError: it cannot be done; what members hold stays as it is.
    """
    host.require_root()
    try:
        publisher = _publisher(host)
        if once:
            publisher.once()
        else:
            _loop(host, publisher)
    except NoAnswerError as error:
        raise DroplanError(error.plain) from None


def _loop(host: Host, publisher: Publisher) -> None:
    # systemd's stop: give the lease back, so that another publisher need not wait for it to lapse.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.enable()  # the zipapp turns it off, for runs of a second
    try:
        while True:
            host.clock.sleep(publisher.step())
    except KeyboardInterrupt:
        host.log.say("Stopping: the lease is free")
    finally:
        publisher.renew()
        publisher.holding.release()


def _publisher(host: Host) -> Publisher:
    wanted = settings.load(host.files)
    private = _private(host, wanted.signing_key)
    for path in (paths.PUBLISH, wanted.signing_key):
        shown = host.files.restrict(path, 0o600)
        if shown:
            host.log.say(f"{path} had {shown}: only root may read it again; replace what is in it if others read it")
    public = openssl.public_key(host.runner, private)
    http = host.session(host.clock)
    http.renew(_STORE_S)
    store = Store(http, wanted.shared, wanted.shared_key)
    store = Store(http, wanted.shared, wanted.shared_key, store.probe())
    if store.conditional is Condition.NONE:
        host.log.complain(
            f"{wanted.shared} does not keep conditions on writes (a versioned bucket does not), so two publishers "
            "would overwrite each other: run this one only, or use an unversioned bucket of Spaces or S3"
        )
    name = (host.files.read(_HOSTNAME, limit=256) or b"publisher").decode(errors="replace").strip() or "publisher"
    trust = tuple(dict.fromkeys((public, *wanted.trust)))
    return Publisher(
        Asking(lambda: host.session(host.clock), wanted.api_url, wanted.token, host.clock),
        Holding(store, f"{name}-{secrets.token_hex(4)}", host.clock),
        Written(store, Signer(host.runner, wanted.signing_key, public, trust), name),
        host.clock,
        host.log,
        lambda: http.renew(_STORE_S),
    )


def _private(host: Host, path: Path) -> str:
    host.files.trust(path)
    data = host.files.read(path)
    if data is None:
        raise UsageError(f"{path} is missing: `droplan fleet key {path}` makes it, and prints what members trust")
    return data.decode(errors="replace")
