"""The file beside a target that is written first and then renamed: one run of droplan's at a time has it.

Most writers hold /run/droplan.lock. Who did not get it still reports that, as others may at the same moment.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path
from typing import Final

from droplan_boot.host import flock

_TURNS: Final = 1000
_TURN_S: Final = 0.01


def beside(target: Path) -> Path:
    """Name it: always the same, so that what a killed run left is found by the next."""
    return target.with_name(target.name + ".droplan-new")


def begin(place: Path, owner: int) -> int:
    """Make it, empty and for its owner alone to read.

    What is there already makes way, left by a killed run or planted, unless another run is writing it: that one holds
    a lock on it, and is waited for.

    Args:
        place: as :func:`beside` names it.
        owner: the uid that all runs have.

    Returns:
        A descriptor. Until it is closed nobody else's :func:`begin` touches the file, so it is renamed before.

    Raises:
        OSError: it cannot be made.
    """
    for _ in range(_TURNS):
        _make_way(place, owner)
        try:
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            time.sleep(_TURN_S)
            continue
        # Until it was locked it looked like a killed run's.
        if flock.taken(descriptor) and flock.still_there(descriptor, place):
            return descriptor
        os.close(descriptor)
    raise TimeoutError(errno.ETIMEDOUT, "another run of droplan has been writing it for long")


def _make_way(place: Path, owner: int) -> None:
    """Remove what is there, unless a run of droplan's is writing it."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError:  # a link, among others
        place.unlink(missing_ok=True)
        return
    try:
        found = os.fstat(descriptor)
        of_a_run = stat.S_ISREG(found.st_mode) and found.st_uid == owner and found.st_nlink == 1
        if (flock.taken(descriptor) or not of_a_run) and flock.still_there(descriptor, place):
            place.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
