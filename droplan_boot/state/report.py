"""``/var/lib/droplan/status.json``: how the last refresh went, for ``droplan status`` and for monitoring."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from droplan_boot import paths
from droplan_boot.host.files import Files


@dataclass(frozen=True)
class LastChange:
    """Who came and who went when somebody last did.

    Args:
        time: when, seconds since the epoch.
        added: names and addresses of those who came; at most as many as fit a line.
        removed: of those who went, likewise.
        more: how many besides those.
    """

    time: float
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    more: int = 0


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
        succeeded: when a refresh last succeeded, seconds since the epoch; None when none did.
        interval: minutes between two refreshes as they come; None when not known.
        mode: ``enforce`` or ``observe``.
        repaired: whether the rules had drifted, and were written again.
        by_network: how many addresses of peers may come in, by ``private`` or ``public`` and IP version, such as
            ``private 4``.
        change: who came and went last.
        api_limit: requests an hour that DigitalOcean grants the token; None when not told.
        api_remaining: how many of them are left.
        guard: where the guard is, ``nftables`` or ``mangle``; None when it failed before it knew.
        warnings: what is no error and yet a person should know, a sentence each.
        droplets: how many Droplets the API listed; None where a fleet's store was read.
        set_interval: the setting DROPLAN_INTERVAL; ``interval`` is longer where the API's limits call for it.
        not_before: where it is, when the schedule's next refresh is due, seconds since the epoch; else None.
    """

    time: float
    result: str
    duration: float
    peers: int | None = None
    changed: bool = False
    backend: str | None = None
    error: str | None = None
    succeeded: float | None = None
    interval: int | None = None
    mode: str = "enforce"
    repaired: bool = False
    by_network: Mapping[str, int] = field(default_factory=dict)
    change: LastChange | None = None
    api_limit: int | None = None
    api_remaining: int | None = None
    guard: str | None = None
    warnings: tuple[str, ...] = ()
    droplets: int | None = None
    set_interval: int | None = None
    not_before: float | None = None

    @property
    def stretched(self) -> bool:
        """Whether refreshes come less often than is set, because of the API's limits."""
        return self.interval is not None and self.set_interval is not None and self.interval > self.set_interval


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
            peers=_maybe(int, value["peers"]),
            changed=bool(value["changed"]),
            backend=_maybe(str, value["backend"]),
            error=_maybe(str, value["error"]),
            # droplan 1.0.0 wrote none of these.
            succeeded=_maybe(float, value.get("succeeded", value["epoch"] if value["result"] == "ok" else None)),
            interval=_maybe(int, value.get("interval")),
            mode=str(value.get("mode", "enforce")),
            repaired=bool(value.get("repaired", False)),
            by_network={str(name): int(count) for name, count in value.get("by_network", {}).items()},
            change=_maybe(_change, value.get("change")),
            api_limit=_maybe(int, value.get("api_limit")),
            api_remaining=_maybe(int, value.get("api_remaining")),
            guard=_maybe(str, value.get("guard")),
            warnings=tuple(str(one) for one in value.get("warnings", ())),
            droplets=_maybe(int, value.get("droplets")),
            set_interval=_maybe(int, value.get("set_interval")),
            not_before=_maybe(float, value.get("not_before")),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, AttributeError):
        return None


def _maybe(convert: Any, value: Any) -> Any:
    return None if value is None else convert(value)


def _change(value: Any) -> LastChange:
    return LastChange(
        time=float(value["time"]),
        added=tuple(str(one) for one in value["added"]),
        removed=tuple(str(one) for one in value["removed"]),
        more=int(value["more"]),
    )
