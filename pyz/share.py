"""Write the manual page and the completions, made from the parser: what is shipped and what is understood are one.

share.py DIRECTORY

What comes out depends on the parser alone: argparse-manpage takes the date from SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from droplan_boot.cli import parser
from droplan_boot.commands import COMMANDS, EXITS

SHELLS = ("bash", "zsh", "fish")


def manual(whole: argparse.ArgumentParser) -> str:
    """Write droplan(8)."""
    page = Manpage(
        whole,
        format="pretty",
        _data={
            "manual_section": "8",
            "manual_title": "System administration",
            "project_name": "droplan",
            "description": "close a Droplet's private network interface to everyone but the account's own Droplets",
        },
    )
    return str(page).rstrip("\n") + "\n" + "".join(_sections())


def _sections() -> Iterator[str]:
    """Write what the tables know and no option is about: examples, exit codes, files."""
    yield ".SH EXAMPLES\n"
    for command in COMMANDS:
        yield f".TP\n.B {_plain(command.example)}\n{_plain(command.summary)}\n"
    yield ".SH EXIT STATUS\n"
    for code, words in EXITS.items():
        yield f".TP\n.B {code}\n{_plain(words)}\n"
    yield ".SH FILES\n"
    for name in dict.fromkeys(name for command in COMMANDS for name in command.files):
        yield f".TP\n.I {_plain(name)}\n{', '.join(one.name for one in COMMANDS if name in one.files)}\n"


def _plain(text: str) -> str:
    """Have roff(7) print a text as it is."""
    return text.replace("\\", "\\e").replace("-", "\\-")


def main() -> None:
    """Write them into the directory named on the command line."""
    folder = Path(sys.argv[1])
    folder.mkdir()
    (folder / "droplan.8").write_text(manual(parser()), encoding="utf-8")
    for shell in SHELLS:
        (folder / f"droplan.{shell}").write_text(shtab.complete(parser(), shell=shell), encoding="utf-8")


if __name__ == "__main__":
    main()
