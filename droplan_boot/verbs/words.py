"""How verbs speak to a person: ages, tables, lines of 80 columns, colour on a terminal that wants it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Final

from droplan_boot.settings import Settings
from droplan_boot.wrapping import WIDTH, wrap

__all__ = ["WIDTH", "ago", "because", "colour", "one_line", "printable", "table", "wrap"]

_COLOURS: Final = {"good": "32", "bad": "31", "warn": "33", "bold": "1"}


def ago(seconds: float) -> str:
    """Tell an age in the unit that people would use."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def printable(text: str) -> str:
    """Take out what a terminal would obey: some of it was said by others, or read from files and rulesets."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def one_line(text: str) -> str:
    """Take out the same and line breaks: a name that somebody chose must not begin a line of its own."""
    return printable(text).replace("\n", "?")


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns, an item a row; the last column goes on in further lines where 80 columns are too few for it."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    before = sum(widths) + 2 * len(widths)
    lines = []
    for *cells, last in rows:
        first = "".join(cell.ljust(width) + "  " for cell, width in zip(cells, widths))
        lines.append((first + ("\n" + " " * before).join(_fold(last, WIDTH - before))).rstrip())
    return lines


def _fold(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 16), break_long_words=False, break_on_hyphens=False) or [""]


def because(wanted: Settings) -> str:
    """Say by which settings Droplets are peers."""
    scope = {
        "region": "they are in this region",
        "vpc": "they are in this VPC or one peered with it",
        "account": "they are in this account",
    }[wanted.scope]
    return f"{scope} (DROPLAN_SCOPE={wanted.scope})" + (
        f" and have the tag {' or '.join(wanted.tags)} (DO_TAG)" if wanted.tags else ""
    )


def colour(text: str, kind: str, environ: Mapping[str, str]) -> str:
    """Colour a word where stdout is a terminal and nobody objects, https://no-color.org/.

    Args:
        text: the word.
        kind: ``good``, ``bad``, ``warn`` or ``bold``.
        environ: the environment.
    """
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb" or not sys.stdout.isatty():
        return text
    return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m"
