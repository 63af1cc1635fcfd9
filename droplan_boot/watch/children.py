"""Start the ordinary program for what was decided, one at a time, and hear how it ended."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

REFRESH: Final = ("refresh", "--scheduled", "--asked")
"""A look-up, or what the schedule missed: due now, also where the schedule would let this turn pass."""

REPAIR: Final = ("restore", "--repair")
LINKS: Final = ("restore", "--repair", "--links")

REPAIRED: Final = 10
"""The exit status of a repair that found something wrong and put it right; 0 is that of one that found nothing."""

LONGEST_S: Final = 120.0
"""A refresh ends itself within a minute; what has not ended after two never will."""

ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def spawn(program: list[str], verb: tuple[str, ...]) -> int:
    """Start the program; return its process number.

    Args:
        program: how it is started: interpreter, options, file.
        verb: what it is to do.

    Raises:
        OSError: it cannot be started.
    """
    silence = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in (0, 1)]
    return os.posix_spawn(
        program[0],
        [*program, *verb],
        ENVIRONMENT,
        file_actions=silence,
        setsigmask=(),
        setsigdef=(signal.SIGCHLD, signal.SIGPIPE, signal.SIGTERM),
    )


class Child:
    """A run of the program.

    Args:
        program: how it is started: interpreter, options, file.
        verb: what it is to do, one of those above.
        now: monotonic seconds.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, program: list[str], verb: tuple[str, ...], now: float) -> None:
        self.verb = verb
        self.began = now
        self.pid = spawn(program, verb)

    def ended(self, now: float) -> int | None:
        """Tell its exit status, negative for the signal that ended it; None while it runs."""
        found, status = os.waitpid(self.pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if now - self.began > LONGEST_S:
            os.kill(self.pid, signal.SIGKILL)
        return None
