"""When the schedule has missed a refresh. Pure: both clocks are passed in.

The report's time tells of every run that ended, whoever started it. It is taken for a mark that changes, not for a
time to compute with: the machine's clock may have been set in between.
"""

from __future__ import annotations


class Overdue:
    """What is known of the last refresh.

    Args:
        interval: seconds between two of the schedule's.
        mark: when the last one ended, by the machine's clock; None when there was none.
        wall: the machine's clock.
        now: monotonic seconds.
    """

    def __init__(self, interval: float, mark: float | None, wall: float, now: float) -> None:
        self._interval = interval
        self._mark = mark
        # A mark of the future, or of long ago, says nothing about this boot: the schedule has its turn first.
        age = wall - mark if mark is not None else 0.0
        self._since = now - (age if 0 <= age <= interval else 0.0)
        self.missed = False

    def look(self, mark: float | None, ours: bool, now: float) -> bool:
        """Compare the mark with the last one.

        Args:
            mark: as above, at present.
            ours: whether the watcher itself started what ended since.
            now: monotonic seconds.

        Returns:
            Whether a refresh has run since the last look.
        """
        if mark == self._mark:
            return False
        self._mark = mark
        self._since = now
        if not ours:
            self.missed = False
        return True

    def every(self, interval: float) -> None:
        """Take up another interval, in seconds."""
        self._interval = interval

    def next(self) -> float:
        """Tell when it is overdue, in monotonic seconds: an interval late."""
        return self._since + 2 * self._interval

    def put_off(self, now: float) -> None:
        """Leave what is overdue to the schedule for another interval."""
        if now >= self.next():
            self._since = now - self._interval

    def due(self, now: float) -> bool:
        """Say whether the schedule is an interval late; if so, the next is due an interval from now."""
        if now < self.next():
            return False
        self._since = now - self._interval
        self.missed = True
        return True
