"""Write the report: how a refresh went, how often the next ones come, and what monitoring reads of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from droplan_boot import paths, settings
from droplan_boot.access import change
from droplan_boot.access.change import Change
from droplan_boot.access.policy import Policy
from droplan_boot.errors import DroplanError
from droplan_boot.flow.enforce import Enforced
from droplan_boot.flow.learn import Learned
from droplan_boot.host.doors import Host
from droplan_boot.settings import Settings
from droplan_boot.state import budget, metrics, report
from droplan_boot.state.report import LastChange, Report


def succeeded(host: Host, wanted: Settings, started: float, answer: Learned, done: Enforced) -> None:
    """Write into the report that a refresh succeeded.

    Args:
        host: this machine.
        wanted: the settings.
        started: when it began, by the clock's ``monotonic``.
        answer: what was learned.
        done: what became of it.
    """
    now = host.clock.time()
    last = report.load(host.files)
    for warning in answer.warnings:
        if not host.scheduled or last is None or warning not in last.warnings:  # not every five minutes
            host.log.say(f"Note: {warning}")
    pace = _pace(wanted, answer)
    for line in _paced(wanted, answer, pace, last):
        host.log.say(line)
    somebody = any(one.added or one.removed for one in done.changes)
    _store(
        host,
        Report(
            time=now,
            result="ok",
            duration=host.clock.monotonic() - started,
            peers=len(answer.policy.segments[0].peers),
            changed=done.changed,
            backend=done.backend,
            guard=done.guard,
            warnings=answer.warnings,
            succeeded=now,
            interval=pace,
            set_interval=wanted.interval,
            not_before=budget.not_before(now, pace, wanted.interval, answer.here.metadata.droplet_id)
            if pace > wanted.interval
            else None,
            droplets=answer.droplets,
            mode=wanted.mode,
            repaired=done.repaired,
            by_network=_by_network(answer.policy),
            change=_last_change(now, done.changes) if somebody else last.change if last else None,
            api_limit=answer.allowance[1] if answer.allowance else None,
            api_remaining=answer.allowance[0] if answer.allowance else None,
        ),
    )


def failed(host: Host, error: DroplanError, duration: float = 0.0) -> None:
    """Write into the report that a refresh failed, and why; what holds on is carried over from the one before."""
    last = report.load(host.files)
    now = host.clock.time()
    if last is None:
        _store(host, Report(now, "failed", duration, error=str(error)))
        return
    _store(
        host,
        replace(
            last,
            time=now,
            result="failed",
            duration=duration,
            peers=None,
            changed=False,
            error=str(error),
            repaired=False,
        ),
    )


def _limit(answer: Learned) -> int:
    return answer.allowance[1] if answer.allowance else budget.HOURLY


def _pace(wanted: Settings, answer: Learned) -> int:
    """Decide the minutes between two refreshes: as set, unless the API's limits call for more."""
    if answer.droplets is None:
        return wanted.interval
    return budget.interval(answer.droplets, wanted.interval, _limit(answer), peered=wanted.scope == "vpc")


def _paced(wanted: Settings, answer: Learned, pace: int, last: Report | None) -> Iterator[str]:
    """Say that the interval is stretched, or no longer; nothing where it is as it was."""
    if pace > wanted.interval and answer.droplets is not None:
        if last and last.interval == pace:
            return
        each = budget.requests(answer.droplets, peered=wanted.scope == "vpc")
        hourly = answer.droplets * each * 60 // wanted.interval
        fits = f" or DROPLAN_INTERVAL={pace}" if pace <= settings.LONGEST_INTERVAL else ""
        yield (
            f"Refreshing every {pace} min instead of every {wanted.interval}: {answer.droplets} Droplets that list "
            f"each other would take {hourly} requests an hour, and the token has {_limit(answer)} (and "
            f"{budget.BY_THE_MINUTE} a minute), a fifth of which is kept free. What would fit: DROPLAN_SHARED, "
            f"another token for a part of them{fits}"
        )
    elif last and last.stretched:
        yield f"Refreshing every {pace} min again, as DROPLAN_INTERVAL says"


def _last_change(now: float, changes: Iterable[Change]) -> LastChange:
    added = [name for one in changes for name in one.added]
    removed = [name for one in changes for name in one.removed]
    more = max(len(added) - change.NAMED, 0) + max(len(removed) - change.NAMED, 0)
    return LastChange(now, tuple(added[: change.NAMED]), tuple(removed[: change.NAMED]), more)


def _by_network(policy: Policy) -> dict[str, int]:
    return {
        f"{'public' if segment.public else 'private'} {version}": sum(
            address.version == version for address in segment.peers
        )
        for segment in policy.segments
        for version in ((4, 6) if segment.public else (4,))
    }


def _store(host: Host, wanted: Report) -> None:
    try:
        report.store(host.files, wanted)
        metrics.store(host.files, wanted, shut_out=_noted(host))
    except DroplanError as error:
        host.log.complain(str(error))


def _noted(host: Host) -> int | None:
    """Count the strangers' packets that the watcher noted; None where it has noted none."""
    if not host.files.exists(paths.BLOCKED):
        return None
    from droplan_boot.state import blocked

    return blocked.load(host.files).total
