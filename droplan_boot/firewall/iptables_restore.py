"""Write edits with iptables-restore: one process, one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from droplan_boot.errors import CommandError, FirewallError
from droplan_boot.firewall import edits
from droplan_boot.host.command import Runner

_LOCK_S: Final = 8
_WRITE_S: Final = 10.0


class RestoreWriter:
    """The restore command of either variant.

    Args:
        runner: runs it.
        command: the command by IP version (4, 6).
        waits: whether it takes ``-w SECONDS``: legacy since 1.6.2. The nft variant has no lock; older legacy ones
            wait for xtables.lock until our timeout ends them.
    """

    def __init__(self, runner: Runner, command: dict[int, str], *, waits: bool) -> None:
        self.runner = runner
        self.command = command
        self.waits = waits

    def write(self, version: int, table: str, planned: Sequence[edits.Edit]) -> None:
        """See :meth:`Writer.write`."""
        argv = [self.command[version], "--noflush", *(["-w", str(_LOCK_S)] if self.waits else [])]
        try:
            self.runner.run(argv, stdin=edits.script(planned, table), timeout=_WRITE_S)
        except CommandError as error:
            raise FirewallError(f"the IPv{version} rules were not written: {error}") from None
