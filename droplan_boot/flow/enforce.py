"""Enforce what was learned: write the rules, have them outlive a reboot, and say what changed."""

from __future__ import annotations

from collections.abc import Iterable

from droplan_boot.access.here import Here
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.errors import DroplanError
from droplan_boot.firewall import choose
from droplan_boot.firewall.backend import drift
from droplan_boot.firewall.enforcement import Enforcement
from droplan_boot.flow import learn
from droplan_boot.flow.learn import Learned
from droplan_boot.host.doors import Host
from droplan_boot.settings import Settings
from droplan_boot.setup import nft_include, persistence
from droplan_boot.state import backends, report, snapshot
from droplan_boot.state.report import Report
from droplan_boot.state.snapshot import Snapshot


def learned(host: Host, wanted: Settings, answer: Learned) -> tuple[bool, Enforcement]:
    """Enforce an answer, and keep it for the next boot.

    Returns:
        Whether any rules were written, and how.

    Raises:
        DroplanError: the rules are as they were.
    """
    before = snapshot.enforced(host.files)
    # Written first: a reboot in between then restores the newer answer, which is as complete as the older one.
    snapshot.store(
        host.files,
        Snapshot(answer.here.metadata.droplet_id, host.clock.time(), answer.policy, answer.peers, wanted.backend),
    )
    return policy(host, wanted.backend, answer.policy, before)


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


def policy(host: Host, wanted: str, asked: Policy, former: Policy | None = None) -> tuple[bool, Enforcement]:
    """Write a policy's rules, say what changed, and have the rules outlive a reboot.

    Args:
        host: this machine.
        wanted: the setting DROPLAN_BACKEND.
        asked: what to enforce.
        former: what was enforced before, if known.

    Returns:
        Whether any rules were written, and how.

    Raises:
        DroplanError: the rules are as they were.
    """
    enforcement = choose.choose(wanted, host).backend
    used = backends.load(host.files)
    _remember(host, (*used, *enforcement.names))
    changed = enforcement.apply(asked)
    # What stood elsewhere goes when all of the new stands: until then both shut strangers out.
    for stray in choose.strays(enforcement, used, host):
        if stray.remove(former):
            host.log.say(
                f"Removed our rules from {stray.name}, where they stood before {enforcement.name} was in use"
            )
    _remember(host, enforcement.names)
    for segment in asked.segments:
        for line in _changes(segment, former, changed):
            host.log.say(line)
    for line in persistence.save(host, enforcement.door, asked):
        host.log.say(line)
    nft_include.save(host, enforcement.guard, asked)
    return changed, enforcement


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


def succeeded(host: Host, started: float, answer: Learned, changed: bool, how: Enforcement) -> None:
    """Write into the report that a refresh succeeded.

    Args:
        host: this machine.
        started: when it began, by the clock's ``monotonic``.
        answer: what was learned.
        changed: whether rules were written.
        how: by what.
    """
    private = answer.policy.segments[0]
    duration = host.clock.monotonic() - started
    last = report.load(host.files)
    for warning in answer.warnings:
        if not host.scheduled or last is None or warning not in last.warnings:  # not every five minutes
            host.log.say(f"Note: {warning}")
    _store(
        host,
        Report(
            host.clock.time(),
            "ok",
            duration,
            len(private.peers),
            changed,
            how.name,
            guard=how.guarded_by,
            warnings=answer.warnings,
        ),
    )


def failed(host: Host, error: DroplanError, duration: float = 0.0) -> None:
    """Write into the report that a refresh failed, and why."""
    _store(host, Report(host.clock.time(), "failed", duration, error=str(error)))


def _changes(segment: Segment, before: Policy | None, changed: bool) -> list[str]:
    known = {peer for one in (before.segments if before else ()) if one.chain == segment.chain for peer in one.peers}
    added, removed = len(set(segment.peers) - known), len(known - set(segment.peers))
    lines = []
    if added:
        lines.append(f"Added {_peers(added)} to {segment.chain}")
    if removed:
        lines.append(f"Removed {_peers(removed)} from {segment.chain}")
    if not lines:
        state = "unchanged" if not changed else "rules repaired"
        lines.append(f"{_peers(len(segment.peers))} in {segment.chain}, {state}")
    return lines


def _peers(number: int) -> str:
    return f"{number} peer{'' if number == 1 else 's'}"


def _store(host: Host, wanted: Report) -> None:
    try:
        report.store(host.files, wanted)
    except DroplanError as error:
        host.log.complain(str(error))
