"""Every sentence of error, read from the program's own source, as docs/errors.md lists them.

    .cache/venv/bin/python -m tests.golden.errors

writes the page anew, after a sentence was added or changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

from droplan_boot.state.problems import KINDS
from tests.golden.sentences import UNKNOWN, Sentence, Source, split

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "errors.md"
PROGRAM: Final = CHECKOUT / "droplan_boot"
STAGE0: Final = CHECKOUT / "cloud-init"
PYZ: Final = CHECKOUT / "pyz"
ROOMS = {
    "cli.py": "Any command",
    "settings.py": "Settings",
    "access": "Who may come in",
    "sources": "Answers of DigitalOcean and of a fleet's store",
    "firewall": "The firewall",
    "host": "This machine",
    "setup": "Installing",
    "state": "What is remembered",
    "flow": "A refresh",
    "publish": "A fleet's publisher",
    "watch": "The watcher",
    "verbs": "Commands",
}
HEAD = """\
# Errors

Every sentence that droplan may end with: what is wrong, and after it what to do. `…` stands for what is known only
then. An error without an advice of its own passes by itself, or tells another program's words. Except where it says
so the rules are as they were; where no exit code stands, it goes on. Written by `python -m tests.golden.errors` from
the source; a test compares them.
"""
TABLE: Final = ("| what is wrong | what to do | exit |", "|---|---|---|")
BOOTSTRAP = """\
## The bootstrap, and user data
User data's bootstrap says `droplan BOOTSTRAP FAILED, exit …: …`, on the console too, and `droplan status` says it
again: exit code and sentence are of this table, or of `droplan install`. Behind them stand how the private interface
is, and when a timer tries again.
"""


@cache  # what one sentence is made of is found for the next as well
def program() -> Source:
    """Read droplan's own modules."""
    return Source(CHECKOUT, sorted(PROGRAM.rglob("*.py")))


def sentences(source: Source, path: Path) -> list[Sentence]:
    """Find the sentences of one of droplan's modules."""
    return _telling(source.raised(source.at(path)))


def bootstrap() -> dict[Path, list[Sentence]]:
    """Find the sentences of stage-0, of what closes the interface, and of the script that runs both."""
    source = Source(STAGE0, [STAGE0 / "bootstrap.py", STAGE0 / "close.py"])
    found = {module.path: _telling(source.ended(module)) for module in source.modules.values()}
    return {**found, STAGE0 / "bootstrap.sh": list(_shell(STAGE0 / "bootstrap.sh"))}


def zipapp() -> list[Sentence]:
    """Find the sentences of what unpacks and starts the program."""
    source = Source(PYZ, [PYZ / "__main__.py", PYZ / "unpack.py"])
    return [one for module in source.modules.values() for one in source.ended(module)]


def row(one: Sentence) -> str:
    """Write a line of the page's tables."""
    code = "-" if one.exit_code is None else one.exit_code
    return f"| {_cell(one.cause)} | {_cell(one.remedy)} | {code} |"


def render() -> str:
    """Write the page."""
    lines, source = [HEAD], program()
    lines += ["## Starting it", *TABLE, *_rows(zipapp()), ""]
    for name, title in ROOMS.items():
        place = PROGRAM / name
        files = [place] if place.is_file() else sorted(place.rglob("*.py"))
        found = _rows(one for file in files for one in sentences(source, file))
        if found:
            lines += [f"## {title}", *TABLE, *found, ""]
    lines += [BOOTSTRAP, *TABLE, *_rows(one for those in bootstrap().values() for one in those), ""]
    lines += ["## What `droplan status` finds", "| code | what is wrong | what to do | exit |", "|---|---|---|---|"]
    lines += [f"| `{one.code}` | {_cell(one.sentence)} | {_cell(one.remedy)} | {one.exit_code} |" for one in KINDS]
    return "\n".join([*lines, ""])


def _telling(found: Iterable[Sentence]) -> list[Sentence]:
    """Leave out what tells nothing where the same place says more."""
    those = list(found)
    more = {one.line for one in those if one.cause != UNKNOWN}
    return [one for one in those if one.cause != UNKNOWN or one.line not in more]


def _shell(path: Path) -> Iterator[Sentence]:
    """Find what the script says by itself: with an advice, or where there is nothing else to say."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        for said in re.findall(r'echo "([^"]*: [^"]*)"|\{sentence:-([^}]*)\}', line):
            yield Sentence(*split(re.sub(r"\$\w+", UNKNOWN, "".join(said))), None, number)


def _rows(found: Iterable[Sentence]) -> list[str]:
    """Write each sentence once."""
    return list(dict.fromkeys(row(one) for one in sorted(found, key=lambda one: (one.cause, one.remedy))))


def _cell(said: str) -> str:
    return said.strip().rstrip(".").replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(render())
