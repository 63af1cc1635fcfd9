"""What the watcher alone knows, for ``droplan status``: ``/var/lib/droplan/watch.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass

from droplan_boot import paths
from droplan_boot.host.files import Files


@dataclass(frozen=True)
class Watching:
    """How the watcher fares.

    Args:
        quarrel: the program that undid its repairs, so that it stopped until the next refresh; "" when none did.
        missed: whether the schedule has missed refreshes, so that the watcher runs them.
        written: when it wrote that, in seconds since the epoch.
    """

    quarrel: str = ""
    missed: bool = False
    written: float = 0.0

    def quarrels(self, refreshed: float | None) -> bool:
        """Whether it has stopped: a refresh ends that, and it sleeps until something happens after it.

        Args:
            refreshed: when the last refresh succeeded, in seconds since the epoch; None when none did.
        """
        return bool(self.quarrel) and (refreshed is None or refreshed <= self.written)


def load(files: Files) -> Watching:
    """Read it; nothing to tell when there is none, or none that makes sense."""
    try:
        value = json.loads(files.read(paths.WATCH) or b"")
        return Watching(str(value["quarrel"]), bool(value["missed"]), float(value["written"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return Watching()
