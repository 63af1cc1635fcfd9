"""Whether the API says what it said last time: then who may come in is what it was, and nobody decides it again.

Of ten thousand Droplets, reading the answer and deciding is most of what a refresh costs, and most refreshes are told
what the one before was. Whatever else that decision depends on is compared too; a difference has all of it read.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

from droplan_boot import paths, settings
from droplan_boot.access.here import Here
from droplan_boot.errors import DroplanError
from droplan_boot.host.doors import Host

if TYPE_CHECKING:
    from droplan_boot.settings import Settings


class Answer(NamedTuple):
    """What was said last time, and what came of it.

    Args:
        said: the answers, each as its URL and a digest, as :class:`Listing` has them.
        policy: fingerprint of the policy that was decided, which is the snapshot's.
        droplets: how many Droplets were listed.
        warnings: what a person should know, a sentence each.
        strangers: the addresses that were shut out and looked for among the Droplets.
    """

    said: tuple[tuple[str, str], ...]
    policy: str
    droplets: int
    warnings: tuple[str, ...]
    strangers: tuple[str, ...]


def load(host: Host, wanted: Settings, here: Here) -> Answer | None:
    """Read what was said last time; None unless all else that decides who may come in is what it was then.

    Args:
        host: this machine.
        wanted: the settings.
        here: this Droplet.
    """
    try:
        known = json.loads(host.files.read(paths.ANSWER) or b"null")
        if known["rest"] != _rest(host, wanted, here):
            return None
        found = Answer(
            tuple((str(url), str(digest)) for url, digest in known["said"]),
            str(known["policy"]),
            int(known["droplets"]),
            tuple(str(one) for one in known["warnings"]),
            tuple(str(one) for one in known["strangers"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    # Who was shut out since has to be looked for among the Droplets.
    return found if _shut_out(host) <= {*found.strangers} else None


def store(host: Host, wanted: Settings, here: Here, answer: Answer) -> None:
    """Keep what was said, and that the snapshot came of it.

    Args:
        host: this machine.
        wanted: the settings.
        here: this Droplet.
        answer: what was said.
    """
    value = {"rest": _rest(host, wanted, here), **answer._asdict()}
    try:
        host.files.write(paths.ANSWER, json.dumps(value).encode() + b"\n", 0o600, lasting=False)
    except DroplanError as error:
        host.log.complain(str(error))


def _rest(host: Host, wanted: Settings, here: Here) -> str:
    """Tell all else: which droplan, settings (repr tells no secret) and Droplet, and whether the snapshot stands."""
    decides = (__file__, wanted, settings.fingerprint(host.files), here)
    came_of_it = (host.files.mark(paths.SNAPSHOT), host.files.mark(paths.OUTLINE))
    return hashlib.sha256(repr((decides, came_of_it)).encode()).hexdigest()


def _shut_out(host: Host) -> set[str]:
    if not host.files.exists(paths.BLOCKED):
        return set()
    from droplan_boot.state import blocked  # where no watcher has noted anybody, a refresh starts lean

    return {each.source for each in blocked.load(host.files).sources}
