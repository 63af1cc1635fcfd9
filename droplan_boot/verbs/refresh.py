"""The verb that cron runs: learn who the peers are and make the firewall say so."""

from __future__ import annotations

import time

from droplan_boot import paths, settings
from droplan_boot.access import lockout
from droplan_boot.access.policy import Guard, Policy
from droplan_boot.errors import DroplanError
from droplan_boot.firewall import choose
from droplan_boot.flow import learn
from droplan_boot.flow.learn import Learned
from droplan_boot.host import deadline, lock
from droplan_boot.host.doors import Host, require_root
from droplan_boot.host.http import Http
from droplan_boot.host.sessions import ssh_sessions
from droplan_boot.settings import Settings
from droplan_boot.setup import persistence
from droplan_boot.state import report, snapshot
from droplan_boot.state.report import Report
from droplan_boot.state.snapshot import Snapshot

LOCK_S = 10.0
"""How long a second droplan waits for the first."""

LONGEST_S = 55.0
"""Whatever delays a refresh meets, it is over before a minute is."""


def run(host: Host) -> None:
    """Refresh, once; of two at once, one waits. The schedule also ends what an install began.

    Raises:
        DroplanError: the rules are as they were.
    """
    require_root()
    if host.scheduled and host.files.exists(paths.UNFINISHED):
        from droplan_boot.verbs import install  # which is built on this module

        install.run(host)
        return
    wanted = settings.load(host.environ, host.files)
    shown = host.files.restrict(paths.SETTINGS, 0o600)
    if shown:
        host.log.say(f"{paths.SETTINGS} had {shown}: only root may read it again; make a new token if others read it")
    host.files.directory(paths.STATE)
    late = DroplanError(
        f"the refresh had not ended after {LONGEST_S:.0f} s and was stopped: see whether something holds "
        "the machine up (`fuser -v /run/xtables.lock` names who holds the firewall), then run droplan again"
    )
    with deadline.within(LONGEST_S, late), lock.held(host.files.real(paths.LOCK), wait=LOCK_S):
        now(host, wanted)


def now(host: Host, wanted: Settings, known: Learned | None = None) -> None:
    """Refresh, with the lock held, and write the report whatever comes of it.

    Args:
        host: this machine.
        wanted: the settings.
        known: what was learned a moment ago; None to learn it now.

    Raises:
        DroplanError: the rules are as they were.
    """
    started = time.monotonic()
    try:
        learned = known or ask(host, wanted)
        changed, backend = _keep(host, wanted, learned)
    except DroplanError as error:
        failed(host, error, time.monotonic() - started)
        raise
    total = sum(len(guard.peers) for guard in learned.policy.guards[:1])
    _store(host, Report(time.time(), "ok", time.monotonic() - started, total, changed, backend))


def ask(host: Host, wanted: Settings) -> Learned:
    """Learn who the peers are, and see that a person's own SSH session goes on with them.

    Raises:
        NoAnswerError: there was no complete answer.
        RefusedError: the session would be cut.
    """
    http = Http()
    here = learn.where(http, wanted, host.runner)
    learned = Learned(here, learn.who(http, wanted, here))
    spare_session(host, learned)
    return learned


def spare_session(host: Host, learned: Learned) -> None:
    """Refuse to cut the SSH session of the person who started this, unless they said so.

    Raises:
        RefusedError: it would be cut.
    """
    if not host.scheduled and not host.force:
        lockout.check(learned.policy, learned.here, ssh_sessions(host.environ))


def failed(host: Host, error: DroplanError, duration: float = 0.0) -> None:
    """Write into the report that a refresh failed, and why."""
    _store(host, Report(time.time(), "failed", duration, error=str(error)))


def close(host: Host, wanted: Settings, here: learn.Here) -> None:
    """Close the interface to everyone but DROPLAN_ALLOW, until somebody knows who the peers are.

    Raises:
        DroplanError: the rules are as they were; or closed, if the disk is at fault, but perhaps not after a reboot.
    """
    host.log.say("Closing: nobody but DROPLAN_ALLOW may come in until the peers are known")
    policy = learn.nobody(wanted, here)
    enforce(host, wanted, policy)
    # For a reboot before the first answer. Written last: it must not be a full disk that keeps the interface open.
    snapshot.store(host.files, Snapshot(snapshot.NOBODY, time.time(), policy))


def enforce(host: Host, wanted: Settings, policy: Policy, former: Policy | None = None) -> tuple[bool, str]:
    """Write a policy's rules, say what changed, and have the rules outlive a reboot.

    Args:
        host: this machine.
        wanted: the settings.
        policy: what to enforce.
        former: what was enforced before, if known.

    Returns:
        Whether any rules were written, and the backend's name.

    Raises:
        DroplanError: the rules are as they were.
    """
    ipv6 = choose.has_ipv6()
    backend = choose.choose(wanted.backend, host.runner, ipv6=ipv6).backend
    changed = backend.apply(policy)
    last = report.load(host.files)
    for stray in choose.strays(backend, last.backend if last else None, host.runner, ipv6=ipv6):
        if stray.remove(former):
            host.log.say(f"Removed our rules from {stray.name}, where they stood before {backend.name} was in use")
    for guard in policy.guards:
        for line in _changes(guard, former, changed):
            host.log.say(line)
    for line in persistence.save(host, backend, policy):
        host.log.say(line)
    return changed, backend.name


def _keep(host: Host, wanted: Settings, learned: Learned) -> tuple[bool, str]:
    before = snapshot.load(host.files)
    # Written first: a reboot in between then restores the newer answer, which is as complete as the older one.
    snapshot.store(host.files, Snapshot(learned.here.machine.droplet_id, time.time(), learned.policy))
    return enforce(host, wanted, learned.policy, before.policy if before else None)


def _changes(guard: Guard, before: Policy | None, changed: bool) -> list[str]:
    known = {peer for one in (before.guards if before else ()) if one.chain == guard.chain for peer in one.peers}
    added, removed = len(set(guard.peers) - known), len(known - set(guard.peers))
    lines = []
    if added:
        lines.append(f"Added {_peers(added)} to {guard.chain}")
    if removed:
        lines.append(f"Removed {_peers(removed)} from {guard.chain}")
    if not lines:
        state = "unchanged" if not changed else "rules repaired"
        lines.append(f"{_peers(len(guard.peers))} in {guard.chain}, {state}")
    return lines


def _peers(number: int) -> str:
    return f"{number} peer{'' if number == 1 else 's'}"


def _store(host: Host, wanted: Report) -> None:
    try:
        report.store(host.files, wanted)
    except DroplanError as error:
        host.log.complain(str(error))
