"""Spell what is open to some or to everyone: the services. Pure.

Services do not overlap (``openings``), so a packet is for one of them at most, and each asks one list of senders: a
set of nftables, or in iptables a few rules, or a tree of chains. Services open to the same senders share it. A packet
for another service passes one rule. Where a protocol has many, those that share a list are asked in one rule, and
what rules remain in groups of neighbours. So many Droplets in many services cost a packet hardly more than few.
"""

from __future__ import annotations

import ipaddress
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Callable, Final, NamedTuple

from droplan_boot.access.openings import Opening, Sources
from droplan_boot.access.policy import Segment
from droplan_boot.access.services import Service
from droplan_boot.firewall import tree
from droplan_boot.firewall.protocols import SPELLED
from droplan_boot.networks import Address, Network

INLINE: Final = 4
"""Up to so many senders of a service are a rule each; more are a set, or a tree."""

MANY: Final = 8
"""Up to so many services of a protocol are asked one after the other; more together where they share a list, and what
rules remain in groups of about the square root: of 20, a packet passes 5 on its way to its own where it passed 10."""

_SLOTS: Final = 15
"""Of iptables' multiport in one rule; a range takes two (iptables-extensions(8))."""

_PING: Final = {"nft": "icmpv6 type echo-request", "iptables": "-p ipv6-icmp -m icmp6 --icmpv6-type 128"}
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"

NOW: Final = "-m {protocol} --dport {ports}"
"""How iptables asks for the destination port that a packet has."""

ONCE: Final = "-m conntrack --ctorigdstport {ports}"
"""How it asks for the one that the sender asked for, before it was rewritten; conntrack remembers."""

Chains = Mapping[str, tuple[str, ...]]
Lists = Mapping[str, tuple[Sources, int]]


def rules(
    segment: Segment, version: int, ports: tuple[str, ...], target: str, beside: Sources | None = None
) -> tuple[tuple[tuple[str, ...], ...], Chains]:
    """Spell the services for iptables.

    Args:
        segment: the network.
        version: 4 or 6.
        ports: how to ask for ports: :data:`NOW`, :data:`ONCE`.
        target: what becomes of a packet that is let in, such as ``-j ACCEPT``. Others go past, from the trees too.
        beside: who may send anything, where a packet for a service that has a tree is not to go past but to end
            there: by ``target`` also if it is from one of these, else it is refused.

    Returns:
        For each way to ask for ports the rules that ask, those that ask for no port in the first alone; and the
        chains that they ask. Of many services of a protocol the first way asks for those open to the same senders
        together, and for what rules remain in groups, unless packets are to end in the trees (``beside``).
    """
    found: list[list[_Rule]] = [[] for _ in ports]
    trees: dict[str, tuple[str, ...]] = {}
    roots: dict[frozenset[str], str] = {}
    for opening in segment.openings(version):
        service = opening.service
        matches = dict.fromkeys(_match(service, version, port) for port in ports)
        if opening.sources is None:
            for asking, match in zip(found, matches):
                asking.append(_Rule(service, "", match, f" {target}"))
            continue
        # Of a few, each may be there twice, as an address and as a network. Thousands are not spelled to count them.
        few = opening.sources[: 2 * INLINE + 1]
        senders = list(dict.fromkeys(str(ipaddress.ip_network(one)) for one in few))
        if len(few) <= 2 * INLINE and len(senders) <= INLINE:
            for asking, match in zip(found, matches):
                asking += [_Rule(service, f"-s {sender} ", match, f" {target}") for sender in senders]
            continue
        root = roots.setdefault(opening.origin, _root(segment, service))
        for asking, match in zip(found, matches):
            asking.append(_Rule(service, "", match, f" {'-j' if beside is None else '-g'} {root}"))
        if root in trees:
            continue
        trees.update(
            tree.lay_out(
                opening.sources if beside is None else (*opening.sources, *beside),
                version,
                root,
                _stem(segment, service, version),
                "-j RETURN" if beside is None else f"-g {segment.refuse}",
                target,
                key=root,
            )
        )
    if ports[0] == NOW:  # conntrack's match takes one port or range
        found[0] = list(_together(found[0], lambda those: _multiport(those, version)))
    spelled = [tuple(rule.text for rule in asking) for asking in found]
    if beside is None:
        spelled[0], groups = _grouped(segment, found[0], lambda span: f"{_match(span, version, ports[0])} -j")
        trees.update(groups)
    return tuple(spelled), trees


def nft(segment: Segment, kinds: tuple[str, str]) -> tuple[tuple[str, ...], Chains, Lists]:
    """Spell the services for nftables.

    Args:
        segment: the network.
        kinds: how the names of a set of addresses and of one of networks begin.

    Returns:
        The rules, the chains that they ask, and what each set that these ask holds, with its IP version.
    """
    found: dict[str, _Rule] = {}
    sets: dict[str, tuple[Sources, int]] = {}
    by_version = {version: segment.openings(version) for version in (4, 6)}
    for version, openings in by_version.items():
        names: dict[frozenset[str], str] = {}  # a list is of one version
        family = "ip" if version == 4 else "ip6"
        for opening in openings:
            service = opening.service
            match = _nft_match(service, version)
            rules: Iterable[_Rule]
            if opening.sources is None:
                both = opening in by_version[10 - version] and service.protocol != "icmp"
                rules = (_Rule(service, *_for_all(match, version, both=both), " accept"),)
            elif _is_few(opening):
                rules = (_Rule(service, f"{family} saddr {_text(one)} ", match, " accept") for one in opening.sources)
            else:
                wide = any(_is_wide(one) for one in opening.sources)
                own = f"{kinds[wide]}{'-public' if segment.public else ''}-{_slug(service)}-{version}"
                name = names.setdefault(opening.origin, own)
                sets[name] = (opening.sources, version)
                rules = (_Rule(service, "", match, f" {family} saddr @{name} accept"),)
            found.update((rule.text, rule) for rule in rules)
    asked = _together(found.values(), _nft_ports)
    return (*_grouped(segment, asked, lambda span: f"{_nft_match(span, 4)} jump"), sets)


class _Rule(NamedTuple):
    """A rule for a service, or for several of one protocol.

    Args:
        service: which; of several, from the lowest port of theirs to the highest.
        before: what stands before the match.
        match: how it asks for the service.
        after: what stands behind it; with ``before`` it says to whom the service is open, and how that is asked.
    """

    service: Service
    before: str
    match: str
    after: str

    @property
    def text(self) -> str:
        """The rule."""
        return f"{self.before}{self.match}{self.after}"


def _together(
    rules: Iterable[_Rule], spell: Callable[[list[Service]], Iterable[tuple[Service, str]]]
) -> Iterator[_Rule]:
    """Have those of many services of a protocol that are open to the same senders asked for in one rule.

    Args:
        rules: one for each service and list.
        spell: matches some services of one protocol, ascending and apart, by as few matches as can be; and tells from
            which port to which each of these reaches.
    """
    rules = tuple(rules)
    ports = {rule.service for rule in rules if rule.service.first is not None}
    many = {protocol for protocol, count in Counter(one.protocol for one in ports).items() if count > MANY}
    alike: dict[tuple[str, str, str], list[Service]] = {}
    for rule in rules:
        if rule.service in ports and rule.service.protocol in many:
            alike.setdefault((rule.service.protocol, rule.before, rule.after), []).append(rule.service)
    for rule in rules:
        services = alike.get((rule.service.protocol, rule.before, rule.after), [])
        if rule.service not in services:
            yield rule
        elif rule.service == services[0]:
            for span, match in spell(_apart(services)):
                yield rule._replace(service=span, match=match)


def _apart(services: Iterable[Service]) -> list[Service]:
    """Join services of a protocol whose ports are neighbours, ascending: nft would list them so."""
    joined: list[Service] = []
    for one in sorted(services, key=lambda one: one.first or 0):
        if joined and (joined[-1].last or 0) + 1 == one.first:
            joined[-1] = Service(one.protocol, joined[-1].first, one.last)
        else:
            joined.append(one)
    return joined


def _multiport(services: list[Service], version: int) -> Iterator[tuple[Service, str]]:
    """Match services by as few rules of iptables as can be."""
    while services:
        slots = list(accumulate(1 if one.first == one.last else 2 for one in services))
        those = services[: bisect_right(slots, _SLOTS)]
        services = services[len(those) :]
        ports = ",".join(_ports(one, ":") for one in those)
        span = _span(those)
        yield span, f"-p {span.protocol} -m multiport --dports {ports}" if those[1:] else _match(span, version, NOW)


def _nft_ports(services: list[Service]) -> Iterator[tuple[Service, str]]:
    """Match services by a rule of nft."""
    span = _span(services)
    ports = ", ".join(_ports(one, "-") for one in services)
    yield span, f"{span.protocol} dport {{ {ports} }}" if services[1:] else _nft_match(span, 4)


def _span(services: Sequence[Service]) -> Service:
    # Where the IP versions cut ports differently, services overlap.
    return Service(services[0].protocol, services[0].first, max(one.last or 0 for one in services))


def _grouped(
    segment: Segment, asked: Iterable[_Rule], ask: Callable[[Service], str]
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Put the rules of many services of a protocol into chains of neighbours, and ask for those by their ports.

    Args:
        segment: the network.
        asked: the rules.
        ask: spells how to jump to a chain with what is for a range of ports.

    Returns:
        The rules that remain, and the chains.
    """
    by_service: dict[Service, list[str]] = {}
    for rule in asked:
        by_service.setdefault(rule.service, []).append(rule.text)
    rules: list[str] = []
    chains: dict[str, tuple[str, ...]] = {}
    ports = [service for service in by_service if service.first is not None]
    for protocol in dict.fromkeys(service.protocol for service in ports):
        those = sorted((one for one in ports if one.protocol == protocol), key=lambda one: (one.first, one.last))
        size = math.ceil(math.sqrt(len(those)))
        for group in (those[n : n + size] for n in range(0, len(those), size)) if len(those) > MANY else ():
            span = _span(group)  # which may overlap the next one's; a packet may then pass two of the chains
            name = f"{tree.PREFIX}{'pto' if segment.public else 'to'}-{_slug(span)}"
            rules.append(f"{ask(span)} {name}")
            chains[name] = tuple(rule for one in group for rule in by_service.pop(one))
    return (*rules, *(rule for rest in by_service.values() for rule in rest)), chains


def _for_all(match: str, version: int, *, both: bool) -> tuple[str, str]:
    """Spell what stands before the match of a service that is open to everyone, and the match."""
    if both or match == _PING["nft"]:
        return "", match
    if match == "meta l4proto icmp" and version == 4:
        return "", "ip protocol icmp"  # nft would list the longer form without its version
    if match == "meta l4proto ipv6-icmp" and version == 6:
        return "", "ip6 nexthdr ipv6-icmp"
    return f"meta nfproto ipv{version} ", match


def _is_few(opening: Opening) -> bool:
    """Whether the senders are few, and the settings' own: a Droplet more or less is to change no rule, only a set."""
    sources = opening.sources or ()
    return len(sources) <= INLINE and not any(
        isinstance(one, (ipaddress.IPv4Address, ipaddress.IPv6Address)) for one in sources
    )


def _match(service: Service, version: int, port: str) -> str:
    protocol = _protocol(service, version)
    if service.protocol == "icmp" and version == 6:
        return _PING["iptables"]
    if service.first is None:
        return f"-p {protocol}"
    return f"-p {protocol} {port.format(protocol=protocol, ports=_ports(service, ':'))}"


def _nft_match(service: Service, version: int) -> str:
    protocol = _protocol(service, version)
    if service.protocol == "icmp" and version == 6:
        return _PING["nft"]
    if service.first is None:
        return f"meta l4proto {protocol}"
    return f"{protocol} dport {_ports(service, '-')}"


def _protocol(service: Service, version: int) -> str:
    number = service.number(version)
    return SPELLED.get(number, str(number))


def _ports(service: Service, to: str) -> str:
    return str(service.first) if service.first == service.last else f"{service.first}{to}{service.last}"


def _slug(service: Service) -> str:
    ports = [] if service.first is None else list(dict.fromkeys((service.first, service.last)))
    return "-".join([service.protocol, *map(str, ports)])


def _root(segment: Segment, service: Service) -> str:
    # A name has at most 28 characters.
    return f"{tree.PREFIX}{'pub-' if segment.public else ''}{_slug(service)}"


def _stem(segment: Segment, service: Service, version: int) -> str:
    """Begin the names of a tree's chains so that no other tree has them.

    In IPv6 the root's name goes into the hash. In IPv4 eight characters are left: one for the network and the
    protocol, seven for the ports.
    """
    if version == 6:
        return f"{tree.PREFIX}s-"
    kind = {"tcp": "t", "udp": "u", "icmp": "i"}.get(service.protocol, "n")
    number = int(service.protocol) if kind == "n" else (service.first or 0) << 16 | (service.last or 0)
    return f"{tree.PREFIX}{kind.upper() if segment.public else kind}{''.join(_base36(number))}"


def _base36(number: int) -> Iterator[str]:
    for place in range(6, -1, -1):
        yield _DIGITS[number // 36**place % 36]


def _is_wide(source: Address | Network) -> bool:
    return isinstance(source, (ipaddress.IPv4Network, ipaddress.IPv6Network)) and (
        source.prefixlen < source.max_prefixlen
    )


def _text(source: Address | Network) -> str:
    network = ipaddress.ip_network(source)
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)
