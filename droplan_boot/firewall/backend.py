"""What every backend can do: the only door through which droplan changes the firewall."""

from __future__ import annotations

from typing import Protocol

from droplan_boot.access.policy import Policy


class Backend(Protocol):
    """A way to write rules into this kernel."""

    @property
    def name(self) -> str:
        """Its name, as ``droplan status`` shows it."""

    def apply(self, policy: Policy) -> bool:
        """Make the kernel's rules what the policy asks, and read them back.

        Returns:
            Whether anything had to be written.

        Raises:
            FirewallError: they did not become what was asked; they are as they were.
        """

    def drift(self, policy: Policy) -> tuple[str, ...]:
        """Say how the kernel's rules differ from the policy, a short line each; none when they do not.

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
