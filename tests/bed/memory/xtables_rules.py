"""Rules as iptables-save spells them: read, refused if iptables would not read them, and matched."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from tests.bed.memory.packet import Packet, address_type, within

BUILT_IN = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
FINAL = ("ACCEPT", "DROP", "REJECT", "DNAT", "REDIRECT", "SNAT", "MASQUERADE")
TERMINAL = (*FINAL, "RETURN")
PASSING = ("LOG", "NFLOG", "MARK", "CONNMARK")  # they do something, and the packet goes on
OPTIONS = (
    "--reject-with",
    "--to-destination",
    "--to-ports",
    "--to-source",
    "--set-xmark",
    "--set-mark",
    "--nflog-group",
)
IGNORED = ("-m", "--comment", "--nflog-prefix", "--nflog-threshold", "--log-prefix", "--log-level")
IGNORED_PREFIXES = ("--hashlimit-", "--limit-")
ICMP = {
    "echo-request": "8",
    "echo-reply": "0",
    "destination-unreachable": "3",
    "fragmentation-needed": "3/4",
    "any": "any",
}
ICMP6 = {
    "destination-unreachable": "1", "packet-too-big": "2", "echo-request": "128", "echo-reply": "129",
    "router-solicitation": "133", "router-advertisement": "134", "neighbour-solicitation": "135",
    "neighbour-advertisement": "136", "redirect": "137",
}  # fmt: skip
PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "47": "gre", "58": "ipv6-icmp", "icmpv6": "ipv6-icmp"}


class NetfilterError(Exception):
    """What iptables-restore or nft complains about.

    Args:
        status: how the program ends.
    """

    def __init__(self, words: str, status: int = 1) -> None:
        super().__init__(words)
        self.status = status


class Condition(NamedTuple):
    """One thing that has to hold."""

    name: str
    value: str
    negated: bool


class Rule(NamedTuple):
    """A rule, read: what has to hold, and where to go then."""

    conditions: tuple[Condition, ...]
    target: str
    goto: bool
    options: tuple[tuple[str, str], ...]

    def option(self, *names: str) -> str:
        """Return the value of the target's option; "" without it."""
        return next((value for name, value in self.options if name in names), "")


@cache
def read(text: str) -> Rule:
    """Read a rule as iptables-save spells it, without ``-A CHAIN``.

    Raises:
        NetfilterError: iptables would not read it.
    """
    conditions: list[Condition] = []
    options: list[tuple[str, str]] = []
    target, goto, negated = "", False, False
    words = iter(shlex.split(text))
    seen = []
    for word in words:
        if word == "!":
            negated = True
            continue
        value = next(words, "")
        seen.append((word, value))
        if word in ("-j", "-g"):
            target, goto = value, word == "-g"
        elif word in CONDITIONS:
            conditions.append(Condition(word, value, negated))
        elif word in OPTIONS:
            options.append((word, value))
        elif word not in IGNORED and not word.startswith(IGNORED_PREFIXES):
            raise NetfilterError(f'unknown option "{word}"', 2)
        negated = False
    _refuse_nonsense(seen)
    return Rule(tuple(conditions), target, goto, tuple(options))


def _refuse_nonsense(words: list[tuple[str, str]]) -> None:
    protocols = {PROTOCOLS.get(value, value) for word, value in words if word in ("-p", "-m")}
    for word, value in words:
        if word in ("--dport", "--sport") and not protocols & {"tcp", "udp", "sctp", "dccp"}:
            raise NetfilterError(f'unknown option "{word}"', 2)
        if word in ("--to-ports", "--to-destination") and _port(value) and not protocols & {"tcp", "udp", "sctp"}:
            raise NetfilterError("Need TCP, UDP, SCTP or DCCP with port specification", 2)
        if word in ("-s", "-d"):
            try:
                ipaddress.ip_network(value, strict=False)
            except ValueError:
                raise NetfilterError(f"host/network `{value}' not found", 2) from None
        if word in ("-i", "-o") and len(value) > 15:
            raise NetfilterError(f"interface name `{value}' must be shorter than IFNAMSIZ (15)", 2)


def check(text: str, table: str, chain: str, version: int) -> Rule:
    """Read a rule for a chain; refuse what iptables itself refuses there.

    Raises:
        NetfilterError: see above.
    """
    rule = read(text)
    for name, value, _ in rule.conditions:
        if (name, chain) in (("-o", "INPUT"), ("-o", "PREROUTING"), ("-i", "OUTPUT"), ("-i", "POSTROUTING")):
            raise NetfilterError(f"Can't use {name} with {chain}", 2)
        if version and name in ("-s", "-d") and (":" in value) != (version == 6):
            raise NetfilterError(f"host/network `{value}' not found", 2)
    if table == "nat" and rule.target == "DROP":
        raise NetfilterError(
            'The "nat" table is not intended for filtering, the use of DROP is therefore inhibited.', 2
        )
    return rule


def misplaced(rule: Rule, table: str) -> bool:
    """Tell whether the kernel refuses the rule's target in this table."""
    if rule.target == "REJECT":
        return table != "filter"
    return rule.target in ("DNAT", "REDIRECT", "SNAT", "MASQUERADE") and table != "nat"


def _port(value: str) -> str:
    """Return the port in ``ADDRESS:PORT``, ``[ADDRESS]:PORT`` or ``PORT``; "" without one."""
    if value.startswith("["):
        return value.rpartition("]")[2].lstrip(":")
    return value.rpartition(":")[2] if value.count(":") == 1 else value if value.isdigit() else ""


def translated(rule: Rule) -> tuple[str, int | None]:
    """Return where DNAT or REDIRECT sends: the address, "" for this machine, and the port, None for the same."""
    to = rule.option("--to-destination", "--to-ports")
    port = _port(to)
    address = to[: -len(port) - 1].strip("[]") if port and port != to else "" if port else to
    return address, int(port.partition("-")[0]) if port else None


def _in_range(port: int, value: str) -> bool:
    first, _, last = value.partition(":")
    return int(first or 0) <= port <= int(last or (65535 if ":" in value else first))


def _icmp(packet: Packet, value: str, protocol: str, names: dict[str, str]) -> bool:
    wanted = names.get(value, value)
    return packet.protocol == protocol and (wanted == "any" or packet.kind == int(wanted.partition("/")[0]))


def _interface(name: str, value: str) -> bool:
    return name.startswith(value[:-1]) if value.endswith("+") else name == value


Local = frozenset[str]
CONDITIONS: dict[str, Callable[[Packet, str, Local], bool]] = {
    "-i": lambda packet, value, _: _interface(packet.interface, value),
    "-o": lambda packet, value, _: _interface(packet.out, value),
    "-s": lambda packet, value, _: within(packet.source, value),
    "-d": lambda packet, value, _: within(packet.destination, value),
    "-p": lambda packet, value, _: packet.protocol == PROTOCOLS.get(value, value),
    "--dport": lambda packet, value, _: _in_range(packet.port, value),
    "--sport": lambda packet, value, _: _in_range(packet.source_port, value),
    "--dports": lambda packet, value, _: any(_in_range(packet.port, one) for one in value.split(",")),
    "--ctorigdstport": lambda packet, value, _: _in_range(packet.asked, value),
    "--icmp-type": lambda packet, value, _: _icmp(packet, value, "icmp", ICMP),
    "--icmpv6-type": lambda packet, value, _: _icmp(packet, value, "ipv6-icmp", ICMP6),
    "--ctstate": lambda packet, value, _: bool(
        {packet.tracked.upper(), *(["DNAT"] if packet.rewritten else [])} & set(value.split(","))
    ),
    "--state": lambda packet, value, _: packet.tracked.upper() in value.split(","),
    "--ctdir": lambda packet, value, _: packet.way.upper() == value,
    "--uid-owner": lambda packet, value, _: packet.owner == int(value),
    "--dst-type": lambda packet, value, local: address_type(packet.destination, local).upper() in value.split(","),
    "--src-type": lambda packet, value, local: address_type(packet.source, local).upper() in value.split(","),
    "--mark": lambda packet, value, _: (
        packet.mark & int((value + "/0xffffffff").split("/")[1], 0) == int(value.split("/")[0], 0)
    ),
    "--limit": lambda packet, value, _: not packet.hurried,
    "--hashlimit-upto": lambda packet, value, _: not packet.hurried,
    "--hashlimit-above": lambda packet, value, _: packet.hurried,
}


def matches(rule: Rule, packet: Packet, local: Local) -> bool:
    """Tell whether everything holds that the rule asks for."""
    return all(CONDITIONS[name](packet, value, local) != negated for name, value, negated in rule.conditions)
