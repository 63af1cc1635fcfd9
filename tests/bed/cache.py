"""Where the lab keeps what is dear to make: certificates and downloaded packages."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def locked(name: str) -> Iterator[Path]:
    """Hold the cache's folder ``name`` for one lab at a time.

    Args:
        name: the folder's name below the cache's ``lab``; it is made when it is not there.

    Yields:
        The folder. Two labs that start at once wait for each other here.
    """
    cache = Path(os.environ.get("DROPLAN_CACHE", CHECKOUT / ".cache"))
    folder = cache.resolve() / "lab" / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
