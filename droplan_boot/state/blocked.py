"""Who was shut out: ``blocked.json``, which the watcher writes, and ``strangers.json``, which refreshes write.

The watcher knows addresses; which of them are Droplets of the account, and what keeps those out, only a refresh
learns. Both are bounded, and neither holds a secret (0644). docs/schemas/blocked.json says what ``droplan blocked
--json`` makes of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from droplan_boot import paths
from droplan_boot.host.files import Files
from droplan_boot.sources.listing import Droplet


@dataclass(frozen=True)
class Service:
    """What a source asked for.

    Args:
        service: such as ``tcp/5432``, ``icmp`` or ``proto/47``.
        packets: how many packets of it were noted.
        first: when the first was, seconds since the epoch.
        last: when the last was.
    """

    service: str
    packets: int
    first: float
    last: float


@dataclass(frozen=True)
class Source:
    """Who was shut out.

    Args:
        source: its address.
        packets: how many packets of it were noted.
        first: when the first was, seconds since the epoch.
        last: when the last was.
        interface: the one that it came in by last; "" when not known.
        public: whether that is on the public network.
        observed: whether it passed all the same, because droplan only observes.
        services: what it asked for, the last first; the last eight.
        name: the Droplet's, if it is one of the account's that a refresh has seen, which with a single DO_TAG are
            those that carry it; else "".
        why: what keeps that Droplet out: ``region``, ``vpc`` or ``tag``; ``peer`` when nothing does; else "".
    """

    source: str
    packets: int
    first: float
    last: float
    interface: str
    public: bool
    observed: bool
    services: tuple[Service, ...]
    name: str = ""
    why: str = ""


@dataclass(frozen=True)
class Blocked:
    """All of them.

    Args:
        sources: the last seen first.
        total: how many packets have been noted since droplan was installed.
        sampled: whether these numbers count samples: at least one a second for each source, below a limit for all.
    """

    sources: tuple[Source, ...] = ()
    total: int = 0
    sampled: bool = True


def load(files: Files) -> Blocked:
    """Read it; what makes no sense is left out."""
    try:
        value = json.loads(files.read(paths.BLOCKED) or b"")
        sources = tuple(_source(each) for each in value["sources"])
        total, sampled = int(value["total"]), bool(value["sampled"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return Blocked()
    known = _known(files)
    named = (
        replace(each, name=known[each.source][0], why=known[each.source][1]) if each.source in known else each
        for each in sources
    )
    return Blocked(tuple(named), total, sampled)


def identify(files: Files, others: Iterable[tuple[Droplet, str]]) -> None:
    """Note which Droplets of the account are among those who were shut out.

    Args:
        files: the file system.
        others: the account's Droplets that are no peers, each with what keeps it out.

    Raises:
        DroplanError: it cannot be written.
    """
    asked = {each.source for each in load(files).sources}
    if not asked:
        return
    found = {
        str(address): {"name": droplet.name, "why": why}
        for droplet, why in others
        for address in (*droplet.private, *droplet.public)
        if str(address) in asked
    }
    files.ensure(paths.STRANGERS, json.dumps(dict(sorted(found.items()))).encode() + b"\n", 0o644)


def _known(files: Files) -> dict[str, tuple[str, str]]:
    try:
        value = json.loads(files.read(paths.STRANGERS) or b"{}")
        return {str(key): (str(each["name"]), str(each["why"])) for key, each in value.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _source(value: Any) -> Source:
    return Source(
        source=str(value["source"]),
        packets=int(value["packets"]),
        first=float(value["first"]),
        last=float(value["last"]),
        interface=str(value["interface"]),
        public=bool(value["public"]),
        observed=bool(value["observed"]),
        services=tuple(
            Service(str(each["service"]), int(each["packets"]), float(each["first"]), float(each["last"]))
            for each in value["services"]
        ),
    )
