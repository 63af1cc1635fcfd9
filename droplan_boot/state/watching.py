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
    """

    quarrel: str = ""
    missed: bool = False


def load(files: Files) -> Watching:
    """Read it; nothing to tell when there is none, or none that makes sense."""
    try:
        value = json.loads(files.read(paths.WATCH) or b"")
        return Watching(str(value["quarrel"]), bool(value["missed"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return Watching()
