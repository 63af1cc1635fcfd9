"""When to put the rules right after somebody else changed them. Pure: the time is passed in.

A change of ours alone is repaired as soon as its author is through with it. Where only a look can tell, looks that
find nothing wrong come at growing pauses, so that a program which goes on changing rules next to ours costs little.
Two programs that undo each other would do so for ever: after five repairs in a minute the watcher stops.
"""

from __future__ import annotations

from droplan_boot.watch.rulesets import NOTHING, SURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SETTLE_S: Final = 0.1
"""Quiet that means a program is through with its changes: they often come as several transactions."""
LONGEST_SETTLE_S: Final = 0.5

VAIN_PAUSE_S: Final = 1.0
LONGEST_VAIN_PAUSE_S: Final = 60.0
LONGEST_SURE_PAUSE_S: Final = 1.0
"""What certainly is ours is looked at within this, however often it was in vain: 2 s are the bar."""

TIMES: Final = 5
WITHIN_S: Final = 60.0


class Healing:
    """What was heard, and what came of the looks.

    Args:
        quarrel: with whom the watcher has been quarrelling, so that it stopped; "" when it has not.
    """

    def __init__(self) -> None:
        self.quarrel = ""
        self._level = NOTHING
        self._process = ""
        self._first = self._last = 0.0
        self._not_before = 0.0
        self._vain = 0
        self._repairs: list[float] = []

    def heard(self, level: int, process: str, now: float) -> None:
        """Take note of a change that somebody else made.

        Args:
            level: MAYBE or SURE.
            process: who made it; "" when not told.
            now: monotonic seconds.
        """
        if not self._level:
            self._first = now
        self._last = now
        self._level = max(self._level, level)
        self._process = process or self._process

    def next(self) -> float | None:
        """Tell when to look, in monotonic seconds; None when there is nothing to look at."""
        if not self._level or self.quarrel:
            return None
        settled = min(self._last + SETTLE_S, self._first + LONGEST_SETTLE_S)
        latest = self._not_before
        if self._level == SURE and self._vain:
            latest = min(latest, self._first + LONGEST_SURE_PAUSE_S)
        return max(settled, latest)

    def began(self) -> None:
        """Take note that a look begins: what is heard from here on is new."""
        self._level = NOTHING

    def ended(self, repaired: bool, now: float) -> None:
        """Take note of what it came to.

        Args:
            repaired: whether anything was wrong, and was put right.
            now: monotonic seconds.
        """
        if not repaired:
            self._vain += 1
            self._not_before = now + min(VAIN_PAUSE_S * 2 ** min(self._vain - 1, 10), LONGEST_VAIN_PAUSE_S)
            return
        self._vain = 0
        self._not_before = now
        self._repairs = [*(at for at in self._repairs if at > now - WITHIN_S), now]
        if len(self._repairs) >= TIMES:
            self.quarrel = self._process or "a program that the kernel did not name"

    def quiet(self, now: float) -> None:
        """Forget the looks in vain when nothing has been heard for as long as they may pause."""
        if self._vain and not self._level and now > self._not_before + LONGEST_VAIN_PAUSE_S:
            self._vain = 0

    def refreshed(self) -> None:
        """Take note that a refresh has run: the rules are right as of now, and a quarrel is tried again."""
        self.quarrel = ""
        self._repairs = []
