"""List the Droplets that may come in, by name, why each may, what it reaches and by which entry; and who else may."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from droplan_boot import settings
from droplan_boot.access import allow, names, reasons, verdict
from droplan_boot.access.allow import Allow, Name
from droplan_boot.access.policy import Segment
from droplan_boot.access.verdict import Grant
from droplan_boot.errors import DroplanError
from droplan_boot.host.doors import Host
from droplan_boot.networks import Address
from droplan_boot.plural import counted
from droplan_boot.settings import Settings
from droplan_boot.sources.listing import Droplet
from droplan_boot.state import snapshot
from droplan_boot.state.snapshot import Snapshot
from droplan_boot.verbs import words

SCHEMA: Final = 1
_HEADS: Final = ("NAME", "ID", "PRIVATE", "REGION", "TAGS")

Reach = tuple[str, Grant]
"""The network that a Droplet comes in from, and something that it reaches there."""


def run(host: Host, *, as_json: bool = False) -> None:
    """Print them.

    Raises:
        DroplanError: nobody knows them.
    """
    host.require_root()
    found = snapshot.load(host.files)
    if found is None or not found.answered:
        raise DroplanError("no answer has named the peers yet: run `sudo droplan refresh`")
    wanted, _ = settings.tolerant(host.environ, host.files)
    if as_json:
        sys.stdout.write(json.dumps(document(found, wanted), indent=1) + "\n")
    else:
        sys.stdout.write(words.printable(render(found, wanted, host.clock.time())))


def document(found: Snapshot, wanted: Settings) -> dict[str, Any]:
    """Make the JSON document, docs/schemas/peers.json."""
    why, reached, bearers = reasons.why_peer(wanted.scope, wanted.tags), reaches(found), _bearers(found)
    return {
        "schema": SCHEMA,
        "answered": found.written,
        "networks": [
            {
                "network": _network(segment),
                "chain": segment.chain,
                "interfaces": list(segment.interfaces),
                "addresses": [str(address) for address in segment.peers],
            }
            for segment in found.policy.segments
        ],
        "peers": [
            {
                **one.to_json(),
                "why": why,
                "reaches": [{"network": network, **grant.to_json()} for network, grant in reach],
            }
            for one, reach in zip(found.peers, reached)
        ],
        "allowed": [
            {
                "network": _network(segment),
                **Grant(entry.service, entry).to_json(),
                "sources": _sources(segment, entry),
                "droplets": [
                    {"id": one.id, "name": one.name, "addresses": [str(address) for address in _of(one, segment)]}
                    for one in _named(entry, bearers)
                ],
            }
            for segment in found.policy.segments
            for entry in segment.allow
        ],
    }


def reaches(found: Snapshot) -> list[tuple[Reach, ...]]:
    """List what each of the Droplets reaches, by any of its addresses, each once."""
    granted = [
        (segment, verdict.grants_of_each(segment, (address for one in found.peers for address in _of(one, segment))))
        for segment in found.policy.segments
    ]
    return [
        tuple(
            dict.fromkeys(
                (_network(segment), grant)
                for segment, grants in granted
                for address in _of(one, segment)
                for grant in grants[address]
            )
        )
        for one in found.peers
    ]


def render(found: Snapshot, wanted: Settings, now: float) -> str:
    """Lay them out for a person."""
    private = found.policy.segments[0]
    age = words.ago(now - found.written)
    count = sum(bool(one.private) for one in found.peers)
    waiting = len(found.peers) - count
    if not found.peers and private.peers:
        lines = [f"{counted(len(private.peers), 'address')} may come in; names are known after the next refresh:", ""]
        return "\n".join([*lines, *(str(address) for address in private.peers)]) + "\n"
    who = counted(count, "Droplet") if count else "No Droplet"
    head = f"{who} may come in by {', '.join(private.interfaces)} (as of {age} ago): {words.because(wanted)}"
    lines = words.wrap(head)
    if waiting:
        lines += words.wrap(
            f"{waiting} more {'has' if waiting == 1 else 'have'} no private address to come from yet."
        )
    if found.peers:
        lines += [*words.wrap(f"As peers they reach {_as_peers(private)}."), "", *_listed(found, private)]
    bearers = _bearers(found)
    for segment in found.policy.segments:
        if segment.allow:
            by = ", ".join(segment.interfaces)
            lines += ["", *words.wrap(f"{found.policy.setting(segment)} lets in by {by}, peer or not:")]
            lines += words.table([(str(entry), _said(segment, entry, bearers)) for entry in segment.allow])
    return "\n".join(lines) + "\n"


def _listed(found: Snapshot, private: Segment) -> Iterator[str]:
    """List the peers, a line each, and below it what an entry opens to it besides."""
    head, *rows = words.table([_HEADS, *(_row(one) for one in found.peers)])
    yield head
    for row, reached in zip(rows, reaches(found)):
        yield row
        for public in (False, True):
            entries = [grant for network, grant in reached if grant.entry and (network == "public") == public]
            if entries and (public or private.ports is not None):
                opened = ", ".join(f"{one.service or 'everything'} by {one.entry}" for one in entries)
                yield from words.wrap(f"    also {opened}{' (public network)' if public else ''}", " " * 9)


def _row(one: Droplet) -> Sequence[str]:
    private = ", ".join(str(address) for address in one.private) or "none yet"
    tags = "may not be seen" if one.tags is None else ", ".join(one.tags) or "-"
    return words.one_line(one.name) or "-", str(one.id), private, one.region, words.one_line(tags)


def _as_peers(segment: Segment) -> str:
    if segment.ports is None:
        return "everything"
    return f"{', '.join(map(str, segment.ports)) or 'nothing'} (DROPLAN_PEER_PORTS)"


def _sources(segment: Segment, entry: Allow) -> list[str] | None:
    """List the addresses and networks that an entry lets in; None for everyone."""
    if entry.source is None:
        return None
    return [str(one) for version in (4, 6) for one in segment.stands_for(entry, version)]


def _bearers(found: Snapshot) -> dict[Name, list[Droplet]]:
    """Find the Droplets that each name in DROPLAN_ALLOW stands for, peers or not."""
    wanted = allow.names(entry for segment in found.policy.segments for entry in segment.allow)
    return names.by_name((*found.peers, *found.named), wanted, strict=False)


def _named(entry: Allow, bearers: Mapping[Name, Sequence[Droplet]]) -> Sequence[Droplet]:
    those = bearers.get(entry.source, ()) if isinstance(entry.source, Name) else ()
    return sorted(those, key=lambda one: one.id)


def _said(segment: Segment, entry: Allow, bearers: Mapping[Name, Sequence[Droplet]]) -> str:
    sources = _sources(segment, entry)
    if sources is None:
        return "everyone"
    those = [(one, [str(address) for address in _of(one, segment)]) for one in _named(entry, bearers)]
    said = [f"{words.one_line(one.name) or one.id} {', '.join(held) or '(no address yet)'}" for one, held in those]
    # Those of a snapshot of before, which had no names of Droplets that are no peers.
    told = {address for _, held in those for address in held}
    nameless = [address for address in sources if address not in told]
    return ", ".join((*said, *nameless)) or "nobody yet: no Droplet in scope has it"


def _network(segment: Segment) -> str:
    return "public" if segment.public else "private"


def _of(one: Droplet, segment: Segment) -> Sequence[Address]:
    return one.public if segment.public else one.private
