"""The ip(6)tables backend: read, plan, write, read back; both families or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable, Final, Protocol

from droplan_boot.access.policy import Policy
from droplan_boot.errors import CommandError, DroplanError, FirewallError
from droplan_boot.firewall import edits, ruleset
from droplan_boot.firewall.backend import Transaction
from droplan_boot.firewall.ruleset import Ruleset
from droplan_boot.host.command import Runner

_ATTEMPTS: Final = 20  # a run of losses against programs that write the table at the same moment
_READ_S: Final = 10.0


class Writer(Protocol):
    """Has edits written in one transaction."""

    def write(self, version: int, planned: Sequence[edits.Edit]) -> None:
        """Write edits to the filter table of one family: all or nothing.

        Raises:
            FirewallError: nothing was written.
        """


@dataclass(frozen=True)
class Iptables:
    """The filter tables of ip(6)tables.

    Args:
        name: ``iptables-nft`` or ``iptables-legacy``.
        runner: runs the save commands.
        save: the command that prints all tables, by IP version (4, 6): the families this kernel has.
        writer: has the edits written.
    """

    name: str
    runner: Runner
    save: dict[int, str]
    writer: Writer

    def apply(self, policy: Policy) -> bool:
        """See :meth:`Backend.apply`."""
        return self._settle_all(lambda version: ruleset.build(policy, version))

    def remove(self, policy: Policy | None) -> bool:
        """See :meth:`Backend.remove`."""
        return self._settle_all(lambda version: ruleset.nothing(policy, version))

    def plan(self, policy: Policy) -> tuple[Transaction, ...]:
        """See :meth:`Backend.plan`."""
        found = []
        for version in self.save:
            wanted = ruleset.build(policy, version)
            current = edits.parse(self.dump(version))
            planned = edits.needed(current, wanted)
            if planned:
                lines = (f"IPv{version}: {line}" for line in describe(current, wanted, planned))
                found.append(Transaction(tuple(lines), edits.script(planned)))
        return tuple(found)

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
        if "able `filter' is incompatible" in text:
            raise FirewallError(
                f"{command} cannot read the table filter, because a program put rules of `nft` into it: "
                "move those to a table of their own (`nft list table ip filter` shows them)"
            )
        return text

    def probe(self) -> None:
        """See that the kernel knows every match and target we may need, in a chain that is gone when this returns.

        Raises:
            FirewallError: it does not; the message holds the command's own words.
        """
        chain = f"{ruleset.PREFIX}probe"
        for version in self.save:
            self.writer.write(version, (edits.Fill(chain, ruleset.probe(version)), edits.Erase(chain)))

    def _settle_all(self, wanted: Callable[[int], Ruleset]) -> bool:
        before: dict[int, edits.Filter] = {}
        wrote = False
        for version in self.save:
            target = wanted(version)
            try:
                before[version], changed = self._settle(target)
            except DroplanError:  # whatever it was, a lock or a deadline among others: both families or none
                for done, table in before.items():
                    self._take_back(done, table, wanted(done))
                raise
            wrote = wrote or changed
        return wrote

    def _settle(self, wanted: Ruleset) -> tuple[edits.Filter, bool]:
        """Write until what is read back is what is wanted; return the table as it was, and whether we wrote."""
        first: edits.Filter | None = None
        failure: FirewallError | None = None
        current: edits.Filter = {}
        planned: tuple[edits.Edit, ...] = ()
        wrote = False
        for _ in range(_ATTEMPTS):
            current = edits.parse(self.dump(wanted.version))
            first = current if first is None else first
            planned = edits.needed(current, wanted)
            if not planned:
                return first, wrote
            try:
                self.writer.write(wanted.version, planned)
                wrote = True
            except FirewallError as error:
                failure = error
                if edits.parse(self.dump(wanted.version)) == current:
                    break  # nobody changed it meanwhile, so it is not going to work
        if failure is None:
            failure = FirewallError(
                f"IPv{wanted.version} rules read back are not what was written "
                f"({describe(current, wanted, planned)[0]}): see whether another program rewrites them"
            )
        if wrote and first is not None:
            self._take_back(wanted.version, first, wanted)
        raise failure

    def _take_back(self, version: int, before: edits.Filter, wanted: Ruleset) -> None:
        planned = edits.undo(edits.parse(self.dump(version)), before, wanted)
        if planned:
            self.writer.write(version, planned)


def describe(current: edits.Filter, wanted: Ruleset, planned: Sequence[edits.Edit]) -> tuple[str, ...]:
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
            lines.setdefault(edit.chain, f"our rules in {edit.chain} are {state}")
    return tuple(lines.values())
