"""Take droplan off this machine and leave it as it was found. Packages stay: others may use them by now."""

from __future__ import annotations

import shutil

from droplan_boot import firewalld, paths, persistence, refresh, snapshot
from droplan_boot.firewall import choose
from droplan_boot.host import lock
from droplan_boot.host.machine import Host, require_root
from droplan_boot.host.services import Services

_FILES = (paths.CRON, paths.REFRESH, paths.SETTINGS, paths.SNAPSHOT, paths.STATUS, paths.UNFINISHED, paths.LOG)


def run(host: Host) -> None:
    """Uninstall; run again, it finishes what an earlier run did not.

    Raises:
        DroplanError: something is still there.
    """
    require_root()
    with lock.held(host.files.real(paths.LOCK), wait=refresh.LOCK_S):
        _uninstall(host)
    host.files.remove(paths.LOCK)


def _uninstall(host: Host) -> None:
    host.files.remove(paths.CRON)  # first, so that the schedule does not put back what goes now
    found = snapshot.load(host.files)
    former = found.policy if found else None
    for backend in choose.everywhere(host.runner, ipv6=choose.has_ipv6()):
        if backend.remove(former):
            host.log.say(f"Removed our rules ({backend.name})")
    for line in persistence.forget(host, former):
        host.log.say(line)
    if host.files.exists(persistence.UNIT):
        Services(host).disable(persistence.UNIT_NAME)
        host.files.remove(persistence.UNIT)
        host.log.say(f"Removed {persistence.UNIT}")
    if firewalld.unmask(Services(host)):
        host.log.say("Put firewalld back as it was")
    for path in (*_FILES, paths.BOOTSTRAP_FAILED, paths.PROGRAM):
        if host.files.remove(path):
            host.log.say(f"Removed {path}")
    shutil.rmtree(host.files.real(paths.STATE), ignore_errors=True)
    for folder in (paths.PROGRAM.parent, paths.SETTINGS.parent):
        host.files.remove_directory(folder)
