"""What every backend can do: the only door through which droplan changes the firewall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from droplan_boot.access.policy import Policy


@dataclass(frozen=True)
class Transaction:
    """What would be written in one go.

    Args:
        differences: how the kernel's rules differ from what is wanted, in words, a line each; at least one.
        script: what would be written, as the backend's command reads it.
    """

    differences: tuple[str, ...]
    script: str


class Backend(Protocol):
    """A way to write rules into this kernel."""

    @property
    def name(self) -> str:
        """Its name, as ``droplan status`` shows it."""

    @property
    def writes(self) -> int:
        """How many transactions it has committed."""

    def apply(self, policy: Policy) -> bool:
        """Make the kernel's rules what the policy asks, and read them back.

        Returns:
            Whether anything had to be written.

        Raises:
            FirewallError: they did not become what was asked; they are as they were.
        """

    def plan(self, policy: Policy) -> tuple[Transaction, ...]:
        """Find what :meth:`apply` would change, and change nothing; none when the kernel's rules are as wanted.

        Raises:
            FirewallError: they cannot be read.
        """

    def remove(self, policy: Policy | None) -> bool:
        """Take all our rules out.

        Args:
            policy: what was applied last, if known: it tells which rules are ours when the chains are gone.

        Returns:
            Whether there were any.

        Raises:
            FirewallError: some are still there.
        """


def drift(backend: Backend, policy: Policy) -> tuple[str, ...]:
    """Say how the kernel's rules differ from a policy, a line each; none when they do not."""
    return tuple(line for transaction in backend.plan(policy) for line in transaction.differences)
