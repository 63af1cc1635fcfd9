"""What the API grants, and what a fleet takes of it.

How many requests were left when it was asked last is in ``/var/lib/droplan/budget.json``, for the watcher.
The rest is pure: how often a fleet can refresh within the limits, where every Droplet lists all of them itself.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from droplan_boot import paths
from droplan_boot.host.files import Files
from droplan_boot.sources.digitalocean.model import PAGE

HOURLY: Final = 5000
"""Requests an hour that a token is granted, where the API does not tell: https://docs.digitalocean.com/reference/api/."""

BY_THE_MINUTE: Final = 250
"""The second limit of a token."""

PERCENT: Final = 80
"""So much of both a fleet may plan with. The rest is for look-ups, retries, and whoever else uses the token."""


@dataclass(frozen=True)
class Budget:
    """What the API said of its limit, which all who use the token share.

    Args:
        remaining: requests left.
        limit: of so many an hour.
        reset: when the oldest request expires, seconds since the epoch.
        at: when it said so, seconds since the epoch.
    """

    remaining: int
    limit: int
    reset: float
    at: float


def store(files: Files, budget: Budget) -> None:
    """Write it.

    Raises:
        DroplanError: it cannot be written.
    """
    files.write(paths.BUDGET, json.dumps(asdict(budget)).encode() + b"\n", 0o644)


def load(files: Files) -> Budget | None:
    """Read it; None when the API has told nothing yet, or the file makes no sense."""
    try:
        value = json.loads(files.read(paths.BUDGET) or b"")
        return Budget(int(value["remaining"]), int(value["limit"]), float(value["reset"]), float(value["at"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def requests(droplets: int, *, peered: bool = False) -> int:
    """Count what a refresh asks: the pages of all Droplets, the list of GPU Droplets, and the peerings if need be.

    Args:
        droplets: how many are listed.
        peered: whether DROPLAN_SCOPE is ``vpc``.
    """
    return max(-(-droplets // PAGE), 1) + 1 + peered


def interval(droplets: int, wanted: int, limit: int = HOURLY, *, peered: bool = False) -> int:
    """Find how often a fleet can refresh, each of whose Droplets lists all of them.

    Args:
        droplets: how many are listed; all of them are taken to use the token.
        wanted: minutes between two refreshes that are set.
        limit: requests an hour that the token is granted.
        peered: as for :func:`requests`.

    Returns:
        Minutes: as set, or the smallest whole number of them that keeps the fleet within PERCENT of both limits.
    """
    asked = droplets * requests(droplets, peered=peered)
    by_the_hour = -(-asked * 60 * 100 // (PERCENT * max(limit, 1)))
    by_the_minute = -(-asked * 100 // (PERCENT * BY_THE_MINUTE))
    return max(wanted, by_the_hour, by_the_minute)


def largest(wanted: int, limit: int = HOURLY, *, peered: bool = False) -> int:
    """Count the Droplets that can refresh at an interval; with more than that it is stretched."""
    few, many = 0, 1
    while interval(many, wanted, limit, peered=peered) == wanted:
        few, many = many, many * 2
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if interval(middle, wanted, limit, peered=peered) == wanted else (few, middle)
    return few


def not_before(now: float, stretched: int, wanted: int, droplet_id: int) -> float:
    """Tell when a Droplet's next refresh is due where the interval is stretched.

    cron goes on at the interval that is set, so that each Droplet has to let some of its turns pass. They must not
    all take the same turn: a fleet that was made at one time would ask all at once, and then nobody for long. So each
    has moments of its own, one every stretched interval, by its number.

    Args:
        now: when the last refresh ended, seconds since the epoch.
        stretched: minutes.
        wanted: minutes that are set.
        droplet_id: this Droplet's number.

    Returns:
        Seconds since the epoch.
    """
    period = stretched * 60.0
    # A moment that comes right after this refresh is no second one, but the next turn's.
    return max(now + (share(droplet_id) * period - now) % period, now + wanted * 30.0)


def share(droplet_id: int) -> float:
    """Spread Droplets over a period, by their numbers: those that were made together follow each other.

    Args:
        droplet_id: a Droplet's number.

    Returns:
        Its share of the period, from 0 up to 1.
    """
    return droplet_id * 2654435761 % (1 << 32) / (1 << 32)  # Knuth's multiplicative hashing
