"""What other programs and people do to the packet filter, by name: each takes the machine and does it at once.

They write the kernel directly, so that they do not count among our writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.bed.memory.machine import VARIANTS
from tests.bed.memory.netfilter import Kernel
from tests.bed.memory.xtables_rules import BUILT_IN

Action = Callable[[Kernel], None]


def iptables(*lines: str, table: str = "filter", variant: str = "", versions: tuple[int, ...] = (4, 6)) -> Action:
    """Make an action of lines as iptables-restore reads them, in one transaction for each version."""

    def act(kernel: Kernel) -> None:
        for version in versions:
            text = "\n".join([f"*{table}", *lines, "COMMIT", ""])
            kernel.netfilter.restore(variant or kernel.alternative, version, text)

    return act


def flush(table: str, variant: str = "") -> Action:
    """``iptables -t TABLE -F; iptables -t TABLE -X``."""
    return iptables("-F", "-X", table=table, variant=variant)


def insert(rule: str, hook: str, table: str = "filter", variant: str = "") -> Action:
    """``iptables -t TABLE -I HOOK RULE``."""
    return iptables(f"-I {hook} {rule}", table=table, variant=variant)


def policy(hook: str, verdict: str, table: str = "filter", variant: str = "") -> Action:
    """``iptables -t TABLE -P HOOK VERDICT``."""
    return iptables(f"-P {hook} {verdict}", table=table, variant=variant)


def jump(hook: str, rule: str, table: str = "filter", variant: str = "") -> Action:
    """Put a chain of one's own with one rule in front, as Docker, kube-proxy and fail2ban do."""
    return iptables(":others - [0:0]", f"-A others {rule}", f"-I {hook} -j others", table=table, variant=variant)


def restore(text: str, version: int = 4, variant: str = "") -> Action:
    """``iptables-restore`` of a file, without ``--noflush``."""

    def act(kernel: Kernel) -> None:
        kernel.netfilter.restore(variant or kernel.alternative, version, text, noflush=False)

    return act


def nft(script: str) -> Action:
    """``nft -f`` of a script."""
    return lambda kernel: kernel.netfilter.run_nft(script)


def flush_ruleset(kernel: Kernel) -> None:
    """``nft flush ruleset``, as a reload of nftables.service does."""
    kernel.netfilter.run_nft("flush ruleset")


def switch_alternative(kernel: Kernel) -> None:
    """``update-alternatives --set iptables`` to the other variant."""
    kernel.alternative = "legacy" if kernel.alternative == "nft" else "nft"


def all_flushes() -> Iterator[tuple[str, Action]]:
    """Name every flush of a table that iptables can do."""
    for variant in VARIANTS:
        for table in ("filter", "mangle", "nat"):
            yield f"{variant}: flush of {table}", flush(table, variant)


def all_inserts(rules: tuple[str, ...] = ("-j ACCEPT", "-j DROP")) -> Iterator[tuple[str, Action]]:
    """Name every insert at the head of a hook, of an own rule and of a jump."""
    for variant in VARIANTS:
        for table in ("filter", "mangle", "nat"):
            for hook in BUILT_IN[table]:
                for rule in rules:
                    if (table, rule) != ("nat", "-j DROP"):  # iptables itself refuses it
                        yield f"{variant}: {rule} at the head of {table} {hook}", insert(rule, hook, table, variant)
                        yield (
                            f"{variant}: a jump to {rule} at the head of {table} {hook}",
                            jump(hook, rule, table, variant),
                        )


def all_policies() -> Iterator[tuple[str, Action]]:
    """Name every change of a filter policy."""
    for variant in VARIANTS:
        for hook in BUILT_IN["filter"]:
            for verdict in ("ACCEPT", "DROP"):
                yield f"{variant}: policy {verdict} in {hook}", policy(hook, verdict, "filter", variant)
