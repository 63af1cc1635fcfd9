"""Enforce what was learned: write the rules, have them outlive a reboot, and say what changed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from droplan_boot import settings
from droplan_boot.access import change
from droplan_boot.access.change import Change
from droplan_boot.access.here import Here
from droplan_boot.access.policy import Policy
from droplan_boot.errors import DroplanError
from droplan_boot.firewall import choose
from droplan_boot.flow import learn
from droplan_boot.flow.learn import Learned
from droplan_boot.host.doors import Host
from droplan_boot.settings import Settings
from droplan_boot.setup import persistence
from droplan_boot.sources.listing import Droplet
from droplan_boot.state import metrics, report, snapshot
from droplan_boot.state.report import LastChange, Report
from droplan_boot.state.snapshot import Snapshot


@dataclass(frozen=True)
class Enforced:
    """What became of a policy.

    Args:
        changed: whether any rules were written.
        backend: how.
        changes: who came and who went, a change for each network.
    """

    changed: bool
    backend: str
    changes: tuple[Change, ...] = ()


def learned(host: Host, wanted: Settings, answer: Learned) -> Enforced:
    """Enforce an answer, and keep it for the next boot.

    Raises:
        DroplanError: the rules are as they were.
    """
    before = snapshot.load(host.files)
    # Written first: a reboot in between then restores the newer answer, which is as complete as the older one.
    snapshot.store(
        host.files,
        Snapshot(
            answer.here.metadata.droplet_id,
            host.clock.time(),
            answer.policy,
            answer.peers,
            settings.fingerprint(host.files),
        ),
    )
    return policy(host, wanted, answer.policy, before, answer.peers)


def closed(host: Host, wanted: Settings, here: Here) -> None:
    """Close the interface to everyone but DROPLAN_ALLOW, until somebody knows who the peers are.

    Raises:
        DroplanError: the rules are as they were; or closed, if the disk is at fault, but perhaps not after a reboot.
    """
    host.log.say("Closing: nobody but DROPLAN_ALLOW may come in until the peers are known")
    nobody = learn.nobody(wanted, here)
    policy(host, wanted, nobody)
    # For a reboot before the first answer. Written last: it must not be a full disk that keeps the interface open.
    snapshot.store(host.files, Snapshot(snapshot.NOBODY, host.clock.time(), nobody))


def policy(
    host: Host, wanted: Settings, asked: Policy, before: Snapshot | None = None, peers: Iterable[Droplet] = ()
) -> Enforced:
    """Write a policy's rules, say what changed, and have the rules outlive a reboot.

    Args:
        host: this machine.
        wanted: the settings.
        asked: what to enforce.
        before: what was enforced until now, if known.
        peers: the Droplets that may come in now.

    Raises:
        DroplanError: the rules are as they were.
    """
    former = before.policy if before else None
    backend = choose.choose(wanted.backend, host).backend
    changed = backend.apply(asked)
    last = report.load(host.files)
    for stray in choose.strays(backend, last.backend if last else None, host):
        if stray.remove(former):
            host.log.say(f"Removed our rules from {stray.name}, where they stood before {backend.name} was in use")
    # Where nobody knows what was enforced, and nothing had to be written, it was this.
    known = former if former or changed else asked
    changes = change.between(known, asked, before.peers if before else (), peers)
    for one in changes:
        for line in _told(host, one, changed, last):
            host.log.say(line)
    for line in persistence.save(host, backend, asked):
        host.log.say(line)
    return Enforced(changed, backend.name, changes)


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
            succeeded=now,
            interval=wanted.interval,
            repaired=done.changed and not somebody and last is not None,
            by_network=_by_network(answer.policy),
            change=_last_change(now, done.changes) if somebody else last.change if last else None,
            api_limit=answer.rate[0] if answer.rate else None,
            api_remaining=answer.rate[1] if answer.rate else None,
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


def _told(host: Host, one: Change, changed: bool, last: Report | None) -> list[str]:
    """Tell who came and who went on a network; else how things are, which the schedule says once a day."""
    lines = change.lines(one)
    if lines:
        return lines
    if not changed and host.scheduled and last and _day(last.time) == _day(host.clock.time()):
        return []
    return [f"{change.peers(one.kept)} in {one.chain}, {'rules repaired' if changed else 'unchanged'}"]


def _day(seconds: float) -> tuple[int, int]:
    then = time.localtime(seconds)
    return then.tm_year, then.tm_yday


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
        metrics.store(host.files, wanted)
    except DroplanError as error:
        host.log.complain(str(error))
