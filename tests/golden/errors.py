"""Every sentence of error, read from the program's own source, as docs/errors.md lists them.

    .cache/venv/bin/python -m tests.golden.errors

writes the page anew, after a sentence was added or changed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from droplan_boot import errors
from droplan_boot.state.problems import KINDS

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "errors.md"
ROOMS = {
    "settings.py": "Settings",
    "access": "Who may come in",
    "sources": "Answers of DigitalOcean and of a fleet's store",
    "firewall": "The firewall",
    "host": "This machine",
    "setup": "Installing",
    "state": "What is remembered",
    "flow": "A refresh",
    "verbs": "Commands",
}
HEAD = """\
# Errors

Every sentence that droplan may end with: what is wrong, and after it what to do. `…` stands for what is known only
then. An error without an advice of its own passes by itself, or tells another program's words. Except where it says
so the rules are as they were. Written by `python -m tests.golden.errors` from the source; a test compares them.
"""


def text(node: ast.expr) -> str | None:
    """Spell a string of the source, None where it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
        return "".join(map(str, parts))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = text(node.left), text(node.right)
        return (left or "…") + (right or "…")
    if isinstance(node, ast.IfExp):
        return text(node.body)
    return None


def sentences(path: Path) -> Iterator[tuple[str, str, int]]:
    """Find the sentences of a module: cause, remedy, exit code."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
            continue
        kind = getattr(errors, node.func.id, None)
        said = text(node.args[0])
        if said is None or not said.strip("… :"):
            continue
        if not (isinstance(kind, type) and issubclass(kind, errors.DroplanError)):
            continue
        if issubclass(kind, errors.NoAnswerError):
            yield said, (text(node.args[1]) or "") if len(node.args) > 1 else "", kind.exit_code
        else:
            # "SETTING: 10.1.2.3/8 names a host ...: write 10.0.0.0/8" has its subject before the first one.
            cause, _, remedy = said.partition(": ") if not said.startswith("…: ") else said.rpartition(": ")
            yield cause, remedy, kind.exit_code


def render() -> str:
    """Write the page."""
    lines = [HEAD]
    for name, title in ROOMS.items():
        place = CHECKOUT / "droplan_boot" / name
        files = [place] if place.is_file() else sorted(place.rglob("*.py"))
        found = sorted({one for file in files for one in sentences(file)})
        if found:
            lines += [f"## {title}", "| what is wrong | what to do | exit |", "|---|---|---|"]
            lines += [f"| {_cell(cause)} | {_cell(remedy)} | {code} |" for cause, remedy, code in found]
            lines.append("")
    lines += ["## What `droplan status` finds", "| code | what is wrong | what to do | exit |", "|---|---|---|---|"]
    lines += [f"| `{one.code}` | {_cell(one.sentence)} | {_cell(one.remedy)} | {one.exit_code} |" for one in KINDS]
    return "\n".join([*lines, ""])


def _cell(said: str) -> str:
    return said.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(render())
