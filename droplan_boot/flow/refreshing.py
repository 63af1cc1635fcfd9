"""One refresh, from the question to the report: what the verb of that name, and an install at its end, do."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Final

from droplan_boot import paths
from droplan_boot.access.policy import Policy
from droplan_boot.errors import CommandError, DroplanError, RefusedError
from droplan_boot.flow import enforce, learn, repeated, reporting
from droplan_boot.flow.learn import Learned
from droplan_boot.flow.repeated import Answer
from droplan_boot.host import links
from droplan_boot.host.doors import Host
from droplan_boot.networks import Address
from droplan_boot.settings import Settings
from droplan_boot.state import budget, snapshot
from droplan_boot.state.budget import Budget

LOCK_S: Final = 10.0
"""How long a second droplan waits for the first."""


def now(host: Host, wanted: Settings, known: Learned | None = None) -> None:
    """Refresh, with the lock held, and write the report whatever comes of it.

    Args:
        host: this machine.
        wanted: the settings.
        known: what was learned a moment ago; None to learn it now.

    Raises:
        DroplanError: the rules are as they were.
    """
    started = host.clock.monotonic()
    try:
        former = snapshot.enforced(host.files)
        answer = known or ask(host, wanted, former)
        if known is None:
            warn(host, answer, former)
            spare(host, wanted, answer)
        done = enforce.learned(host, wanted, answer, former)
    except DroplanError as error:
        reporting.failed(host, error, host.clock.monotonic() - started)
        raise
    reporting.succeeded(host, wanted, started, answer, done)
    if known is not None:
        _keep_budget(host, known.allowance)
    strangers = _look_for_strangers(host, answer)
    if answer.said and answer.droplets is not None:
        said = Answer(answer.said, done.policy, answer.droplets, answer.warnings, strangers)
        repeated.store(host, wanted, answer.here, said)


def ask(host: Host, wanted: Settings, former: Policy | None = None) -> Learned:
    """Learn who the peers are.

    Args:
        host: this machine.
        wanted: the settings.
        former: as for :func:`learn.who`.

    Raises:
        NoAnswerError: there was no complete answer.
    """
    http = host.session(host.clock)
    try:
        return learn.who(host, http, wanted, learn.where(host, http, wanted), former)
    finally:
        _keep_budget(host, http.allowance)


def warn(host: Host, answer: Learned, former: Policy | None) -> None:
    """Say whom it will cut that droplan enforces from now on, where it only observed until now (``former``)."""
    if former and former.observe and not answer.policy.observe:
        from droplan_boot.flow import foretell  # the day that it happens

        for line in foretell.enforcing(host, answer):
            host.log.say(line)


def spare(host: Host, wanted: Settings, answer: Learned) -> None:
    """Refuse to do harm that a person did not ask for, unless they said so.

    Raises:
        RefusedError: their SSH session would be cut, or all that the Droplet is there for.
    """
    if host.scheduled or host.force:
        return
    for sentence in objections(host, wanted, answer):
        raise RefusedError(sentence)


def spare_sessions(host: Host, answer: Learned) -> None:
    """Refuse to cut the SSH session of the person who started this, unless they said so.

    Raises:
        RefusedError: it would be cut.
    """
    if host.scheduled or host.force:
        return
    for sentence in _sessions(host, answer):
        raise RefusedError(sentence)


def objections(host: Host, wanted: Settings, answer: Learned) -> Iterator[str]:
    """Say what a person would be refused, a sentence each; user data is refused only what cuts a live session."""
    if answer.policy.observe:
        return
    yield from _sessions(host, answer)
    if host.unattended:
        return
    from droplan_boot.access import change, lockout  # the schedule is held up by nothing, and starts lean

    before = snapshot.load(host.files)
    former = before.policy if before and before.answered else None
    yield from lockout.nobody(answer.policy, former if former and not former.observe else None, wanted.tags)
    if before and former and before.droplet_id == answer.here.metadata.droplet_id:
        yield from lockout.losses(change.between(former, answer.policy, before.peers, answer.peers))


def _look_for_strangers(host: Host, answer: Learned) -> tuple[str, ...]:
    """Note which Droplets are among those who were shut out; return whom that was asked of."""
    if answer.again:
        return answer.again.strangers
    if not host.files.exists(paths.BLOCKED):
        return ()
    from droplan_boot.state import blocked  # where no watcher has noted anybody, a refresh starts lean

    asked = tuple(each.source for each in blocked.load(host.files).sources)
    _note(host, lambda: blocked.identify(host.files, answer.others))
    return asked


def _keep_budget(host: Host, allowance: tuple[int, int, int] | None) -> None:
    if allowance is not None:
        left = Budget(*allowance, at=host.clock.time())
        _note(host, lambda: budget.store(host.files, left))


def _note(host: Host, write: Callable[[], None]) -> None:
    """Write what is only of use to the watcher and to those who read it; a full disk keeps no peer out for that."""
    try:
        write()
    except DroplanError as error:
        host.log.complain(str(error))


def _sessions(host: Host, answer: Learned) -> Iterator[str]:
    from droplan_boot.access import lockout
    from droplan_boot.host.sessions import ssh_sessions

    found = ssh_sessions(host.environ, host.files.real(Path("/proc")))
    yield from lockout.sessions(answer.policy, answer.here, found, _homes(host) if found else {})


def _homes(host: Host) -> dict[Address, str]:
    """Find which interface has which of our addresses; nothing where ip(8) does not tell."""
    try:
        held = links.addresses(host.runner)
    except CommandError:
        return {}
    return {ipaddress.ip_address(text): name for name, texts in held.items() for text in texts}
