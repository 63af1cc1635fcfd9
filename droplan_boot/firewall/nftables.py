"""The nftables backend: one table of our own, ``inet droplan``, for hosts without iptables (docs/nftables.md).

No other program writes our table, but ``nft flush ruleset`` takes it away and a person may edit it. So it is read and
compared as it is, nothing is remembered, and whatever differs is written again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from droplan_boot.access.policy import Policy
from droplan_boot.errors import CommandError, FirewallError
from droplan_boot.firewall import nft_table
from droplan_boot.firewall.backend import Transaction
from droplan_boot.host.command import Runner

_ATTEMPTS: Final = 3
_TIMEOUT_S: Final = 40.0


@dataclass(frozen=True)
class Nftables:
    """Our table in nftables.

    Args:
        runner: runs ``nft``.
    """

    runner: Runner
    name: str = "nftables"

    def apply(self, policy: Policy) -> bool:
        """See :meth:`Backend.apply`."""
        return self._settle(nft_table.build(policy))

    def remove(self, policy: Policy | None) -> bool:  # noqa: ARG002 (what is in our table is ours)
        """See :meth:`Backend.remove`."""
        return self._settle(None)

    def plan(self, policy: Policy) -> tuple[Transaction, ...]:
        """See :meth:`Backend.plan`."""
        current, wanted = nft_table.parse(self._list()), nft_table.build(policy)
        wrong = nft_table.differences(current, wanted)
        if not wrong:
            return ()
        return (Transaction(wrong, _scripts(current, wanted)[0]),)

    def _settle(self, wanted: nft_table.Table | None) -> bool:
        """Write until what is read back is what is wanted; return whether anything was written."""
        before = self._list()
        current = nft_table.parse(before)
        wrong = nft_table.differences(current, wanted)
        wrote = False
        try:
            for _ in range(_ATTEMPTS):
                if not wrong:
                    return wrote
                self._write(current, wanted)
                wrote = True
                current = nft_table.parse(self._list())
                wrong = nft_table.differences(current, wanted)
            if wrong:
                raise FirewallError(
                    f"the table {nft_table.NAME} read back is not what was written ({wrong[0]}): "
                    "see whether another program rewrites it"
                )
        except FirewallError:
            if wrote:
                self._run(nft_table.replace(before))
            raise
        return wrote

    def _write(self, current: nft_table.Table | None, wanted: nft_table.Table | None) -> None:
        *careful, replacement = _scripts(current, wanted)
        for script in careful:
            try:
                self._run(script)
                return
            except FirewallError:
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
        except CommandError as error:
            raise FirewallError(f"the rules were not written: {error}") from None


def _scripts(current: nft_table.Table | None, wanted: nft_table.Table | None) -> tuple[str, ...]:
    """Write the transactions that lead there, the one that touches least first; the last fits whatever is there."""
    careful = (nft_table.small_change(current, wanted), nft_table.update(current, wanted))
    return (*filter(None, careful), nft_table.replace(nft_table.render(wanted) if wanted else ""))
