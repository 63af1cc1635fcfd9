"""When to look a stranger up: soon for a Droplet that was created a moment ago, seldom for whoever knocks on and on.

Strangers choose their sources, and each look-up costs requests of a budget that the whole account shares. So one
source is looked up at growing pauses, all together take from a bucket, and nobody is looked up after a failure or
while the API has little left. Pure: the time is passed in.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

AT_ONCE: Final = 10
REFILL_S: Final = 60.0
"""The bucket holds ten look-ups, and gets one more a minute. A fleet of 200 that is knocked on all day then asks 200
more times an hour for each Droplet at worst; see ENOUGH."""

ENOUGH: Final = 0.1
"""Below this share of the hour's requests nobody is looked up: what is left belongs to the schedule."""

FIRST_PAUSE_S: Final = 2.0
GROWTH: Final = 4
LONGEST_PAUSE_S: Final = 3600.0
"""The API lists a Droplet some seconds after it was created, and it knocks after 0, 1, 3, 7 and 15 s: the second
look-up comes with its third knock."""

AFTER_FAILURE_S: Final = 30.0

REMEMBERED: Final = 256


class Lookups:
    """What was asked for and what was looked up.

    Args:
        enough: whether the API has enough requests left.
        now: monotonic seconds.
    """

    def __init__(self, enough: Callable[[], bool], now: float) -> None:
        self._enough = enough
        self._tokens = float(AT_ONCE)
        self._filled = now
        self._pauses: dict[str, tuple[float, float]] = {}  # by source: until when, and how long; the newest last
        self._wanted: dict[str, None] = {}
        self._rest = now
        self._failures = 0

    def knocked(self, source: str, now: float) -> None:
        """Take note of a source that nobody knows."""
        if now >= self._pauses.get(source, (now, 0))[0]:
            self._wanted.pop(source, None)
            self._wanted[source] = None
            _bound(self._wanted)

    def due(self, now: float, known: Callable[[str], bool]) -> bool:
        """Say whether to look up now who knocked; if so, all who knocked so far count as looked up.

        Args:
            now: monotonic seconds.
            known: whether a source is a peer by now.
        """
        self._fill(now)
        if not self._wanted or now < self._rest or self._tokens < 1:
            if self._tokens < 1:
                self.forget()
            return False
        for source in [each for each in self._wanted if known(each)]:
            del self._wanted[source]
        if not self._wanted or not self._enough():
            self.forget()
            return False
        self._tokens -= 1
        for source in self._wanted:
            last = self._pauses.pop(source, (0.0, FIRST_PAUSE_S / GROWTH))[1]
            pause = min(last * GROWTH, LONGEST_PAUSE_S)
            self._pauses[source] = (now + pause, pause)
        _bound(self._pauses)
        self._wanted.clear()
        return True

    def forget(self) -> None:
        """Forget who knocked and has not been looked up: whoever means it knocks again."""
        self._wanted.clear()

    def ended(self, now: float, succeeded: bool) -> None:
        """Take note of how the look-up ended; failures are not repeated at once."""
        self._failures = 0 if succeeded else min(self._failures + 1, 8)
        if self._failures:
            self._rest = now + min(AFTER_FAILURE_S * 2 ** (self._failures - 1), LONGEST_PAUSE_S)

    def next(self, now: float) -> float | None:
        """Tell when to ask again whether it is due; None when nobody knocked."""
        return max(self._rest, now) if self._wanted else None

    def _fill(self, now: float) -> None:
        self._tokens = min(self._tokens + max(now - self._filled, 0.0) / REFILL_S, float(AT_ONCE))
        self._filled = now


def _bound(table: dict[str, None] | dict[str, tuple[float, float]]) -> None:
    while len(table) > REMEMBERED:
        del table[next(iter(table))]
