"""Say whether a policy lets a packet in, and why. Pure: it judges the policy, not the rules that spell it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from droplan_boot.access.allow import Allow, Name
from droplan_boot.access.policy import Segment
from droplan_boot.access.services import Service
from droplan_boot.networks import Address

PEER: Final = "peer"
ALLOWED: Final = "allowed"
PEER_NOT_ON_THIS_PORT: Final = "peer-not-on-this-port"
ALLOWED_NOT_ON_THIS_PORT: Final = "allowed-not-on-this-port"
STRANGER: Final = "stranger"

REASONS: Final = (PEER, ALLOWED, PEER_NOT_ON_THIS_PORT, ALLOWED_NOT_ON_THIS_PORT, STRANGER)
"""Every reason of a verdict: a contract."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of a packet that opens something new.

    Args:
        accept: whether it comes in.
        reason: why, one of :data:`REASONS`.
        entry: the entry of DROPLAN_ALLOW that lets it in; None where another reason decides.
        service: what DROPLAN_PEER_PORTS opens to peers, where that lets it in.
    """

    accept: bool
    reason: str
    entry: Allow | None = None
    service: Service | None = None


@dataclass(frozen=True)
class Grant:
    """Something that a sender may reach.

    Args:
        service: what; None for everything.
        entry: the entry of DROPLAN_ALLOW that says so; None where it is for being a peer.
    """

    service: Service | None
    entry: Allow | None

    def to_json(self) -> dict[str, str | None]:
        """Write it as JSON: null is everything, and no entry."""
        return {
            "service": None if self.service is None else str(self.service),
            "entry": None if self.entry is None else str(self.entry),
        }


def judge(segment: Segment, source: Address, protocol: str, port: int | None) -> Verdict:
    """Judge a packet.

    Args:
        segment: the network that it comes in from.
        source: its sender.
        protocol: ``tcp``, ``udp``, ``icmp`` (a ping) or a number.
        port: destination port, as the sender asked for it; None where the protocol has none.
    """
    granted = grants(segment, source)
    for grant in granted:
        if grant.service is None or grant.service.covers(protocol, port, source.version):
            if grant.entry is None:
                return Verdict(True, PEER, service=grant.service)
            return Verdict(True, ALLOWED, grant.entry)
    if source in segment.peers:
        return Verdict(False, PEER_NOT_ON_THIS_PORT)
    if any(grant.entry and grant.entry.source for grant in granted):
        return Verdict(False, ALLOWED_NOT_ON_THIS_PORT)
    return Verdict(False, STRANGER)


def parts(segment: Segment, source: Address, service: Service) -> tuple[tuple[Service, Verdict], ...]:
    """Judge all packets that are for a service: each part of it that meets one verdict, ascending.

    Args:
        segment: the network that they come in from.
        source: their sender.
        service: a port, a range of ports or a whole protocol.
    """
    found: list[tuple[Service, Verdict]] = []
    for piece in _pieces(service, grants(segment, source), source.version):
        judged = judge(segment, source, piece.protocol, piece.first)
        if found and found[-1][1] == judged:
            piece = Service(piece.protocol, found.pop()[0].first, piece.last)
        found.append((piece, judged))
    return ((service, found[0][1]),) if len(found) == 1 else tuple(found)


def _pieces(service: Service, granted: Iterable[Grant], version: int) -> Iterator[Service]:
    """Cut a service where what was granted begins and ends: one packet of a piece tells of all."""
    if service.protocol in ("tcp", "udp"):
        low, high = service.first or 1, service.last or 65535
        cuts = {low, high + 1}
        for opened in (grant.service for grant in granted):
            if (
                opened
                and opened.protocol == service.protocol
                and opened.first is not None
                and opened.last is not None
            ):
                cuts |= {cut for cut in (opened.first, opened.last + 1) if low < cut <= high}
        borders = sorted(cuts)
        yield from (Service(service.protocol, first, after - 1) for first, after in zip(borders, borders[1:]))
    elif (service.protocol, version) == ("58", 6):
        yield from (Service("icmp"), service)  # a ping, and the rest of ICMPv6
    else:
        yield service


def grants(segment: Segment, source: Address) -> tuple[Grant, ...]:
    """List all that a sender may reach, and which entry says so: as a peer first, then as DROPLAN_ALLOW is written.

    Args:
        segment: the network that it comes in from.
        source: the sender.
    """
    return grants_of_each(segment, (source,))[source]


def grants_of_each(segment: Segment, sources: Iterable[Address]) -> dict[Address, tuple[Grant, ...]]:
    """List the same of many senders at once: ten thousand are not looked for in lists of ten thousand.

    Args:
        segment: the network that they come in from.
        sources: the senders.
    """
    known = {name: frozenset(addresses) for name, addresses in segment.known}
    peers = frozenset(segment.peers)
    as_peer = tuple(Grant(service, None) for service in ((None,) if segment.ports is None else segment.ports))
    return {
        source: (
            *(as_peer if source in peers else ()),
            *(Grant(entry.service, entry) for entry in segment.allow if _names(entry, source, known)),
        )
        for source in sources
    }


def _names(entry: Allow, source: Address, known: Mapping[Name, frozenset[Address]]) -> bool:
    if entry.source is None:
        return True
    if isinstance(entry.source, Name):
        return source in known.get(entry.source, ())
    return source.version == entry.source.version and source in entry.source
