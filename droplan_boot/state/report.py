"""``/var/lib/droplan/status.json``: how the last refresh went, for ``droplan status`` and for monitoring."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

from droplan_boot import paths
from droplan_boot.host.files import Files


@dataclass(frozen=True)
class Report:
    """How a refresh went.

    Args:
        time: when it ended, seconds since the epoch.
        result: ``ok`` or ``failed``.
        duration: seconds it took.
        peers: how many peers it found; None when it failed before it knew.
        changed: whether rules were written.
        backend: how they were written; None when it failed before it knew.
        error: the sentence that said why it failed; None when it did not.
        guard: where the guard is, ``nftables`` or ``mangle``; None when it failed before it knew.
        warnings: what is no error and yet a person should know, a sentence each.
    """

    time: float
    result: str
    duration: float
    peers: int | None = None
    changed: bool = False
    backend: str | None = None
    error: str | None = None
    guard: str | None = None
    warnings: tuple[str, ...] = ()


def store(files: Files, report: Report) -> None:
    """Write the report (0644: monitoring may read it, and there is no secret in it).

    Raises:
        DroplanError: it cannot be written.
    """
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(report.time))
    value = {**asdict(report), "time": stamp, "duration": round(report.duration, 3), "epoch": round(report.time, 3)}
    files.write(paths.REPORT, json.dumps(value, indent=1).encode() + b"\n", 0o644)


def load(files: Files) -> Report | None:
    """Read the report; None when there is none, or none that makes sense."""
    try:
        value = json.loads(files.read(paths.REPORT) or b"")
        return Report(
            time=float(value["epoch"]),
            result=str(value["result"]),
            duration=float(value["duration"]),
            peers=None if value["peers"] is None else int(value["peers"]),
            changed=bool(value["changed"]),
            backend=None if value["backend"] is None else str(value["backend"]),
            error=None if value["error"] is None else str(value["error"]),
            guard=None if value.get("guard") is None else str(value["guard"]),
            warnings=tuple(str(one) for one in value.get("warnings", ())),  # droplan 1.0.0 knew none
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
