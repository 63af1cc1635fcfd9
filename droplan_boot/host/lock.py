"""Hold a lock file, so that two droplans, or droplan and iptables, do not write at once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from droplan_boot.errors import DroplanError, LockedError
from droplan_boot.host import flock

_POLL_S = 0.05


@contextmanager
def held(path: Path, *, wait: float) -> Iterator[None]:
    """Hold an exclusive flock on ``path`` while the block runs.

    Args:
        path: the lock file; made (0600) when it is missing, never removed.
        wait: seconds to wait for whoever holds it.

    Raises:
        LockedError: it was still held after ``wait`` seconds.
        DroplanError: it cannot be opened.
    """
    deadline = time.monotonic() + wait
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DroplanError(
                f"{path} cannot be locked: {error.strerror}; mend that and run droplan again"
            ) from None
        if flock.taken(descriptor) and flock.still_there(descriptor, path):
            break
        os.close(descriptor)
        if time.monotonic() >= deadline:
            raise LockedError(
                f"another program has held {path} for {wait:.0f} s: `fuser -v {path}` names it; try again after it"
            )
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        os.close(descriptor)
