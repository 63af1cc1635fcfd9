"""Take a lock on an open file, flock(2), and see that it is still the file that others open."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def taken(descriptor: int) -> bool:
    """Take the exclusive flock on an open file if nobody has it; say whether we have it now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def still_there(descriptor: int, path: Path) -> bool:
    """Whether the file we locked is the one that others will open: it may have been replaced meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False
