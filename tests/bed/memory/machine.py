"""The packet filter of one machine: iptables' tables of both variants, nft's own tables, a packet's way."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Union

from tests.bed.memory.nft import Chain, NftTable, Ruleset
from tests.bed.memory.nft_rules import NftRule
from tests.bed.memory.packet import Packet, Verdict, address_type
from tests.bed.memory.xtables import Table
from tests.bed.memory.xtables_rules import BUILT_IN, NetfilterError, translated

VARIANTS = ("legacy", "nft")
PRIORITY = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0}
Hooked = tuple[int, Union[Table, tuple[NftTable, Chain]]]


@dataclass
class Netfilter:
    """All rules of a machine, and what it needs to route.

    Args:
        filters: the filter tables of iptables-nft, by version.
        tables: the other tables of iptables, by variant, version and name.
        nft: nft's own tables.
        local: this machine's addresses.
    """

    filters: dict[int, Table] = field(default_factory=lambda: {4: Table(version=4), 6: Table(version=6)})
    tables: dict[tuple[str, int, str], Table] = field(default_factory=dict)
    nft: Ruleset = field(default_factory=Ruleset)
    local: frozenset[str] = frozenset({"10.132.0.1", "127.0.0.1", "::1"})

    def __post_init__(self) -> None:
        for variant in VARIANTS:
            for version in (4, 6):
                for name in BUILT_IN:
                    if (variant, name) != ("nft", "filter"):
                        self.tables[variant, version, name] = Table.named(name, variant, version)

    def copy(self) -> Netfilter:
        """Return one of its own."""
        made = copy(self)
        made.filters = {version: table.copy() for version, table in self.filters.items()}
        made.tables = {key: table.copy() for key, table in self.tables.items()}
        made.nft = self.nft.copy()
        return made

    def table(self, variant: str, version: int, name: str = "filter") -> Table:
        """Return a table of iptables."""
        return self.filters[version] if (variant, name) == ("nft", "filter") else self.tables[variant, version, name]

    def save(self, variant: str, version: int) -> str:
        """Print what iptables-save prints: the tables that are there."""
        names = ("raw", "mangle", "filter", "nat")
        found = [self.table(variant, version, name) for name in names]
        return "".join(table.save() for table in found if table.exists)

    def restore(self, variant: str, version: int, text: str, *, noflush: bool = True) -> None:
        """Do what iptables-restore does: each block, from ``*table`` to ``COMMIT``, is a transaction of its own.

        Raises:
            NetfilterError: a block was refused; those before it stay applied (both variants, tried).
        """
        tool = ("iptables" if version == 4 else "ip6tables") + ("-nft" if variant == "nft" else "")
        block: list[str] = []
        first = 1
        for number, line in enumerate(text.splitlines(), 1):
            if not block:
                if not line or line.startswith("#"):
                    continue
                if not line.startswith("*"):
                    raise NetfilterError(f"{tool}-restore: line {number} failed")
                if line[1:] not in BUILT_IN:
                    raise NetfilterError(f"{tool}-restore: line {number} table name '{line[1:]}' invalid", 2)
                first = number
            elif line.startswith("*"):
                raise NetfilterError(f"Bad argument `{line}'\nError occurred at line: {number}", 2)
            block.append(line)
            if line == "COMMIT":
                self._block(variant, version, block, first, noflush=noflush)
                block = []
        if block:
            self._block(variant, version, block, first, noflush=noflush)

    def _block(self, variant: str, version: int, block: list[str], first: int, *, noflush: bool) -> None:
        self.table(variant, version, block[0][1:]).restore("\n".join(block), noflush=noflush, first=first)

    def flush_ruleset(self) -> None:
        """Do what ``nft flush ruleset`` does: nft's own tables and iptables-nft's go, legacy's stay."""
        self.nft.tables.clear()
        self._vanish()

    def _vanish(self) -> None:
        for version in (4, 6):
            for name in BUILT_IN:
                self.table("nft", version, name).vanish()

    def run_nft(self, script: str) -> None:
        """Do what ``nft -f`` does.

        Raises:
            NetfilterError: it was refused.
        """
        if self.nft.run(script):
            self._vanish()

    def receive(self, packet: Packet) -> Verdict:
        """Walk a packet that comes in: prerouting, then input or forward as its destination then says."""
        before = self._hook("prerouting", packet)
        if before.verdict != "ACCEPT":
            return before
        mine = address_type(before.packet.destination, self.local) != "unicast"
        after = self._hook("input" if mine else "forward", before.packet)
        return replace(after, logged=before.logged + after.logged)

    def send(self, packet: Packet) -> Verdict:
        """Walk a packet that this machine sends: output."""
        return self._hook("output", packet)

    def hooked(self, hook: str, version: int) -> list[Hooked]:
        """List what is registered at a hook, in the order in which packets pass it."""
        found: list[Hooked] = []
        for variant in VARIANTS:
            for name in BUILT_IN:
                table = self.table(variant, version, name)
                if table.exists and hook.upper() in table.policies:
                    place = 100 if (name, hook) == ("nat", "input") else PRIORITY[name]
                    found.append((place, table))
        for own in self.nft.tables.values():
            if own.family in ("inet", f"ip{'' if version == 4 else '6'}"):
                found += [(chain.priority, (own, chain)) for chain in own.chains.values() if chain.hook == hook]
        return sorted(found, key=lambda one: one[0])

    def _hook(self, hook: str, packet: Packet) -> Verdict:
        last, translated_already = Verdict("ACCEPT", hook, "", packet), False
        logged: tuple[int, ...] = ()
        for _, one in self.hooked(hook, packet.version):
            is_nat = one.name == "nat" if isinstance(one, Table) else one[1].kind == "nat"
            if is_nat and (translated_already or not _opens(packet)):
                continue  # conntrack remembers: only the first packet walks nat, and one mapping is made
            last = self._table(one, hook, packet) if isinstance(one, Table) else self._nft(*one, packet)
            logged += last.logged
            if last.verdict != "ACCEPT":
                return replace(last, logged=logged)
            translated_already = translated_already or last.packet != packet
            packet = last.packet
        return replace(last, packet=packet, logged=logged)

    def _table(self, table: Table, hook: str, packet: Packet) -> Verdict:
        ended = table.trace(packet, hook.upper(), self.local)
        chain = f"iptables-{table.variant} {table.name} {ended.chain}"
        verdict = ended.verdict
        if ended.read and verdict in ("DNAT", "REDIRECT"):
            packet = _translate(packet, *translated(ended.read), here=verdict == "REDIRECT")
        if verdict not in ("DROP", "REJECT"):
            verdict = "ACCEPT"
        return Verdict(verdict, chain, ended.rule, packet, ended.logged)

    def _nft(self, table: NftTable, base: Chain, packet: Packet) -> Verdict:
        names = {id(chain): name for name, chain in table.chains.items()}
        back: list[tuple[Chain, int]] = []
        chain, index = base, 0
        logged: tuple[int, ...] = ()

        def ended(verdict: str, rule: NftRule | None) -> Verdict:
            where = f"{table.family} {table.name} {names[id(chain)]}"
            return Verdict(verdict, where, rule.text if rule else "", packet, logged)

        while True:
            if index >= len(chain.rules):
                if not back:
                    chain = base
                    return ended(base.policy.upper(), None)
                chain, index = back.pop()
                continue
            rule = chain.rules[index]
            index += 1
            for said in rule.statements:
                if not said.holds(packet, table.sets, self.local):
                    break
                if said.verb == "log" and said.named:
                    logged += (int(said.named),)
                word = said.text.split(" ")[0]
                if said.verb in ("jump", "goto"):
                    if said.verb == "jump":
                        back.append((chain, index))
                    chain, index = table.chains[said.named], 0
                    break
                if said.verb != "verdict":
                    continue
                if word in ("accept", "drop", "reject"):
                    return ended(word.upper(), rule)
                if word in ("redirect", "dnat"):
                    packet = _translate(packet, *_nft_target(said.named), here=word == "redirect")
                    return ended("ACCEPT", rule)
                if word == "return":
                    index = len(chain.rules)
                break

    def walks(self) -> Iterator[str]:
        """Name all that is registered, hook by hook, for a person who debugs a test."""
        for hook in ("prerouting", "input", "forward", "output"):
            for version in (4, 6):
                for place, one in self.hooked(hook, version):
                    name = f"{one.variant} {one.name}" if isinstance(one, Table) else f"{one[0].family} {one[0].name}"
                    yield f"{hook} IPv{version} {place} {name}"


def _opens(packet: Packet) -> bool:
    """Tell whether nat's mapping is for this packet: conntrack applies to later ones what the first one got."""
    return packet.way == "original" and packet.tracked in ("new", "established")


def _translate(packet: Packet, address: str, port: int | None, *, here: bool) -> Packet:
    return replace(
        packet,
        destination="" if here else address or packet.destination,
        port=packet.port if port is None else port,
        asked_port=packet.asked,
    )


def _nft_target(to: str) -> tuple[str, int | None]:
    address, _, port = to.rpartition(":") if to.count(":") == 1 or "]" in to else (to, "", "")
    return address.strip("[]"), int(port) if port else None
