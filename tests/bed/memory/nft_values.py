"""Values as nft reads and spells them: a key's type says how. A value is a pair of what it begins and ends with."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Union

from tests.bed.memory.packet import Packet, address_type, number
from tests.bed.memory.xtables_rules import NetfilterError

Point = Union[int, str]
Value = tuple[tuple[Point, Point], ...]  # one pair for each key of a concatenation

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "sctp": 132}
SERVICES = {"ssh": 22, "http": 80, "https": 443, "domain": 53}
ICMP = {
    "echo-reply": 0, "destination-unreachable": 3, "redirect": 5, "echo-request": 8, "router-advertisement": 9,
    "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12,
}  # fmt: skip
ICMP6 = {
    "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4,
    "echo-request": 128, "echo-reply": 129,
    "mld-listener-query": 130, "mld-listener-report": 131, "mld-listener-done": 132,
    "nd-router-solicit": 133, "nd-router-advert": 134, "nd-neighbor-solicit": 135, "nd-neighbor-advert": 136,
    "nd-redirect": 137, "mld2-listener-report": 143,
}  # fmt: skip
WORDS = ("new", "established", "related", "untracked", "invalid", "original", "reply", "local", "unicast",
         "multicast", "broadcast", "ipv4", "ipv6", "host", "other", "dnat", "snat")  # fmt: skip
NAMED = {"inet_proto": PROTOCOLS, "icmp_type": ICMP, "icmpv6_type": ICMP6, "inet_service": SERVICES}
LARGEST = {"inet_proto": 255, "icmp_type": 255, "icmpv6_type": 255, "inet_service": 65535}

Local = frozenset[str]
Getter = Callable[[Packet, Local], Union[Point, None]]


def _port(protocols: Sequence[str], name: str) -> Getter:
    return lambda packet, _: getattr(packet, name) if not protocols or packet.protocol in protocols else None


def _address(version: int, name: str) -> Getter:
    def get(packet: Packet, _: Local) -> Point | None:
        address = getattr(packet, name)
        return number(address) if address and packet.version == version else None

    return get


def _kind(protocol: str) -> Getter:
    return lambda packet, _: packet.kind if packet.protocol == protocol else None


def _protocol(version: int | None) -> Getter:
    return lambda packet, _: PROTOCOLS.get(packet.protocol, 255) if version in (None, packet.version) else None


KEYS: dict[str, tuple[str, Getter]] = {
    "iifname": ("ifname", lambda packet, _: packet.interface or None),
    "oifname": ("ifname", lambda packet, _: packet.out or None),
    "iif": ("ifindex", lambda packet, _: packet.interface or None),
    "oif": ("ifindex", lambda packet, _: packet.out or None),
    "meta l4proto": ("inet_proto", _protocol(None)),
    "meta nfproto": ("word", lambda packet, _: f"ipv{packet.version}"),
    "meta skuid": ("number", lambda packet, _: packet.owner if not packet.interface else None),
    "meta mark": ("mark", lambda packet, _: packet.mark),
    "ip saddr": ("ipv4_addr", _address(4, "source")),
    "ip daddr": ("ipv4_addr", _address(4, "destination")),
    "ip protocol": ("inet_proto", _protocol(4)),
    "ip6 saddr": ("ipv6_addr", _address(6, "source")),
    "ip6 daddr": ("ipv6_addr", _address(6, "destination")),
    "tcp dport": ("inet_service", _port(["tcp"], "port")),
    "tcp sport": ("inet_service", _port(["tcp"], "source_port")),
    "udp dport": ("inet_service", _port(["udp"], "port")),
    "udp sport": ("inet_service", _port(["udp"], "source_port")),
    "th dport": ("inet_service", _port([], "port")),
    "th sport": ("inet_service", _port([], "source_port")),
    "icmp type": ("icmp_type", _kind("icmp")),
    "icmpv6 type": ("icmpv6_type", _kind("ipv6-icmp")),
    "ct state": ("word", lambda packet, _: packet.tracked),
    "ct direction": ("word", lambda packet, _: packet.way),
    "ct original proto-dst": ("inet_service", lambda packet, _: packet.asked),
    "fib daddr type": ("word", lambda packet, local: address_type(packet.destination, local)),
    "fib saddr type": ("word", lambda packet, local: address_type(packet.source, local)),
}


def parse_point(text: str, kind: str) -> Point:
    """Read one value of a type."""
    if kind in ("ipv4_addr", "ipv6_addr"):
        try:
            return int((ipaddress.IPv4Address if kind == "ipv4_addr" else ipaddress.IPv6Address)(text))
        except ValueError:
            other = (":" in text) != (kind == "ipv6_addr")
            words = "Address family for hostname not supported" if other else "Name or service not known"
            raise NetfilterError(f"Could not resolve hostname: {words}") from None
    if kind in ("ifname", "ifindex"):
        name = text.strip('"')
        if len(name) > 15:
            raise NetfilterError("String exceeds maximum length of 16")
        return name
    if kind == "word":
        if text not in WORDS:
            raise NotImplementedError(f"the fake nft does not know `{text}'")
        return text
    found = NAMED.get(kind, {}).get(text)
    if found is not None:
        return found
    try:
        value = int(text, 0)
    except ValueError:
        raise NotImplementedError(f"the fake nft does not know `{text}' as {kind}") from None
    if value > LARGEST.get(kind, value):
        raise NetfilterError("Service out of range" if kind == "inet_service" else "Value out of range")
    return value


def parse(text: str, kind: str) -> tuple[Point, Point]:
    """Read a value, a prefix or a range of a type."""
    if "/" in text and kind.endswith("_addr"):
        address, _, length = text.partition("/")
        parse_point(address, kind)
        network = ipaddress.ip_network(f"{address}/{length}", strict=False)
        return int(network.network_address), int(network.broadcast_address)
    if "-" in text and (kind in ("ipv4_addr", "ipv6_addr", "inet_service") or text.replace("-", "").isdigit()):
        first, _, last = text.partition("-")
        low, high = parse_point(first, kind), parse_point(last, kind)
        if low > high:  # type: ignore[operator]
            raise NetfilterError("Range has zero or negative size")
        return low, high
    point = parse_point(text, kind)
    if isinstance(point, str) and point.endswith("*"):
        return point[:-1], point[:-1] + "\x7f"
    return point, point


def spell_point(point: Point, kind: str) -> str:
    """Spell one value as nft lists it."""
    if kind == "ipv4_addr":
        return str(ipaddress.IPv4Address(point))
    if kind == "ipv6_addr":
        return socket.inet_ntop(socket.AF_INET6, ipaddress.IPv6Address(point).packed)
    if kind in ("ifname", "ifindex"):
        return f'"{point}"'
    if kind == "mark":
        return f"0x{point:08x}"
    if kind in ("inet_proto", "icmp_type", "icmpv6_type"):
        return next((name for name, one in NAMED[kind].items() if one == point), str(point))
    return str(point)


def spell(pair: tuple[Point, Point], kind: str, *, prefixes: bool = True) -> str:
    """Spell a value, a prefix or a range as nft lists it."""
    low, high = pair
    if low == high:
        return spell_point(low, kind)
    if isinstance(low, str):
        return f'"{low}*"'
    assert isinstance(high, int)
    if kind.endswith("_addr") and prefixes:
        bits = 32 if kind == "ipv4_addr" else 128
        size = high - low + 1
        if not size & (size - 1) and not low % size:
            return f"{spell_point(low, kind)}/{bits - size.bit_length() + 1}"
    if kind in ("inet_proto", "icmp_type", "icmpv6_type"):
        return f"{low}-{high}"
    return f"{spell_point(low, kind)}-{spell_point(high, kind)}"


def order(value: Value) -> tuple[object, ...]:
    """Return the key by which nft sorts the elements of a set: names as the kernel keeps them, as numbers."""
    return tuple(
        int.from_bytes(low.encode().ljust(16, b"\0"), "little") if isinstance(low, str) else low for low, _ in value
    )


def hit(point: Sequence[Point], value: Value) -> bool:
    """Tell whether a value holds what a packet has."""
    return all(low <= one <= high for one, (low, high) in zip(point, value))  # type: ignore[operator]


def merged(values: Iterable[Value], *, adjacent: bool) -> list[Value]:
    """Join intervals that overlap (and that touch)."""
    done: list[Value] = []
    for value in sorted(values, key=order):
        low, high = value[0]
        if done and len(value) == 1 and isinstance(low, int):
            before, until = done[-1][0]
            assert isinstance(until, int)
            assert isinstance(high, int)
            if low <= until + adjacent:
                done[-1] = ((before, max(until, high)),)
                continue
        done.append(value)
    return done
