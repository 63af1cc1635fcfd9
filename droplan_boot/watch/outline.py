"""What the watcher reads of droplan's state: small files, and small parts of large ones."""

from __future__ import annotations

import fcntl
import json
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class State:
    """The files.

    Args:
        folder: /var/lib/droplan.
        lock: the lock that every run of droplan's holds while it writes.
    """

    def __init__(self, folder: str, lock: str) -> None:
        self._folder = folder
        self._lock = lock

    def path(self, name: str) -> str:
        """Where a file is."""
        return f"{self._folder}/{name}"

    def covered(self) -> tuple[list[str], list[tuple[int, int]]]:
        """Tell which interfaces the rules name, and which private networks they belong to.

        Returns:
            Names; and networks, each the number of its first IPv4 address and of its last. None known: ([], []).
        """
        value = self._json("outline.json")
        try:
            names = [str(name) for name in value["interfaces"]]
            return names, [found for found in map(_network, value["networks"]) if found]
        except (KeyError, TypeError):
            return [], []

    def enough(self, share: float, wall: float) -> bool:
        """Say whether the API has more than a share of its requests left; so it is taken to be until it tells.

        Args:
            share: of the limit, 0 to 1.
            wall: seconds since the epoch.
        """
        value = self._json("budget.json")
        try:
            remaining, limit = int(value["remaining"]), int(value["limit"])
            return remaining > share * limit or wall >= float(value["reset"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return True

    def mark(self) -> float | None:
        """Tell when the last refresh ended, by the machine's clock; None when none ever did."""
        try:
            return os.stat(self.path("status.json")).st_mtime
        except OSError:
            return None

    def stretched(self) -> float | None:
        """Tell the seconds between two refreshes where the API's limits call for more than is set; else None."""
        value = self._json("status.json")
        try:
            minutes = float(value["interval"])
            return minutes * 60 if minutes > float(value["set_interval"]) else None
        except (KeyError, TypeError, ValueError):
            return None

    def installing(self) -> bool:
        """Whether an install has not ended: that is the schedule's to go on with, for it installs packages."""
        return os.path.lexists(self.path("unfinished"))

    def is_peer(self, address: str) -> bool:
        """Whether the last answer names an address.

        The snapshot of 10,000 Droplets is not decoded for that: it would be most of the watcher's memory. Within it,
        an address in quotes is nothing else.
        """
        try:
            with open(self.path("snapshot.json"), "rb") as file:
                return f'"{address}"'.encode() in file.read()
        except OSError:
            return False

    def busy(self) -> bool:
        """Whether a droplan is at work, anybody's."""
        try:
            descriptor = os.open(self._lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _json(self, name: str) -> Any:
        try:
            with open(self.path(name), "rb") as file:
                return json.loads(file.read(65536))
        except (OSError, ValueError, RecursionError):
            return None


def stamp(path: str) -> tuple[int, int] | None:
    """Tell one version of a file from another; None when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def number(address: str) -> int | None:
    """Turn an IPv4 address into a number; None for anything else."""
    try:
        return int.from_bytes(socket.inet_pton(socket.AF_INET, address), "big")
    except (OSError, ValueError):
        return None


def _network(text: object) -> tuple[int, int] | None:
    address, _, length = str(text).partition("/")
    first = number(address)
    if first is None or not (length.isascii() and length.isdigit() and len(length) < 3) or int(length) > 32:
        return None
    return first, first | ((1 << (32 - int(length))) - 1)
