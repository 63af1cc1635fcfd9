"""The verb that cron runs: learn who the peers are and make the firewall say so."""

from __future__ import annotations

from typing import Final

from droplan_boot import paths, settings
from droplan_boot.errors import DroplanError
from droplan_boot.flow import refreshing, reporting
from droplan_boot.host import deadline, lock
from droplan_boot.host.doors import Host
from droplan_boot.settings import Settings
from droplan_boot.state import report, snapshot

LONGEST_S: Final = 55.0
"""Whatever delays a refresh meets, it is over before a minute is."""


def run(host: Host, *, dry_run: bool = False, asked: bool = False) -> None:
    """Refresh, once; of two at once, one waits. The schedule also ends what an install began.

    Args:
        host: this machine.
        dry_run: say what would change, and change nothing.
        asked: refresh now, also where the schedule would let this turn pass.

    Raises:
        DroplanError: the rules are as they were.
    """
    host.require_root()
    if host.scheduled and host.files.exists(paths.UNFINISHED):
        from droplan_boot.verbs import install

        install.run(host)
        return
    wanted = _settings(host, dry_run=dry_run)
    if dry_run:
        _foretell(host, wanted)
        return
    if host.scheduled and not asked and not wanted.shared and _early(host):
        from droplan_boot.verbs import restore

        restore.run(host, repair=True)  # what others changed is put right at each turn, without the API
        return
    shown = host.files.restrict(paths.SETTINGS, 0o600)
    if shown:
        host.log.say(f"{paths.SETTINGS} had {shown}: only root may read it again; make a new token if others read it")
    installed = host.files.exists(paths.PROGRAM)
    late = DroplanError(
        f"the refresh had not ended after {LONGEST_S:.0f} s and was stopped: see whether something holds "
        "the machine up (`fuser -v /run/xtables.lock` names who holds the firewall), then run droplan again"
    )
    with deadline.within(LONGEST_S, late), lock.held(host.files.real(paths.LOCK), wait=refreshing.LOCK_S):
        if installed and not host.files.exists(paths.PROGRAM):
            host.log.say("droplan was uninstalled while this refresh waited: nothing was done")
            return
        host.files.directory(paths.STATE)
        if host.scheduled and installed and not asked:  # who asks is the watcher, whose sandbox may put nothing back
            _keep_up(host, wanted)
        refreshing.now(host, wanted)


def _early(host: Host) -> bool:
    """Whether the API's limits have the schedule let this turn pass."""
    last = report.load(host.files)
    if last is None or last.not_before is None:
        return False
    # A clock that was set back since says nothing about what is due.
    return last.time <= host.clock.time() < last.not_before


def _keep_up(host: Host, wanted: Settings) -> None:
    """Put back what would run the next refresh and bring the rules back at boot, whatever comes of this refresh."""
    from droplan_boot.firewall import choose
    from droplan_boot.setup import upkeep  # a person's run puts none of it back

    found = snapshot.load(host.files)
    try:
        # Where droplan only observes, nothing loads saved rules on its behalf.
        door = None if wanted.observe else choose.door(wanted.backend, host)
        droplet_id = found.droplet_id if found and found.answered else None
        for line in upkeep.put_back(host, door, wanted.interval, droplet_id, watched=wanted.watch):
            host.log.say(line)
    except DroplanError as error:
        host.log.complain(str(error))


def _settings(host: Host, *, dry_run: bool) -> Settings:
    """Read the settings; the report tells of a mistake in them, so that whoever watches it sees why."""
    try:
        wanted = settings.load(host.environ, host.files)
    except DroplanError as error:
        if not dry_run and (host.scheduled or host.files.exists(paths.STATE)):
            reporting.failed(host, error)
        raise
    if not host.scheduled:
        for name, (stored, given) in settings.passing(host.environ, host.files).items():
            said = (
                f"{name}={given}" if given else f"the {name} of the environment" if name == "DO_KEY" else f"no {name}"
            )
            kept = "its own" if name == "DO_KEY" else stored or "none"
            host.log.say(
                f"{said} holds for this run only: {paths.SETTINGS} says {kept}, and the schedule goes by that"
            )
    return wanted


def _foretell(host: Host, wanted: Settings) -> None:
    from droplan_boot.flow import foretell

    answer = refreshing.ask(host, wanted)
    for line in refreshing.objections(host, wanted, answer):
        host.log.say(f"Would be refused without --force: {line}")
    for line in (*foretell.access(host, answer), *foretell.rules(host, wanted, answer.policy)):
        host.log.say(line)
