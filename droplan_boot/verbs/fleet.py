"""Show a fleet as its bucket tells of it, from anywhere with the read key; make the keys that sign heads."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from droplan_boot import settings
from droplan_boot.errors import DroplanError, NoAnswerError, RefusedError, UsageError
from droplan_boot.host import files, openssl
from droplan_boot.host.doors import Host
from droplan_boot.plural import counted
from droplan_boot.publish import lease
from droplan_boot.publish.lease import Lease
from droplan_boot.settings import Settings
from droplan_boot.sources.shared import head
from droplan_boot.sources.shared.head import Head
from droplan_boot.sources.shared.store import HEAD, LEASE, Store
from droplan_boot.verbs import words

SCHEMA: Final = 1
"""Of the JSON document: docs/schemas/fleet.json."""

_NAMES: Final = ("DROPLAN_SHARED", "DROPLAN_SHARED_KEY", "DROPLAN_SHARED_TRUST")


def _key(host: Host, path: Path) -> None:
    """Write a new private key to ``path`` (0600) and print its public half, one line: what members trust.

    Raises:
        RefusedError: there is something at ``path`` already.
        DroplanError: it cannot be written.
    """
    private = openssl.make_key(host.runner)
    public = openssl.public_key(host.runner, private)
    if not files.create(path, private.encode(), 0o600):
        raise RefusedError(f"{path} is there already, and a publisher may sign with it: name another file")
    sys.stdout.write(f"{public}\n")


def run(host: Host, *, part: str | None = None, file: str | None = None, as_json: bool = False) -> int:
    """Print how a fleet is, or make a key for one.

    Args:
        host: this machine.
        part: ``key`` to make a key.
        file: where the private key goes.
        as_json: for programs.

    Returns:
        The exit code: 1 when its head has expired.

    Raises:
        DroplanError: it cannot be told, or what is there is not believed.
    """
    if part == "key":
        if not file:
            raise UsageError("name the file that the private key goes to: `droplan fleet key FILE`")
        if as_json:
            raise UsageError("`droplan fleet key` prints one line, the public key: leave out --json")
        _key(host, Path(file))
        return 0
    wanted = _settings(host)
    http = host.session(host.clock)
    store = Store(http, wanted.shared, wanted.shared_key)
    try:
        found = store.get(HEAD)
        if found is None:
            raise DroplanError(f"{wanted.shared} holds no head: start a publisher, `droplan publish`")
        believed = head.verified(host.runner, found.body, wanted.shared_trust, wanted.shared)
        leased = store.get(LEASE)
    except NoAnswerError as error:
        raise DroplanError(error.plain) from None
    now = host.clock.time()
    shown = (believed, lease.parse(leased.body) if leased else Lease(), len(found.body), now)
    sys.stdout.write(json.dumps(document(*shown), indent=1) + "\n" if as_json else host.hint(render(*shown)))
    return 0 if believed.expires > now else 1


def document(believed: Head, leased: Lease, size: int, now: float) -> dict[str, Any]:
    """Make the JSON document; the arguments are those of :func:`render`."""
    return {
        "schema": SCHEMA,
        "fleet": believed.fleet,
        "verdict": "fresh" if believed.expires > now else "expired",
        "publisher": _name(leased.holder) or None,
        "standby": [_name(holder) for holder, _ in leased.standby],
        "version": believed.version,
        "written_by": believed.publisher,
        "key": believed.key,
        "issued": believed.issued,
        "expires": believed.expires,
        "age": max(0.0, now - believed.issued),
        "droplets": believed.droplets,
        "base": believed.base.sha256,
        "changes_since_base": len(believed.changes),
        "head_bytes": size,
        "interval": believed.interval,
        "api_requests_last_hour": leased.requests,
        "changes": [
            {"time": when, "change": "gone" if sign == "-" else "created", "droplet": name}
            for when, sign, name in leased.recent[::-1]
        ],
    }


def render(believed: Head, leased: Lease, size: int, now: float) -> str:
    """Lay a fleet out for a person.

    Args:
        believed: its head, verified.
        leased: its lease, which nobody signed.
        size: bytes of the head.
        now: seconds since the epoch.
    """
    late = believed.expires <= now
    nobody = "nobody: start one, `droplan publish`"
    # Whoever runs `publish --once` from a scheduler gives the lease back each time.
    holder = _name(leased.holder) or (nobody if late else f"nobody at the moment, {believed.publisher} was the last")
    age = f"issued {_span(now - believed.issued)} ago"
    rows = [
        ("list", f"EXPIRED, {age}: see why no publisher writes" if late else f"fresh, {age}"),
        ("fleet", believed.fleet),
        ("publisher", holder),
        ("standby", ", ".join(_name(holder) for holder, _ in leased.standby) or "none"),
        ("version", f"{believed.version}, written by {believed.publisher}"),
        (
            "Droplets",
            f"{believed.droplets}, {counted(len(believed.changes), 'change')} since the base, a head of {size} bytes",
        ),
        ("interval", f"members look every {believed.interval} s"),
        ("requests", f"{leased.requests} to the API in the last hour"),
        *(("" if number else "changes", _change(entry, now)) for number, entry in enumerate(leased.recent[::-1])),
    ]
    lines = (words.wrap(f"{name:<10} {words.one_line(text)}", " " * 11, cut=False) for name, text in rows)
    return "".join(f"{line}\n" for those in lines for line in those)


def _name(holder: str) -> str:
    """Tell the machine of a lease's holder, which is named by machine and process."""
    return holder.rpartition("-")[0]


def _change(entry: tuple[int, str, str], now: float) -> str:
    when, sign, name = entry
    return f"{sign} {name}, {_span(now - when)} ago"


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{max(seconds, 0):.0f} s"


def _settings(host: Host) -> Settings:
    """From the environment where it has all, for a machine without droplan; else as ever."""
    given = {name: host.environ[name] for name in _NAMES if host.environ.get(name)}
    wanted = settings.parse(given) if len(given) == len(_NAMES) else settings.load(host.environ, host.files)
    if not wanted.shared:
        raise UsageError(f"there is no fleet to show: set {', '.join(_NAMES)}")
    return wanted
