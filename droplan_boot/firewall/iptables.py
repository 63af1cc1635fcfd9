"""The tables of ip(6)tables, filter and mangle: read, plan, write, read back; both families or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Callable, Final, Protocol

from droplan_boot.access.policy import Policy
from droplan_boot.errors import CommandError, DroplanError, FirewallError
from droplan_boot.firewall import edits, mangle, ruleset
from droplan_boot.firewall.backend import Transaction
from droplan_boot.firewall.ruleset import Ruleset
from droplan_boot.host.command import Runner

_ATTEMPTS: Final = 20  # a run of losses against programs that write the table at the same moment
_READ_S: Final = 10.0


class Writer(Protocol):
    """Has edits written in one transaction."""

    def write(self, version: int, table: str, planned: Sequence[edits.Edit]) -> None:
        """Write edits to a table of one family: all or nothing.

        Raises:
            FirewallError: nothing was written.
        """


_Tables = dict[str, dict[str, list[str]]]
"""The tables where rules of ours may stand, by name."""


class Iptables:
    """Our rules in ip(6)tables: the door, and the guard where there is none in nftables.

    Args:
        name: ``iptables-nft`` or ``iptables-legacy``.
        runner: runs the save commands.
        save: the command that prints all tables, by IP version (4, 6): the families this kernel has.
        writer: has the edits written.
        alone: whether the guard is in mangle, and the lock of the metadata service in filter, for want of nftables.

    Attributes:
        writes: how many transactions it has committed.
    """

    def __init__(
        self, name: str, runner: Runner, save: dict[int, str], writer: Writer, *, alone: bool = False
    ) -> None:
        self.name = name
        self.runner = runner
        self.save = save
        self.writer = writer
        self.alone = alone
        self.writes = 0
        self._read: dict[int, str] = {}
        self._was: dict[int, tuple[_Tables, Sequence[Ruleset]]] = {}
        self._spelled: dict[int, tuple[Policy, Ruleset]] = {}

    def guarding(self) -> Iptables:
        """Return the same where the guard is in mangle."""
        return Iptables(self.name, self.runner, self.save, self.writer, alone=True)

    def last(self, version: int) -> str:
        """Return what :meth:`dump` read last; after :meth:`apply` that is what is in force."""
        return self._read[version] if version in self._read else self.dump(version)

    def apply(self, policy: Policy) -> bool:
        """See :meth:`Backend.apply`."""
        return self._settle_all(lambda version, text: self.wanted(policy, version, text))

    def remove(self, policy: Policy | None) -> bool:
        """See :meth:`Backend.remove`."""
        return self._settle_all(
            lambda version, _: tuple(ruleset.nothing(policy, version, table) for table in ruleset.TABLES)
        )

    def undo(self) -> None:
        """Take back what :meth:`apply` or :meth:`remove` wrote last.

        Raises:
            FirewallError: that did not work.
        """
        while self._was:
            version, (before, wanted) = self._was.popitem()
            current = _parse(self.dump(version))
            for each in reversed(wanted):
                planned = edits.undo(current[each.table], before[each.table], each)
                if planned:
                    self.writer.write(version, each.table, planned)
                    self.writes += 1

    def plan(self, policy: Policy) -> tuple[Transaction, ...]:
        """See :meth:`Backend.plan`."""
        found = []
        for version in self.save:
            text = self.dump(version)
            current = _parse(text)
            for wanted, planned in _needed(current, self.wanted(policy, version, text)):
                described = describe(current[wanted.table], wanted, planned)
                lines = (f"IPv{version}: {line}" for line in described)
                found.append(Transaction(tuple(lines), edits.script(planned, wanted.table)))
        return tuple(found)

    def wanted(self, policy: Policy, version: int, text: str) -> tuple[Ruleset, ...]:
        """Spell a policy for one IP version, table by table.

        Args:
            policy: who may come in.
            version: 4 or 6.
            text: what :meth:`dump` read. A guard that stands there without notes was refused them by this kernel.
        """
        door = self._door(policy, version)
        if not self.alone:
            return (ruleset.nothing(policy, version, "mangle"), door)
        noting = f":{mangle.GUARD} " not in text or " -j NFLOG --nflog-prefix" in text
        return (mangle.build(policy, version, notes=noting), door)

    def _door(self, policy: Policy, version: int) -> Ruleset:
        """Spell the door once for a policy that is written, read back and saved: thousands of peers take a while."""
        spelled = self._spelled.get(version)
        if spelled is None or spelled[0] is not policy:
            spelled = self._spelled[version] = (policy, ruleset.build(policy, version, alone=self.alone))
        return spelled[1]

    def dump(self, version: int) -> str:
        """Print all tables of a family as iptables-save does.

        Raises:
            FirewallError: they cannot be read.
        """
        command = self.save[version]
        try:
            text = self.runner.run([command], timeout=_READ_S).stdout
        except CommandError as error:
            raise FirewallError(f"the rules cannot be read: {error}") from None
        # iptables-nft-save says so in a comment and exits 0.
        for table in ruleset.TABLES if self.alone else ("filter",):
            if f"able `{table}' is incompatible" in text:
                raise FirewallError(
                    f"{command} cannot read the table {table}, because a program put rules of `nft` into it: "
                    f"move those to a table of their own (`nft list table ip {table}` shows them)"
                )
        self._read[version] = text
        return text

    def probe(self) -> None:
        """See that the kernel knows every match and target we may need, in a chain that is gone when this returns.

        Raises:
            FirewallError: it does not; the message holds the command's own words.
        """
        chain = f"{ruleset.PREFIX}probe"
        for version in self.save:
            for table in ruleset.TABLES if self.alone else ("filter",):
                planned = (edits.Fill(chain, ruleset.probe(version)), edits.Erase(chain))
                self.writer.write(version, table, planned)

    def _settle_all(self, wanted: Callable[[int, str], Sequence[Ruleset]]) -> bool:
        self._was.clear()
        wrote = False
        try:
            for version in self.save:
                wrote = self._settle(version, wanted) or wrote
        except DroplanError:  # whatever it was, a lock or a deadline among others: both families or none
            self.undo()
            raise
        return wrote

    def _settle(self, version: int, asked: Callable[[int, str], Sequence[Ruleset]]) -> bool:
        """Write until what is read back is what is wanted; return whether we wrote."""
        failure: FirewallError | None = None
        wrong = ""
        wrote = False
        quiet = False
        for _ in range(_ATTEMPTS):
            text = self.dump(version)
            current = _parse(text)
            wanted = asked(version, text)
            if quiet:
                wanted = tuple(_without_notes(each) for each in wanted)
            needed = _needed(current, wanted)
            if not needed:
                return wrote
            wrong = describe(current[needed[0][0].table], *needed[0])[0]
            self._was.setdefault(version, (current, wanted))
            try:
                for each, planned in needed:
                    self.writer.write(version, each.table, planned)
                    self.writes += 1
                    wrote = True
            except FirewallError as error:
                failure = error
                if _parse(self.dump(version)) == current:
                    if quiet or _without_notes(each) == each:
                        break  # nobody changed it meanwhile, so it is not going to work
                    quiet = True  # perhaps this kernel cannot send copies of packets; the guard does without
        if failure is None:
            failure = FirewallError(
                f"IPv{version} rules read back are not what was written ({wrong}): "
                "see whether another program rewrites them"
            )
        raise failure


def _parse(text: str) -> _Tables:
    return {table: edits.parse(text, table) for table in ruleset.TABLES}


def _needed(current: _Tables, wanted: Sequence[Ruleset]) -> list[tuple[Ruleset, tuple[edits.Edit, ...]]]:
    """List what is to be done, in the order of the tables; those where nothing is are left out."""
    listed = ((each, edits.needed(current[each.table], each)) for each in wanted)
    return [(each, planned) for each, planned in listed if planned]


def _without_notes(wanted: Ruleset) -> Ruleset:
    chains = {
        name: tuple(rule for rule in rules if " -j NFLOG " not in rule) for name, rules in wanted.chains.items()
    }
    return replace(wanted, chains=chains)


def describe(current: edits.Rules, wanted: Ruleset, planned: Sequence[edits.Edit]) -> tuple[str, ...]:
    """Say in words how a table differs from what is wanted, one line a chain."""
    lines: dict[str, str] = {}
    for edit in planned:
        if isinstance(edit, edits.Erase):
            lines.setdefault(edit.chain, f"{edit.chain} should not be there")
        elif edit.chain in wanted.chains:
            lines.setdefault(edit.chain, f"{edit.chain} is {'altered' if edit.chain in current else 'missing'}")
        else:
            there = any(rule in wanted.heads.get(edit.chain, ()) for rule in current.get(edit.chain, ()))
            state = "not first, once and in order" if there else "missing"
            if there and edit.chain == "INPUT":
                state = "not there once, in order and before what shuts everybody out"
            lines.setdefault(edit.chain, f"our rules in {edit.chain} are {state}")
    return tuple(lines.values())
