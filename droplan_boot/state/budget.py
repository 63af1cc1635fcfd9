"""How many requests the API had left when it was asked last: ``/var/lib/droplan/budget.json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from droplan_boot import paths
from droplan_boot.host.files import Files


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
