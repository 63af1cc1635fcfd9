"""Enforce what was learned: write the rules, have them outlive a reboot, and say what changed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from droplan_boot import paths, settings
from droplan_boot.access import change
from droplan_boot.access.change import Change
from droplan_boot.access.here import Here
from droplan_boot.access.policy import Policy
from droplan_boot.errors import DroplanError
from droplan_boot.flow import learn, verified
from droplan_boot.flow.learn import Learned
from droplan_boot.host import lock
from droplan_boot.host.doors import Host
from droplan_boot.networks import Address
from droplan_boot.settings import Settings
from droplan_boot.setup import bootstrap
from droplan_boot.sources.listing import Droplet
from droplan_boot.state import report, snapshot
from droplan_boot.state.report import Report
from droplan_boot.state.snapshot import Snapshot

if TYPE_CHECKING:
    from droplan_boot.firewall.enforcement import Enforcement

WRITING_S: Final = 10.0
"""How long a run waits for another that writes rules."""

_OBSERVING: Final = "Observing (DROPLAN_MODE=observe): nobody is shut out, and `droplan blocked` names who would be"


class Enforced(NamedTuple):
    """What became of a policy.

    Args:
        changed: whether any rules were written.
        backend: how the door was written; ``nftables`` where the guard stands alone.
        guard: where the guard is.
        changes: who came and who went, a change for each network.
        policy: fingerprint of the policy; "" when not told.
        repaired: whether they were written although nothing else was asked for: somebody had altered them.
    """

    changed: bool
    backend: str
    guard: str
    changes: tuple[Change, ...] = ()
    policy: str = ""
    repaired: bool = False


def learned(host: Host, wanted: Settings, answer: Learned, former: Policy | None) -> Enforced:
    """Enforce an answer, and keep it for the next boot.

    Args:
        host: this machine.
        wanted: the settings.
        answer: what was learned.
        former: what was enforced until now, if known.

    Raises:
        DroplanError: the rules are as they were.
    """
    # Whose addresses come and go is told by name; where none does, ten thousand Droplets need not be read.
    same = former is not None and _addresses(former) == _addresses(answer.policy)
    before = None if same else snapshot.load(host.files)
    if not answer.listed:
        host.log.say("This Droplet is not in the fleet's list yet: it lets its peers in; they let it in once it is")
    known = (before.peers if before else (), answer.peers)
    with lock.held(host.files.real(paths.WRITING), wait=WRITING_S):
        # Written first: a reboot in between then restores the newer answer, which is as complete as the older one.
        if answer.again:
            fingerprint = answer.again.policy
            snapshot.renew(host.files, host.clock.time())
        else:
            fingerprint = snapshot.store(
                host.files,
                Snapshot(
                    answer.here.metadata.droplet_id,
                    host.clock.time(),
                    answer.policy,
                    answer.peers,
                    settings.fingerprint(host.files),
                    wanted.backend,
                    _besides(answer),
                ),
            )
        done = policy(host, wanted.backend, answer.policy, former, known, fingerprint)
    bootstrap.open_again(host)
    return done._replace(policy=fingerprint)


def closed(host: Host, wanted: Settings, here: Here) -> None:
    """Close the interface to everyone but DROPLAN_ALLOW, until somebody knows who the peers are.

    Raises:
        DroplanError: the rules are as they were; or closed, if the disk is at fault, but perhaps not after a reboot.
    """
    host.log.say("Closing: nobody but DROPLAN_ALLOW may come in until the peers are known")
    nobody = learn.nobody(wanted, here)
    with lock.held(host.files.real(paths.WRITING), wait=WRITING_S):
        policy(host, wanted.backend, nobody)
        # For a reboot before the first answer. Written last: no full disk is to keep the interface open.
        snapshot.store(host.files, Snapshot(snapshot.NOBODY, host.clock.time(), nobody, backend=wanted.backend))


def policy(
    host: Host,
    wanted: str,
    asked: Policy,
    former: Policy | None = None,
    known: tuple[Iterable[Droplet], Iterable[Droplet]] = ((), ()),
    fingerprint: str = "",
) -> Enforced:
    """Write a policy's rules, say what changed, and have the rules outlive a reboot.

    Args:
        host: this machine.
        wanted: the setting DROPLAN_BACKEND.
        asked: what to enforce.
        former: what was enforced until now, if known.
        known: the Droplets that could come in until now, and those that may from now on, for their names.
        fingerprint: of the policy, as :func:`snapshot.store` tells it; "" to read the rules whatever is known.

    Raises:
        DroplanError: the rules are as they were.
    """
    last = report.load(host.files)
    claim = verified.claim(host, wanted, fingerprint) if fingerprint else None
    stands = verified.stands(host, claim) if claim else None
    if stands:
        how, done = None, Enforced(False, stands.backend, stands.guard)
    else:
        from droplan_boot.firewall import choose  # most refreshes find all as it was, and start lean

        how = choose.choose(wanted, host).backend
        changed, writes = _write(host, how, asked, former)
        done = Enforced(changed, how.name, how.guarded_by)
    if asked.observe != (former.observe if former else False):
        host.log.say(_OBSERVING if asked.observe else "Enforcing: whoever may not come in is shut out")
    # Where nobody knows what was enforced, and nothing had to be written, it was this.
    changes = change.between(former if former or done.changed else asked, asked, *known)
    repaired = done.changed and former == asked
    for one in changes:
        _tell(host, one, "repaired" if repaired else "written" if done.changed else "", last)
    if how:
        _outlive_a_reboot(host, how, asked)
        if claim:
            verified.store(host, claim, how, writes)
    return done._replace(changes=changes, repaired=repaired)


def _write(host: Host, how: Enforcement, asked: Policy, former: Policy | None) -> tuple[bool, int]:
    """Write the rules, and take out those that stand elsewhere.

    Returns:
        Whether the rules had to be written, and how many transactions all of it took.
    """
    from droplan_boot.firewall import choose
    from droplan_boot.state import backends

    used = backends.load(host.files)
    _remember(host, (*used, *how.names))
    changed = how.apply(asked)
    # What stood elsewhere goes when all of the new stands: until then both shut strangers out.
    strays = choose.strays(how, used, host)
    for stray in strays:
        if stray.remove(former):
            host.log.say(f"Removed our rules from {stray.name}, where they stood before {how.name} was in use")
    _remember(host, how.names)
    return changed, how.writes + sum(stray.writes for stray in strays)


def _outlive_a_reboot(host: Host, how: Enforcement, asked: Policy) -> None:
    from droplan_boot.setup import nft_include, persistence

    for line in persistence.save(host, how.door, asked):
        host.log.say(line)
    nft_include.save(host, how.guard, asked)


def differences(host: Host, wanted: Settings, asked: Policy) -> tuple[str, ...]:
    """Say what :func:`policy` would change in the firewall, a line each, and change nothing.

    Where there is no firewall command yet, nothing can be said.
    """
    from droplan_boot.firewall import choose
    from droplan_boot.firewall.backend import drift

    try:
        return drift(choose.choose(wanted.backend, host).backend, asked)
    except DroplanError:
        return ()


def _remember(host: Host, names: Iterable[str]) -> None:
    """Remember who may hold rules of ours. A full disk is no reason to write no rules."""
    from droplan_boot.state import backends

    try:
        backends.store(host.files, names)
    except DroplanError as error:
        host.log.complain(str(error))


def _tell(host: Host, one: Change, changed: str, last: Report | None) -> None:
    """Tell who came and who went on a network; else how things are, which a log keeps once a day.

    Args:
        host: this machine.
        one: who came and who went.
        changed: what was done to the rules, in a word; "" for nothing.
        last: the last run's report.
    """
    lines = change.lines(one)
    for line in lines:
        host.log.say(line)
    if not lines:
        known = not changed and last is not None and _day(last.time) == _day(host.clock.time())
        tell = host.log.show if known else host.log.say
        tell(f"{change.peers(one.kept)} in {one.chain}, {f'rules {changed}' if changed else 'unchanged'}")


def _besides(answer: Learned) -> tuple[Droplet, ...]:
    """List the Droplets that DROPLAN_ALLOW lets in by name and that are no peers."""
    peers = {one.id for one in answer.peers} if answer.named else set()
    return tuple(one for one in answer.named if one.id not in peers)


def _addresses(policy: Policy) -> list[tuple[Address, ...]]:
    return [segment.peers for segment in policy.segments]


def _day(seconds: float) -> tuple[int, int]:
    then = time.localtime(seconds)
    return then.tm_year, then.tm_yday
