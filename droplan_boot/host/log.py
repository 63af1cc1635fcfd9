"""Say what happened, a line at a time, as the Go droplan did.

Such as ``2026/03/25 01:14:02 Added 2 peers to droplan-peers``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final, Protocol, TextIO

from droplan_boot import paths
from droplan_boot.errors import DroplanError
from droplan_boot.host.files import Files

_KEEP_BYTES: Final = 1 << 20
_JOURNAL: Final = Path("/run/systemd/journal/socket")
_ERROR, _INFO = 3, 6  # syslog(3)
_WIDTH, _TIME = 80, 20
"""Columns of a terminal; those that the time takes, with the blank behind it."""


class Log(Protocol):
    """Where a run's lines go."""

    def say(self, text: str) -> None:
        """Tell what was done."""

    def show(self, text: str) -> None:
        """Tell who watches that nothing needed doing: no log keeps it."""

    def complain(self, text: str) -> None:
        """Tell what went wrong."""

    def detail(self, text: str) -> None:
        """Keep what only who looks into it needs, such as all that a failed command said."""


class Terminal:
    """A person's run: what was done on stdout, what went wrong on stderr.

    On a terminal it goes on below the words of its first line where 80 columns are too few; a pipe gets one line.
    """

    def say(self, text: str) -> None:
        """Print a line."""
        _print(sys.stdout, _folded(line(text), sys.stdout))

    def show(self, text: str) -> None:
        """Print a line."""
        self.say(text)

    def complain(self, text: str) -> None:
        """Print a line on stderr."""
        _print(sys.stderr, _folded(line(text), sys.stderr))

    def detail(self, text: str) -> None:
        """Print nothing: the sentence that was printed has its essence."""


class LogFile:
    """The schedule's run: all goes to /var/log/droplan.log, which is kept short; cron has nothing to mail.

    Where systemd runs, the journal gets the same. The file's lines end in the time as ISO 8601 writes it, zone and
    all: the one in front is the original's, which programs read, and names no zone.

    Args:
        files: where the log is.
        aloud: whether a line that cannot be kept is printed; not where it was printed anyway.
    """

    def __init__(self, files: Files, *, aloud: bool = True) -> None:
        self.files = files
        self.aloud = aloud

    def say(self, text: str) -> None:
        """Append a line; where that cannot be done, print it, and cron sees to it."""
        self._append(text, _INFO)

    def show(self, text: str) -> None:
        """Keep nothing."""

    def complain(self, text: str) -> None:
        """Append a line."""
        self._append(text, _ERROR)

    def detail(self, text: str) -> None:
        """Append a line."""
        self._append(f"  {text}", _INFO)

    def _append(self, text: str, priority: int) -> None:
        stamped = f"{line(text)[:-1]} [{time.strftime('%Y-%m-%dT%H:%M:%S%z')}]\n"
        try:
            self.files.append(paths.LOG, stamped.encode(), 0o640, keep=_KEEP_BYTES)
        except DroplanError as error:
            if self.aloud:
                _print(sys.stderr, line(f"{text} ({error})"))
        _tell_journal(self.files.real(_JOURNAL), text, priority)


class Both:
    """A person's run that changes the machine: what they see is in the log as well.

    Args:
        shown: what they see.
        kept: what is kept.
    """

    def __init__(self, shown: Log, kept: Log) -> None:
        self.shown = shown
        self.kept = kept

    def say(self, text: str) -> None:
        """Tell both."""
        self.shown.say(text)
        self.kept.say(text)

    def show(self, text: str) -> None:
        """Tell who watches."""
        self.shown.show(text)

    def complain(self, text: str) -> None:
        """Tell both."""
        self.shown.complain(text)
        self.kept.complain(text)

    def detail(self, text: str) -> None:
        """Tell both."""
        self.shown.detail(text)
        self.kept.detail(text)


class Named:
    """A log whose lines name droplan's own commands as they are found here.

    Args:
        log: where they go.
        files: where sudo's settings are.
        schedule: whether the schedule runs what says it.
    """

    def __init__(self, log: Log, files: Files, *, schedule: bool = False) -> None:
        self.log = log
        self.files = files
        self.schedule = schedule

    def say(self, text: str) -> None:
        """Tell what was done."""
        self.log.say(self._named(text))

    def show(self, text: str) -> None:
        """Tell who watches that nothing needed doing."""
        self.log.show(self._named(text))

    def complain(self, text: str) -> None:
        """Tell what went wrong."""
        self.log.complain(self._named(text))

    def detail(self, text: str) -> None:
        """Keep what only who looks into it needs, as it is."""
        self.log.detail(text)

    def _named(self, text: str) -> str:
        if "`" not in text:
            return text
        from droplan_boot.host import hints  # most runs name no command, and start lean

        return hints.named(text, self.files, schedule=self.schedule)


def _tell_journal(socket_path: Path, text: str, priority: int) -> None:
    """Send a line to systemd's journal, if there is one: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/."""
    if not socket_path.exists():
        return
    import socket

    fields = (f"MESSAGE={_plain(text)}", f"PRIORITY={priority}", "SYSLOG_IDENTIFIER=droplan")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as journal:
            journal.sendto("".join(f"{field}\n" for field in fields).encode(), str(socket_path))
    except OSError:
        pass  # the file has it; a journal that is down or full is no reason to fail


def _print(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        pass  # `install | head`, or a full disk: no reason to stop halfway


def _folded(text: str, stream: TextIO) -> str:
    if len(text) <= _WIDTH or not stream.isatty():
        return text
    from droplan_boot.wrapping import wrap  # the schedule has no terminal, and starts lean

    return "".join(f"{part}\n" for part in wrap(text, " " * _TIME, cut=False))


def line(text: str) -> str:
    """Make one timestamped line; control characters are spelled out, whoever sent them."""
    return f"{time.strftime('%Y/%m/%d %H:%M:%S')} {_plain(text)}\n"


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
