"""Say what happened, a line at a time, as the Go droplan did.

Such as ``2026/03/25 01:14:02 Added 2 peers to droplan-peers``.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Final, Protocol, TextIO

from droplan_boot import paths
from droplan_boot.errors import DroplanError
from droplan_boot.host.files import Files

_KEEP_BYTES: Final = 1 << 20


class Log(Protocol):
    """Where a run's lines go."""

    def say(self, text: str) -> None:
        """Tell what was done."""

    def complain(self, text: str) -> None:
        """Tell what went wrong."""


class Terminal:
    """A person's run: what was done on stdout, what went wrong on stderr."""

    def say(self, text: str) -> None:
        """Print a line."""
        _print(sys.stdout, line(text))

    def complain(self, text: str) -> None:
        """Print a line on stderr."""
        _print(sys.stderr, line(text))


@dataclass(frozen=True)
class LogFile:
    """The schedule's run: all goes to /var/log/droplan.log, which is kept short; cron has nothing to mail."""

    files: Files

    def say(self, text: str) -> None:
        """Append a line; where that cannot be done, print it, and cron sees to it."""
        try:
            self.files.append(paths.LOG, line(text).encode(), 0o640, keep=_KEEP_BYTES)
        except DroplanError as error:
            _print(sys.stderr, line(f"{text} ({error})"))

    def complain(self, text: str) -> None:
        """Append a line."""
        self.say(text)


def _print(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        pass  # `install | head`, or a full disk: no reason to stop halfway


def line(text: str) -> str:
    """Make one timestamped line; control characters are spelled out, whoever sent them."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return f"{time.strftime('%Y/%m/%d %H:%M:%S')} {shown}\n"
