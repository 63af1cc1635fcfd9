"""A filter table in memory: enough of netfilter to walk packets through our rules, and of iptables to edit them.

It obeys and refuses as the real ones do (tried with iptables 1.8.9, both variants): what cannot be deleted, inserted
or removed fails the whole transaction, with iptables' own words. Rules are kept as they are spelled; that the kernel
spells them likewise is what the lab tests are for.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from droplan_boot.firewall.iptables import Iptables
from droplan_boot.firewall.iptables_restore import RestoreWriter
from droplan_boot.host.command import Completed
from tests.bed.memory.doors import FakeCommands, ended

HOOKS = ("INPUT", "FORWARD", "OUTPUT")
LONGEST_NAME = 28
TERMINAL = ("ACCEPT", "DROP", "REJECT", "RETURN")


class NetfilterError(Exception):
    """What iptables-restore complains about."""


@dataclass(frozen=True)
class Packet:
    """A packet as the rules see it.

    Args:
        source: its sender.
        interface: where it comes in.
        destination: where it goes.
        protocol: as ``-p`` names it.
        port: destination port.
        asked_port: destination port before a NAT rewrote it; that of ``port`` when None.
        reply: whether it answers what this Droplet opened.
        related: whether it belongs to a connection at all (any direction).
        kind: ICMPv6 type.
        owner: uid of the process that sends it.
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


class Rule(NamedTuple):
    """A rule, read: what has to hold, and where to go then."""

    conditions: tuple[tuple[str, str], ...]
    target: str
    goto: bool


@cache
def read(text: str) -> Rule:
    """Read a rule as iptables-save spells it, without ``-A CHAIN``."""
    conditions: list[tuple[str, str]] = []
    target, goto = "", False
    words = iter(shlex.split(text))
    for word in words:
        value = next(words, "")
        if word in ("-j", "-g"):
            target, goto = value, word == "-g"
        elif word in CONDITIONS:
            conditions.append((word, value))
        elif word not in ("-m", "--comment", "--reject-with"):
            raise NetfilterError(f'unknown option "{word}"')
    return Rule(tuple(conditions), target, goto)


@cache
def _range(text: str) -> tuple[int, int]:
    network = ipaddress.ip_network(text)
    return int(network.network_address), int(network.broadcast_address)


@cache
def _number(address: str) -> int:
    return int(ipaddress.ip_address(address))


def _within(address: str, network: str) -> bool:
    first, last = _range(network)
    return bool(address) and first <= _number(address) <= last


CONDITIONS: dict[str, Callable[[Packet, str], bool]] = {
    "-i": lambda packet, value: packet.interface == value,
    "-s": lambda packet, value: _within(packet.source, value),
    "-d": lambda packet, value: _within(packet.destination, value),
    "-p": lambda packet, value: packet.protocol == value,
    "--dport": lambda packet, value: packet.port == int(value),
    "--ctorigdstport": lambda packet, value: (
        (packet.port if packet.asked_port is None else packet.asked_port) == int(value)
    ),
    "--icmpv6-type": lambda packet, value: packet.protocol == "ipv6-icmp" and packet.kind == int(value),
    "--ctstate": lambda packet, value: packet.related or packet.reply,
    "--ctdir": lambda packet, value: packet.reply,
    "--uid-owner": lambda packet, value: packet.owner == int(value),
}


@dataclass
class Table:
    """The filter table of one family."""

    chains: dict[str, list[str]] = field(default_factory=lambda: {hook: [] for hook in HOOKS})
    policies: dict[str, str] = field(default_factory=lambda: dict.fromkeys(HOOKS, "ACCEPT"))

    def save(self) -> str:
        """Print it as iptables-save does."""
        declared = [f":{chain} {self.policies.get(chain, '-')} [0:0]" for chain in self.chains]
        rules = [f"-A {chain} {rule}" for chain, listed in self.chains.items() for rule in listed]
        return "\n".join(["*filter", *declared, *rules, "COMMIT", ""])

    def restore(self, text: str) -> None:
        """Apply what ``iptables-restore --noflush`` reads: all of it or nothing.

        Raises:
            NetfilterError: a line cannot be obeyed; the table is as it was.
        """
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        if lines[:1] != ["*filter"] or lines[-1:] != ["COMMIT"]:
            raise NetfilterError("iptables-restore: COMMIT expected")
        trial = deepcopy(self)
        for number, line in enumerate(lines[1:-1], start=2):
            try:
                trial._obey(line)
            except NetfilterError as error:
                raise NetfilterError(f"line {number} failed: {error} ({line})") from None
        trial._check()
        self.chains, self.policies = trial.chains, trial.policies

    def _obey(self, line: str) -> None:
        if line.startswith(":"):
            chain, policy, _ = line[1:].split(" ")
            if len(chain) > LONGEST_NAME:
                raise NetfilterError(f"chain name `{chain}' too long (must be under 29 chars)")
            if chain in HOOKS:
                self.policies[chain] = policy
            else:
                self.chains[chain] = []
            return
        command, chain, rule = [*line.split(" ", 2), ""][:3]
        if chain not in self.chains:
            raise NetfilterError("No chain/target/match by that name.")
        rules = self.chains[chain]
        if command == "-A":
            rules.append(self._spelled(rule))
        elif command == "-D":
            if rule not in rules:
                raise NetfilterError("Bad rule (does a matching rule exist in that chain?).")
            rules.remove(rule)
        elif command == "-I":
            position, rule = rule.split(" ", 1)
            if not 1 <= int(position) <= len(rules) + 1:
                raise NetfilterError("Index of insertion too big.")
            rules.insert(int(position) - 1, self._spelled(rule))
        elif command == "-F":
            rules.clear()
        elif command == "-X":
            if rules or chain in HOOKS:
                raise NetfilterError("Directory not empty.")
            if any(read(rule).target == chain for listed in self.chains.values() for rule in listed):
                raise NetfilterError("Too many links.")
            del self.chains[chain]
        else:
            raise NetfilterError(f"unknown command {command}")

    def _spelled(self, rule: str) -> str:
        target = read(rule).target
        if target and target not in TERMINAL and (target not in self.chains or target in HOOKS):
            raise NetfilterError(f"Couldn't load target `{target}'")
        return rule

    def _check(self) -> None:
        """Refuse loops, as the kernel does."""
        done: set[str] = set()

        def visit(chain: str, above: frozenset[str]) -> None:
            if chain in above:
                raise NetfilterError("Too many levels of symbolic links.")
            if chain not in done:
                for rule in self.chains[chain]:
                    if read(rule).target in self.chains:
                        visit(read(rule).target, above | {chain})
                done.add(chain)

        for chain in self.chains:
            visit(chain, frozenset())

    def verdict(self, packet: Packet, hook: str = "INPUT") -> str:
        """Walk a packet through a hook: ``ACCEPT``, ``DROP`` or ``REJECT``."""
        return self.walk(packet, hook)[0]

    def walk(self, packet: Packet, hook: str = "INPUT") -> tuple[str, int]:
        """Walk a packet through a hook; return what becomes of it, and how many rules looked at it."""
        back: list[tuple[str, int]] = []
        chain, index, looked = hook, 0, 0
        while True:
            rules = self.chains[chain]
            target, goto = "RETURN", False
            while index < len(rules):
                rule = read(rules[index])
                index += 1
                looked += 1
                if rule.target and all(CONDITIONS[name](packet, value) for name, value in rule.conditions):
                    target, goto = rule.target, rule.goto
                    break
            if target == "RETURN":
                if not back:
                    return self.policies[hook], looked
                chain, index = back.pop()
            elif target in TERMINAL:
                return target, looked
            else:
                if not goto:  # who is sent by -g does not come back here, but to where the last -j was
                    back.append((chain, index))
                chain, index = target, 0


@dataclass
class Kernel(FakeCommands):
    """A machine with iptables: two tables, and other programs that may write at any moment.

    Args:
        meddlers: what others do to the tables, one before each of our writes, as long as there are any.
        spoilers: likewise, after our writes.
    """

    tables: dict[int, Table] = field(default_factory=lambda: {4: Table(), 6: Table()})
    scripts: list[tuple[int, str]] = field(default_factory=list)
    meddlers: list[Callable[[dict[int, Table]], None]] = field(default_factory=list)
    spoilers: list[Callable[[dict[int, Table]], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for version, tool in ((4, "iptables"), (6, "ip6tables")):
            self._knows_tool(version, tool)
        self.knows("iptables", "iptables v1.8.9 (nf_tables)", at=Path("/usr/sbin/xtables-nft-multi"))

    def _knows_tool(self, version: int, tool: str) -> None:
        self.knows(f"{tool}-nft-save", lambda argv, stdin: self.tables[version].save())
        self.knows(f"{tool}-nft-restore", lambda argv, stdin: self._restore(version, argv, stdin))

    def _restore(self, version: int, argv: Sequence[str], script: str) -> str | Completed:
        assert "--noflush" in argv, "without --noflush everybody's rules are gone"
        self.scripts.append((version, script))
        if self.meddlers:
            self.meddlers.pop(0)(self.tables)
        try:
            self.tables[version].restore(script)
        except NetfilterError as error:
            return ended(argv, 1, stderr=str(error))
        if self.spoilers:
            self.spoilers.pop(0)(self.tables)
        return ""

    def backend(self, versions: Sequence[int] = (4, 6)) -> Iptables:
        """Return the real backend on this machine."""
        tools = {version: "iptables" if version == 4 else "ip6tables" for version in versions}
        return Iptables(
            "iptables-nft",
            self,
            {version: f"{tool}-nft-save" for version, tool in tools.items()},
            RestoreWriter(self, {version: f"{tool}-nft-restore" for version, tool in tools.items()}, waits=False),
        )
