"""Write docs/rules.md: the rules of each scenario, as every backend of ours and cloud-init/close.py write them.

    .cache/venv/bin/python -m tests.golden.page

does so, after a change that is meant; ``git diff docs/rules.md`` then shows what it does to users' rules.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any, Final

from droplan_boot.access.policy import Policy
from droplan_boot.firewall import nft_guard, nft_table
from tests.bed.memory.netfilter import Kernel
from tests.golden.scenarios import SCENARIOS

CHECKOUT: Final = Path(__file__).parents[2]
PAGE: Final = CHECKOUT / "docs" / "rules.md"

_HEAD: Final = """\
# The rules, scenario by scenario

What droplan writes for a few Droplets, on a machine that has no rules but droplan's. The guard shuts out: what
`nft list table inet droplan` prints, or, where nf_tables is not, the table mangle of `iptables-save`. The door lets
in: the table filter. The last of each scenario is what the bootstrap writes where the interface is to be closed
before droplan can be (`cloud-init/close.py`). [firewall/](../droplan_boot/firewall/__init__.py) says why the rules
are what they are.

This page is generated (`python -m tests.golden.page`) and compared in the tests, where packets walk through the same
rules; the lab loads them for real.
"""


def close_script() -> Any:
    """Load cloud-init/close.py, which is a program and belongs to no package."""
    spec = importlib.util.spec_from_file_location("close", CHECKOUT / "cloud-init" / "close.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def door(policy: Policy) -> dict[int, str]:
    """Return the filter table by IP version, as iptables-save prints it."""
    kernel = Kernel()
    kernel.backend().apply(policy)
    return {version: table.save() for version, table in kernel.tables.items()}


def mangled(policy: Policy) -> str:
    """Return the table mangle of IPv4, as iptables-save prints it, where nf_tables is not."""
    kernel = Kernel()
    kernel.backend().guarding().apply(policy)
    return kernel.netfilter.table("nft", 4, "mangle").save()


def guard(policy: Policy) -> str:
    """Return our table, as nft lists it."""
    table = nft_guard.build(policy)
    return nft_table.render(table) if table else ""


def closing(policy: Policy) -> str:
    """Return what close.py writes with nft for the same private interfaces."""
    close = close_script()
    names = [name for segment in policy.segments if not segment.public for name in segment.interfaces]
    return str(close.table_text(names))


def render() -> str:
    """Write the page."""
    parts = [_HEAD]
    for name, (words, policy) in SCENARIOS.items():
        parts.append(f"\n## {name}\n\n{words}\n")
        rules = door(policy)
        for title, text in (
            ("the guard, in nftables", guard(policy)),
            ("the door, IPv4", rules[4]),
            ("the door, IPv6", rules[6]),
            ("the guard where nf_tables is not: in mangle, IPv4", mangled(policy)),
            ("cloud-init/close.py, until droplan is there", closing(policy)),
        ):
            parts.append(f"\n{title}:\n\n```\n{text.expandtabs(4).strip()}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render())
    sys.stdout.write(f"{PAGE}: {len(SCENARIOS)} scenarios\n")
