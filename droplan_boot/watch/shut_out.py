"""Who was shut out, in bounded memory and on disk: what ``droplan blocked`` shows (docs/schemas/blocked.json).

A flood of spoofed sources neither grows it, for only the last 256 are kept, nor wears the disk, for it is written at
most every ten seconds. What it counts are the copies that the rules sent, which are limited: a sample.
"""

from __future__ import annotations

import errno
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from droplan_boot.watch.nflog import ShutOut

SOURCES: Final = 256
SERVICES: Final = 8
"""Of each source, the last eight that it asked for: whoever scans all ports is told by their number."""

PAUSE_S: Final = 10.0
SCHEMA: Final = 1


class Register:
    """The sources, the last seen last.

    Args:
        path: the file it is kept in.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._sources: dict[str, dict[str, Any]] = {}
        self._total = 0
        self._dirty = False
        self._written = float("-inf")

    def note(self, packet: ShutOut, interface: str, now: float) -> None:
        """Take note of a packet.

        Args:
            packet: what was shut out.
            interface: the name of the interface it came in by; "" when not known.
            now: seconds since the epoch.
        """
        at = round(now, 1)
        one = self._sources.pop(packet.source, None)
        if one is None:
            one = {"source": packet.source, "packets": 0, "first": at, "services": {}}
        self._sources[packet.source] = one
        one.update(last=at, interface=interface, public=packet.public, observed=packet.observed)
        one["packets"] += 1
        name = f"{packet.protocol}/{packet.port}" if packet.port else packet.protocol
        services = one["services"]
        service = services.pop(name, None) or {"packets": 0, "first": at}
        services[name] = service
        service["packets"] += 1
        service["last"] = at
        if len(services) > SERVICES:
            del services[next(iter(services))]
        if len(self._sources) > SOURCES:
            del self._sources[next(iter(self._sources))]
        self._total += 1
        self._dirty = True

    def next(self) -> float | None:
        """Tell when to write, in monotonic seconds; None when nothing is new."""
        return self._written + PAUSE_S if self._dirty else None

    def write(self, now: float) -> None:
        """Write it, whole and in one step.

        Args:
            now: monotonic seconds.

        Raises:
            OSError: it cannot be written; the next try is ten seconds away.
        """
        self._written = now
        replace(self._path, self.text().encode())
        self._dirty = False

    def text(self) -> str:
        """Spell it as JSON, the last seen first."""
        listed = [
            {**one, "services": [{"service": name, **rest} for name, rest in reversed(one["services"].items())]}
            for one in reversed(self._sources.values())
        ]
        return json.dumps({"schema": SCHEMA, "sampled": True, "total": self._total, "sources": listed}) + "\n"

    def load(self) -> None:
        """Take up what was kept before; what makes no sense is left out."""
        try:
            with open(self._path, "rb") as file:
                kept = json.loads(file.read(1 << 20))
            self._total = max(int(kept["total"]), 0)
            for one in reversed(kept["sources"][:SOURCES]):
                services = {
                    str(each["service"])[:20]: {
                        "packets": int(each["packets"]),
                        "first": float(each["first"]),
                        "last": float(each["last"]),
                    }
                    for each in reversed(one["services"][:SERVICES])
                }
                self._sources[str(one["source"])[:45]] = {
                    "source": str(one["source"])[:45],
                    "packets": int(one["packets"]),
                    "first": float(one["first"]),
                    "last": float(one["last"]),
                    "interface": str(one["interface"])[:15],
                    "public": bool(one["public"]),
                    "observed": bool(one["observed"]),
                    "services": services,
                }
        except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return


def replace(path: str, data: bytes) -> None:
    """Write a file (0644, in a directory that only root writes) in one step that survives a power loss.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    unfinished = f"{path}.watch-new"
    try:
        os.unlink(unfinished)
    except FileNotFoundError:
        pass
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except OSError:
        os.unlink(unfinished)
        raise
    finally:
        os.close(descriptor)
    os.rename(unfinished, path)
