"""Keep the one child that polls a fleet's shared source, where there is one: TLS and JSON are too much for us."""

from __future__ import annotations

import os
import signal

from droplan_boot.watch import children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

VERB: Final = ("poll",)

FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 300.0
"""What polls ends only when something is wrong, such as a mistake in the settings: started after growing pauses."""

_LASTING_S: Final = 600.0
"""Whatever polled for so long is well, and its end is the first again."""


class Poller:
    """The child that polls, and when it is started again.

    Args:
        program: how droplan is started: interpreter, options, file.
        now: monotonic seconds.
    """

    def __init__(self, program: list[str], now: float) -> None:
        self._program = program
        self._pid: int | None = None
        self._began = now
        self._due = now
        self._pause = FIRST_PAUSE_S

    def next(self) -> float | None:
        """Tell when it is to be started; None while it runs, for its end is heard as a signal."""
        return None if self._pid else self._due

    def look(self, now: float) -> str:
        """See whether it runs, and start it when it is due.

        Returns:
            What is worth a line; "" for nothing.
        """
        if self._pid:
            found, status = os.waitpid(self._pid, os.WNOHANG)
            if not found:
                return ""
            self._pid = None
            if now - self._began >= _LASTING_S:
                self._pause = FIRST_PAUSE_S
            self._due = now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
            ended = os.waitstatus_to_exitcode(status)
            return f"What polls the fleet's list ended with status {ended}: /var/log/droplan.log may say why"
        if now < self._due:
            return ""
        self._began = now
        try:
            self._pid = children.spawn(self._program, VERB)
        except OSError as error:
            self._due = now + LONGEST_PAUSE_S
            return f"{self._program[-1]} cannot be started: {error.strerror}"
        return ""

    def end(self) -> None:
        """End it, before we end or become another program."""
        if self._pid:
            os.kill(self._pid, signal.SIGTERM)
            os.waitpid(self._pid, 0)
            self._pid = None
