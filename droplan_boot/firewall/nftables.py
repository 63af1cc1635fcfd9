"""The guard in nftables: one table of our own, ``inet droplan`` (docs/guard.md).

No other program writes our table, but ``nft flush ruleset`` takes it away and a person may edit it. So it is read and
compared as it is, nothing of it is remembered, and whatever differs is written again.
"""

from __future__ import annotations

import signal
from typing import Final

from droplan_boot.access.policy import Policy
from droplan_boot.errors import CommandError, DroplanError, FirewallError, UnansweredError
from droplan_boot.firewall import nft_guard, nft_table
from droplan_boot.firewall.backend import Transaction
from droplan_boot.host.command import Runner

_ATTEMPTS: Final = 3
_TIMEOUT_S: Final = 40.0
_CHECK_S: Final = 15.0
"""For a few rules that are not written: so long that only what hangs meets it, and a refresh ends in time."""

# A person, a shutdown, the kernel when memory ran out. What crashes by itself, as SIGSEGV tells, does not work here.
_ENDED_BY_OTHERS: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM)


class Nftables:
    """Our table in nftables.

    Args:
        runner: runs ``nft``.
        notes: whether the kernel can send copies of what is shut out to the watcher.

    Attributes:
        writes: how many transactions it has committed.
    """

    name: Final = "nftables"

    def __init__(self, runner: Runner, *, notes: bool = True) -> None:
        self.runner = runner
        self.notes = notes
        self.writes = 0
        self._was: list[str] = []
        self._spelled: tuple[Policy, nft_table.Table | None] | None = None

    def apply(self, policy: Policy) -> bool:
        """See :meth:`Backend.apply`."""
        return self._settle(self.wanted(policy))

    def remove(self, policy: Policy | None) -> bool:  # noqa: ARG002 (what is in our table is ours)
        """See :meth:`Backend.remove`."""
        return self._settle(None)

    def plan(self, policy: Policy) -> tuple[Transaction, ...]:
        """See :meth:`Backend.plan`."""
        current, wanted = nft_table.parse(self._list()), self.wanted(policy)
        wrong = nft_table.differences(current, wanted)
        if not wrong:
            return ()
        return (Transaction(wrong, _scripts(current, wanted)[0]),)

    def wanted(self, policy: Policy) -> nft_table.Table | None:
        """Spell a policy as the table that this kernel takes; None when it asks for no rule."""
        # Once for a policy that is written and then kept for nftables.conf: thousands of peers take a while.
        if self._spelled is None or self._spelled[0] is not policy:
            self._spelled = (policy, nft_guard.build(policy, notes=self.notes))
        return self._spelled[1]

    def undo(self) -> None:
        """Take back what :meth:`apply` or :meth:`remove` wrote last.

        Raises:
            FirewallError: that did not work.
        """
        while self._was:
            text = self._was.pop()
            before = nft_table.parse(text)
            current = nft_table.parse(self._list())
            if before and before.strange:
                self._run(nft_table.replace(text))
            elif nft_table.differences(current, before):
                self._write(current, before)

    def _settle(self, wanted: nft_table.Table | None) -> bool:
        """Write until what is read back is what is wanted; return whether anything was written."""
        self._was.clear()
        before = self._list()
        current = nft_table.parse(before)
        wrong = nft_table.differences(current, wanted)
        if not wrong:
            return False
        self._was.append(before)
        try:
            for _ in range(_ATTEMPTS):
                self._write(current, wanted)
                current = nft_table.parse(self._list())
                wrong = nft_table.differences(current, wanted)
                if not wrong:
                    return True
            raise FirewallError(
                f"the table {nft_table.NAME} read back is not what was written ({wrong[0]}): "
                "see whether another program rewrites it"
            )
        except DroplanError:  # whatever it was, a deadline among others
            self.undo()
            raise

    def _write(self, current: nft_table.Table | None, wanted: nft_table.Table | None) -> None:
        *careful, replacement = _scripts(current, wanted)
        for script in careful:
            try:
                self._run(script)
                return
            except FirewallError:  # (a deadline is none, and ends it)
                pass  # somebody changed the table since we read it: replacing it fits whatever is there
        self._run(replacement)

    def _list(self) -> str:
        """Print our table; "" when there is none."""
        try:
            done = self.runner.run(["nft", "list", "table", *nft_table.NAME.split()], timeout=_TIMEOUT_S, check=False)
        except CommandError as error:
            raise FirewallError(f"the rules cannot be read: {error}") from None
        if done.status == 0:
            return done.stdout
        if "No such file or directory" in done.stderr:
            return ""
        failed = done.failure()
        raise FirewallError(f"the rules cannot be read: {failed}") from failed

    def _run(self, script: str) -> None:
        try:
            self.runner.run(["nft", "-f", "-"], stdin=script, timeout=_TIMEOUT_S)
            self.writes += 1
        except CommandError as error:
            raise FirewallError(f"the rules were not written: {error}") from None


def _scripts(current: nft_table.Table | None, wanted: nft_table.Table | None) -> tuple[str, ...]:
    """Write the transactions that lead there, the one that touches least first; the last fits whatever is there."""
    careful = (nft_table.small_change(current, wanted), nft_table.update(current, wanted))
    return (*filter(None, careful), nft_table.replace(nft_table.render(wanted) if wanted else ""))


def works(runner: Runner, policy: Policy) -> tuple[bool | None, str]:
    """Ask the kernel whether it takes the guard, without writing any: ``nft --check``.

    Returns:
        Whether it takes it with notes; None when it does not take it at all. And why not, in nft's words.

    Raises:
        UnansweredError: nft was ended before it answered, which says nothing about the kernel.
    """
    why = ""
    for notes in (True, False):
        table = nft_guard.build(policy, notes=notes)
        # Under another name: a table of ours that is there already may have been altered, which is no fault of nft.
        text = nft_table.render(table, f"{nft_table.NAME}-check") if table else ""
        try:
            done = runner.run(["nft", "--check", "-f", "-"], stdin=text, timeout=_CHECK_S, check=False)
        except UnansweredError:
            raise
        except CommandError as error:
            return None, str(error)
        if -done.status in _ENDED_BY_OTHERS:
            raise UnansweredError(f"nft was stopped before it answered: {done.complaint()}", done.stderr)
        if done.status == 0:
            return notes, ""
        why = done.complaint()
    return None, why
