"""A packet as the fake kernel sees it, and what becomes of one."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Packet:
    """A packet as the rules see it.

    Args:
        source: its sender.
        interface: where it comes in; "" when this machine sends it.
        destination: where it goes; "" for this machine itself.
        protocol: as ``-p`` of iptables names it.
        port: destination port.
        asked_port: destination port before a NAT rewrote it; that of ``port`` when None.
        reply: whether it answers what this Droplet opened.
        related: whether it belongs to a connection at all (any direction).
        kind: type of an ICMP or ICMPv6 packet.
        owner: uid of the process that sends it.
        state: ``new``, ``established``, ``related``, ``invalid`` or ``untracked``; "" for what
            ``reply`` and ``related`` say.
        direction: ``original`` or ``reply``; "" for what ``reply`` says.
        out: where it leaves, when it is sent or forwarded.
        source_port: port of the sender.
        mark: the packet's mark.
        hurried: whether it comes faster than any limit of a rule lets through.
    """

    source: str = "10.0.0.9"
    interface: str = "eth1"
    destination: str = ""
    protocol: str = "tcp"
    port: int = 80
    asked_port: int | None = None
    reply: bool = False
    related: bool = False
    kind: int = 128
    owner: int = 0
    state: str = ""
    direction: str = ""
    out: str = ""
    source_port: int = 40000
    mark: int = 0
    hurried: bool = False

    @property
    def tracked(self) -> str:
        """Say what conntrack calls it."""
        return self.state or ("established" if self.reply or self.related else "new")

    @property
    def way(self) -> str:
        """Say in which direction of its connection it goes."""
        return self.direction or ("reply" if self.reply else "original")

    @property
    def asked(self) -> int:
        """Return the port that the sender asked for."""
        return self.port if self.asked_port is None else self.asked_port

    @property
    def rewritten(self) -> bool:
        """Tell whether a NAT rewrote its destination, the port or not."""
        return self.asked_port is not None

    @property
    def version(self) -> int:
        """Return its family: 4 or 6."""
        return 6 if ":" in self.source else 4


def icmp_error(source: str, interface: str = "eth1", *, opened_by_us: bool = False) -> Packet:
    """Make an ICMP error about a tracked connection: RELATED, and ORIGINAL when the other side opened it.

    Measured (FACTS.md section 9): the error's direction is that of the packets which its sender's side would send, so
    an error about what a peer opened is no REPLY.
    """
    protocol, kind = ("ipv6-icmp", 2) if ":" in source else ("icmp", 3)
    direction = "reply" if opened_by_us else "original"
    return Packet(source, interface, protocol=protocol, kind=kind, state="related", direction=direction)


@dataclass(frozen=True)
class Verdict:
    """What becomes of a packet.

    Args:
        verdict: ``ACCEPT``, ``DROP`` or ``REJECT``.
        chain: the chain that decided, with its table: ``inet droplan guard``, ``iptables-legacy filter INPUT``.
        rule: the rule that decided, as it is spelled there; "" for the policy.
        packet: the packet as it ended, after NAT.
        logged: the NFLOG groups that were told of it.
    """

    verdict: str
    chain: str
    rule: str
    packet: Packet
    logged: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.verdict} by {self.chain}: {self.rule or 'policy'}"


@cache
def number(address: str) -> int:
    """Return an address as a number."""
    return int(ipaddress.ip_address(address))


@cache
def span(text: str) -> tuple[int, int]:
    """Return the first and the last address of a network."""
    network = ipaddress.ip_network(text, strict=False)
    return int(network.network_address), int(network.broadcast_address)


def within(address: str, network: str) -> bool:
    """Tell whether an address is in a network of its own family."""
    if not address or (":" in address) != (":" in network):
        return False
    first, last = span(network)
    return first <= number(address) <= last


def address_type(address: str, local: frozenset[str]) -> str:
    """Say what the routing table calls an address: ``local``, ``multicast``, ``broadcast`` or ``unicast``."""
    if not address or address in local:
        return "local"
    found = ipaddress.ip_address(address)
    if found.is_multicast:
        return "multicast"
    if found.is_loopback:
        return "local"
    return "broadcast" if address == "255.255.255.255" else "unicast"
