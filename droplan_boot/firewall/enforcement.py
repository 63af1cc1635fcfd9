"""Guard and door together: what a policy becomes on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

from droplan_boot.access.policy import Policy
from droplan_boot.errors import DroplanError
from droplan_boot.firewall.backend import Transaction
from droplan_boot.firewall.iptables import Iptables
from droplan_boot.firewall.nftables import Nftables

_Part = Union[Nftables, Iptables]


class Enforcement:
    """The guard, which shuts out, and the door, which lets in; at least one of both.

    The guard is written first: what it shuts out is out whatever becomes of the door, and whom it lets in the door
    lets in as well as before. Both are written or none.

    Args:
        guard: our table in nftables; None where the door's own mangle table is the guard.
        door: our rules in ip(6)tables; None where nftables are all there is.
    """

    def __init__(self, guard: Nftables | None, door: Iptables | None) -> None:
        self.guard = guard
        self.door = door

    @property
    def name(self) -> str:
        """Its name, as status.json shows it: the door's, or ``nftables`` for the guard alone."""
        return self.door.name if self.door else "nftables"

    @property
    def guarded_by(self) -> str:
        """Where the guard is: ``nftables`` or ``mangle``."""
        return "nftables" if self.guard else "mangle"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the backends that hold its rules."""
        return tuple(part.name for part in self._parts())

    @property
    def writes(self) -> int:
        """How many transactions it has committed."""
        return sum(part.writes for part in self._parts())

    @property
    def in_nf_tables(self) -> bool:
        """Whether all of it stands in nf_tables, whose generation tells whether anybody changed it."""
        return "iptables-legacy" not in self.names

    def asked_for(self, wanted: str) -> bool:
        """Whether it is what a setting asks for, not the second best because nft or the kernel refused something.

        Args:
            wanted: the setting DROPLAN_BACKEND.
        """
        return self.guard.notes if self.guard else wanted == "iptables"

    def apply(self, policy: Policy) -> bool:
        """See :meth:`Backend.apply`."""
        return self._each(lambda part: part.apply(policy))

    def plan(self, policy: Policy) -> tuple[Transaction, ...]:
        """See :meth:`Backend.plan`."""
        return tuple(transaction for part in self._parts() for transaction in part.plan(policy))

    def remove(self, policy: Policy | None) -> bool:
        """See :meth:`Backend.remove`."""
        return self._each(lambda part: part.remove(policy))

    def _parts(self) -> tuple[_Part, ...]:
        return tuple(part for part in (self.guard, self.door) if part)

    def _each(self, write: Callable[[_Part], bool]) -> bool:
        done: list[_Part] = []
        changed = False
        try:
            for part in self._parts():
                changed = write(part) or changed
                done.append(part)
        except DroplanError:
            for part in reversed(done):
                part.undo()
            raise
        return changed
