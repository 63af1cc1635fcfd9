"""Break what people read at 80 columns, so that names and commands can still be copied from it."""

from __future__ import annotations

import re
import textwrap
from typing import Final

WIDTH: Final = 80
_HOLD: Final = str.maketrans(" ", "\0")
"""What textwrap breaks a line at, and in place of it what it does not."""
_RELEASE: Final = str.maketrans("\0", " ")
_PUNCTUATION: Final = 4
"""As much as may stick to a command, such as a parenthesis before and two marks behind it."""


def wrap(text: str, indent: str = "", *, cut: bool = True) -> list[str]:
    """Break a line at 80 columns; what follows the first line is indented.

    A command in backquotes is not broken, so that it can be copied; one that is too long for a line is broken between
    its words. No word is broken at its hyphens: names of Droplets are full of them.

    Args:
        text: the line.
        indent: what the further lines begin with.
        cut: whether a word that is longer than a line is cut; else its line is longer.
    """
    held = re.sub("`[^`]*`", lambda found: _hold(found[0], WIDTH - len(indent) - _PUNCTUATION), text)
    lines = textwrap.wrap(held, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=cut)
    return [line.translate(_RELEASE) for line in lines]


def _hold(command: str, width: int) -> str:
    return command.translate(_HOLD) if len(command) <= width else command
