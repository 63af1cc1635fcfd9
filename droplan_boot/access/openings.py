"""Split what is open to some into services that do not overlap, each with all who may reach it. Pure.

So a packet is for one of them at most (but see :func:`disjoint`), and a backend asks about one list of senders,
whatever entries the user wrote, and how many.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Union

from droplan_boot.access.services import Service
from droplan_boot.networks import Address, Network

Sources = tuple[Union[Address, Network], ...]


@dataclass(frozen=True)
class Opening:
    """A service and who may reach it, in one IP version.

    Args:
        service: what is open.
        sources: to whom, perhaps thousands, not merged; None for everyone.
        origin: where the senders are from, such as ``tag:web``: openings of the same origin have the same senders,
            and go on having them whoever comes or goes.
    """

    service: Service
    sources: Sources | None
    origin: frozenset[str] = field(default=frozenset(), compare=False)


class _Granted(NamedTuple):
    place: int
    service: Service
    sources: Sources | None
    origin: str


def disjoint(granted: Iterable[tuple[Service, Sources | None, str]], version: int) -> tuple[Opening, ...]:
    """Join what was granted for the same service, and split ranges of ports where they overlap.

    A whole protocol comes after its ports, and all of ICMPv6 after ping: who asks in that order needs the first one
    that a packet is for, and no other. Whom no grant names has no opening.

    Args:
        granted: a service, who may reach it (None for everyone), and a name for them.
        version: 4 or 6, of all of them.

    Returns:
        As the settings have them: what was granted first, as far as it is for ports, comes first.
    """
    all_of_it: dict[str, list[_Granted]] = {}
    ranges: dict[str, list[_Granted]] = {}
    for place, (service, sources, origin) in enumerate(granted):
        if sources is None or sources:
            kind = all_of_it if service.first is None else ranges
            kind.setdefault(service.protocol, []).append(_Granted(place, service, sources, origin))
    found: list[tuple[int, int, Opening]] = []
    for protocol, those in ranges.items():
        whole = all_of_it.get(protocol, [])
        if _joined(whole) is not None:  # else everyone may reach all of it, and its ports are nothing special
            found += [
                (cover[0].place, first, _opening(Service(protocol, first, last), [*cover, *whole]))
                for first, last, cover in _pieces(those)
            ]
    found.sort(key=lambda piece: piece[:2])
    ping = all_of_it.get("icmp")
    if version == 6 and ping and "58" in all_of_it:
        all_of_it["icmp"] = [*ping, *all_of_it["58"]]
    order = sorted(all_of_it.items(), key=lambda item: (item[0] == "58", item[1][0].place))
    return (
        *(opening for _, _, opening in found),
        *(_opening(those[0].service, those) for _, those in order),
    )


def _pieces(those: list[_Granted]) -> Iterator[tuple[int, int, list[_Granted]]]:
    """Cut ranges of ports where one begins or ends, ascending."""
    ports = [(one.service.first or 0, one.service.last or 0, one) for one in those]
    cuts = sorted({first for first, _, _ in ports} | {last + 1 for _, last, _ in ports})
    for first, after in zip(cuts, cuts[1:]):
        cover = [one for low, high, one in ports if low <= first and after - 1 <= high]
        if cover:
            yield first, after - 1, cover


def _opening(service: Service, those: list[_Granted]) -> Opening:
    return Opening(service, _joined(those), frozenset(one.origin for one in those))


def _joined(those: list[_Granted]) -> Sources | None:
    if any(one.sources is None or any(_is_whole(source) for source in one.sources) for one in those):
        return None
    if len(those) == 1:
        return those[0].sources  # each once already, and to see that of 10,000 takes its time
    found: dict[Address | Network, None] = {}
    for one in those:
        found.update(dict.fromkeys(one.sources or ()))
    return tuple(found)


def _is_whole(source: Address | Network) -> bool:
    return isinstance(source, (ipaddress.IPv4Network, ipaddress.IPv6Network)) and not source.prefixlen
