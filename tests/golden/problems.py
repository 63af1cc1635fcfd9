"""docs/problems.md: all that ``droplan status`` may say is wrong, from the code's table.

``python -m tests.golden.problems`` writes it; tests/unit/test_problems.py compares it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from droplan_boot.state.problems import KINDS

PAGE: Final = Path(__file__).parents[2] / "docs" / "problems.md"

_HEAD: Final = """\
# What `droplan status` may say is wrong

Written by `python -m tests.golden.problems` from `droplan_boot/state/problems.py`: change it there.

`status` begins with the verdict of the worst problem, the uppermost in this table, and names the others below;
`status --json` lists all by `code`. Exit 3 is for rules that are not what the last answer asks, and goes before all
else. Exit 5 means that the rules are right, but that something needs a person: droplan is blind, unscheduled, would
not survive a reboot, or another program refuses peers. Rows with exit 0 are said, and are no fault.

Where no systemd runs (a container), a cron that runs and an installed loader of saved rules count as sound.
Words in *italics* are named when it is said.

| code | verdict | what it says | what to do | exit |
|---|---|---|---|---|
"""


def render() -> str:
    """Write the page."""
    rows = [
        f"| `{kind.code}` | {kind.verdict} | {_named(kind.sentence)} | {_named(kind.remedy)} | {kind.exit_code} |"
        for kind in KINDS
    ]
    return _HEAD + "\n".join(rows) + "\n"


def _named(text: str) -> str:
    """Set names in italics, outside of code, where markdown knows none."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(
        re.sub(r"\{(\w+)\}", lambda found: found[1].upper(), part)
        if number % 2
        else re.sub(r"\{(\w+)\}", r"*\1*", part)
        for number, part in enumerate(parts)
    )


if __name__ == "__main__":
    PAGE.write_text(render())
