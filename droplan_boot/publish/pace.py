"""How often a publisher may ask: below the API's 5,000 requests an hour and 250 a minute a token. Pure.

https://docs.digitalocean.com/reference/api/digitalocean/ "Rate Limit": each request ages out on its own.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from droplan_boot.sources.digitalocean.model import PAGE

HOURLY: Final = 4400
MINUTELY: Final = 220

ACTIONS_S: Final = 5.0
"""How often the account's actions are looked at: 720 requests an hour."""

_RESERVE: Final = 40
_SHORTEST_S: Final = 10.0
_LONGEST_S: Final = 600.0  # a head lives 1,200 s from the listing's begin
_MEMBERS_A_SECOND: Final = 330  # Spaces: 500 operations a second and bucket


@dataclass
class Pace:
    """The requests of the last hour.

    Args:
        sent: when each was sent, ascending, and whether it was part of a listing.
        remaining: what the API said last is left; None when it never did.
        until: nothing may be sent before; the API said so.
    """

    sent: deque[tuple[float, bool]] = field(default_factory=deque)
    remaining: int | None = None
    until: float = 0.0

    def note(self, now: float, *, listing: bool = False) -> None:
        """Count a request."""
        self.sent.append((now, listing))

    def used(self, now: float) -> int:
        """Count the requests of the last hour."""
        while self.sent and self.sent[0][0] <= now - 3600.0:
            self.sent.popleft()
        return len(self.sent)

    def wait(self, now: float, requests: int = 1) -> float:
        """Tell in how many seconds so many requests may be sent."""
        wait = max(0.0, self.until - now)
        if self.used(now) + requests > HOURLY:
            over = self.used(now) + requests - HOURLY
            wait = max(wait, self.sent[min(over, len(self.sent)) - 1][0] + 3600.0 - now)
        newest_first = (when for when, _ in reversed(self.sent))
        last = [*takewhile(lambda when: when > now - 60.0, newest_first)]
        if len(last) + requests > MINUTELY:
            over = len(last) + requests - MINUTELY
            wait = max(wait, last[-min(over, len(last))] + 60.0 - now)
        return wait

    def until_listing(self, now: float, droplets: int) -> float:
        """Tell in how many seconds a whole listing may be sent, with something left to ask about single Droplets."""
        return self.wait(now, min(pages(droplets) + _RESERVE, MINUTELY))

    def between_listings(self, now: float, droplets: int, *, actions: bool) -> float:
        """Tell the seconds from one listing's begin to the next one's.

        Args:
            now: seconds of the clock of ``note``.
            droplets: how many the account has.
            actions: whether the account's actions are looked at as well.
        """
        looks = 3600.0 / ACTIONS_S if actions else 0.0
        # What is asked besides listings, of the last minutes: an hour that has only begun would tell too little.
        lately = sum(1 for when, listing in self.sent if not listing and when > now - 600.0) * 6
        left = 0.95 * HOURLY - max(looks + 600.0, lately * 1.1)
        if self.remaining is not None and self.remaining < 500:
            left = min(left, self.remaining / 2)
        return min(max(3600.0 * pages(droplets) / max(left, 1.0), _SHORTEST_S), _LONGEST_S)


def pages(droplets: int) -> int:
    """Tell the requests that a listing takes: GPU Droplets and peerings are listed apart."""
    return max(1, math.ceil(droplets / PAGE)) + 2


def members(droplets: int) -> int:
    """Tell the seconds between two polls of a member of a fleet of this size."""
    return min(max(math.ceil(droplets / _MEMBERS_A_SECOND), 5), 300)
