"""The verb that cron runs: learn who the peers are and make the firewall say so."""

from __future__ import annotations

from typing import Final

from droplan_boot import paths, settings
from droplan_boot.errors import DroplanError
from droplan_boot.flow import refreshing
from droplan_boot.host import deadline, lock
from droplan_boot.host.doors import Host

LONGEST_S: Final = 55.0
"""Whatever delays a refresh meets, it is over before a minute is."""


def run(host: Host) -> None:
    """Refresh, once; of two at once, one waits. The schedule also ends what an install began.

    Raises:
        DroplanError: the rules are as they were.
    """
    host.require_root()
    if host.scheduled and host.files.exists(paths.UNFINISHED):
        from droplan_boot.verbs import install

        install.run(host)
        return
    wanted = settings.load(host.environ, host.files)
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
        refreshing.now(host, wanted)
