"""Tell the time and let it pass: the only door through which droplan waits or looks at a clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the rest of droplan needs of a clock; tests put in its place one that passes only when somebody sleeps."""

    def time(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds since some moment, whatever is done to the machine's date."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class MachineClock:
    """The machine's own."""

    def time(self) -> float:
        """See :meth:`Clock.time`."""
        return time.time()

    def monotonic(self) -> float:
        """See :meth:`Clock.monotonic`."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See :meth:`Clock.sleep`."""
        time.sleep(seconds)
