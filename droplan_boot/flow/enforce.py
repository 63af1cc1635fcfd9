"""Enforce what was learned: write the rules, have them outlive a reboot, and say what changed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from droplan_boot import paths, settings
from droplan_boot.access import change
from droplan_boot.access.change import Change
from droplan_boot.access.here import Here
from droplan_boot.access.policy import Policy
from droplan_boot.errors import DroplanError
from droplan_boot.firewall import choose
from droplan_boot.firewall.backend import drift
from droplan_boot.flow import learn
from droplan_boot.flow.learn import Learned
from droplan_boot.host.doors import Host
from droplan_boot.networks import Address
from droplan_boot.settings import Settings
from droplan_boot.setup import bootstrap, nft_include, persistence
from droplan_boot.sources.listing import Droplet
from droplan_boot.state import backends, blocked, budget, metrics, report, snapshot
from droplan_boot.state.report import LastChange, Report
from droplan_boot.state.snapshot import Snapshot

_OBSERVING: Final = "Observing (DROPLAN_MODE=observe): nobody is shut out, and `droplan blocked` names who would be"


class Enforced(NamedTuple):
    """What became of a policy.

    Args:
        changed: whether any rules were written.
        backend: how the door was written; ``nftables`` where the guard stands alone.
        guard: where the guard is.
        changes: who came and who went, a change for each network.
    """

    changed: bool
    backend: str
    guard: str
    changes: tuple[Change, ...] = ()


def learned(host: Host, wanted: Settings, answer: Learned) -> Enforced:
    """Enforce an answer, and keep it for the next boot.

    Raises:
        DroplanError: the rules are as they were.
    """
    former = snapshot.enforced(host.files)
    # Whose addresses come and go is told by name; where none does, ten thousand Droplets need not be read.
    same = former is not None and _addresses(former) == _addresses(answer.policy)
    before = None if same else snapshot.load(host.files)
    if not answer.listed:
        host.log.say("This Droplet is not in the fleet's list yet: it lets its peers in; they let it in once it is")
    # Written first: a reboot in between then restores the newer answer, which is as complete as the older one.
    snapshot.store(
        host.files,
        Snapshot(
            answer.here.metadata.droplet_id,
            host.clock.time(),
            answer.policy,
            answer.peers,
            settings.fingerprint(host.files),
            wanted.backend,
        ),
    )
    done = policy(host, wanted.backend, answer.policy, former, (before.peers if before else (), answer.peers))
    bootstrap.open_again(host)
    return done


def closed(host: Host, wanted: Settings, here: Here) -> None:
    """Close the interface to everyone but DROPLAN_ALLOW, until somebody knows who the peers are.

    Raises:
        DroplanError: the rules are as they were; or closed, if the disk is at fault, but perhaps not after a reboot.
    """
    host.log.say("Closing: nobody but DROPLAN_ALLOW may come in until the peers are known")
    nobody = learn.nobody(wanted, here)
    policy(host, wanted.backend, nobody)
    # For a reboot before the first answer. Written last: it must not be a full disk that keeps the interface open.
    snapshot.store(host.files, Snapshot(snapshot.NOBODY, host.clock.time(), nobody, backend=wanted.backend))


def policy(
    host: Host,
    wanted: str,
    asked: Policy,
    former: Policy | None = None,
    known: tuple[Iterable[Droplet], Iterable[Droplet]] = ((), ()),
) -> Enforced:
    """Write a policy's rules, say what changed, and have the rules outlive a reboot.

    Args:
        host: this machine.
        wanted: the setting DROPLAN_BACKEND.
        asked: what to enforce.
        former: what was enforced until now, if known.
        known: the Droplets that could come in until now, and those that may from now on, for their names.

    Raises:
        DroplanError: the rules are as they were.
    """
    how = choose.choose(wanted, host).backend
    used = backends.load(host.files)
    last = report.load(host.files)
    _remember(host, (*used, *how.names))
    changed = how.apply(asked)
    # What stood elsewhere goes when all of the new stands: until then both shut strangers out.
    for stray in choose.strays(how, used, host):
        if stray.remove(former):
            host.log.say(f"Removed our rules from {stray.name}, where they stood before {how.name} was in use")
    _remember(host, how.names)
    if asked.observe != (former.observe if former else False):
        host.log.say(_OBSERVING if asked.observe else "Enforcing: whoever may not come in is shut out")
    # Where nobody knows what was enforced, and nothing had to be written, it was this.
    changes = change.between(former if former or changed else asked, asked, *known)
    for one in changes:
        for line in _told(host, one, changed, last):
            host.log.say(line)
    for line in persistence.save(host, how.door, asked):
        host.log.say(line)
    nft_include.save(host, how.guard, asked)
    return Enforced(changed, how.name, how.guarded_by, changes)


def differences(host: Host, wanted: Settings, asked: Policy) -> tuple[str, ...]:
    """Say what :func:`policy` would change in the firewall, a line each, and change nothing.

    Where there is no firewall command yet, nothing can be said.
    """
    try:
        return drift(choose.choose(wanted.backend, host).backend, asked)
    except DroplanError:
        return ()


def _remember(host: Host, names: Iterable[str]) -> None:
    """Remember who may hold rules of ours. A full disk is no reason to write no rules."""
    try:
        backends.store(host.files, names)
    except DroplanError as error:
        host.log.complain(str(error))


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
            repaired=done.changed and not somebody and last is not None,
            by_network=_by_network(answer.policy),
            change=_last_change(now, done.changes) if somebody else last.change if last else None,
            api_limit=answer.allowance[1] if answer.allowance else None,
            api_remaining=answer.allowance[0] if answer.allowance else None,
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


def _addresses(policy: Policy) -> list[tuple[Address, ...]]:
    return [segment.peers for segment in policy.segments]


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
        noted = blocked.load(host.files).total if host.files.exists(paths.BLOCKED) else None
        metrics.store(host.files, wanted, shut_out=noted)
    except DroplanError as error:
        host.log.complain(str(error))
