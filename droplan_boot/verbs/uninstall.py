"""Take droplan off this machine and leave it as it was found. Packages stay: others may use them by now."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from droplan_boot import paths
from droplan_boot.firewall import choose
from droplan_boot.flow import refreshing
from droplan_boot.host import firewalld, lock
from droplan_boot.host.doors import Host
from droplan_boot.host.services import Services
from droplan_boot.setup import nft_include, persistence
from droplan_boot.state import snapshot

_UNITS: Final = Path("/etc/systemd/system")
_OURS: Final = paths.PROGRAM.parent

_BOOTSTRAP_UNITS: Final = ("droplan-bootstrap.timer", "droplan-bootstrap.service", "droplan-closed.service")
"""What cloud-init/bootstrap.sh leaves when it failed, so that it is tried again."""

# Stage-0 (cloud-init/bootstrap.py) and the user data around it work in our directory.
_DOWNLOADS: Final = ("droplan.pyz.download", "droplan.pyz.download.part", ".python.tar.gz", ".python.tar.gz.part")
_BOOTSTRAP: Final = ("bootstrap.sh", "bootstrap.conf", "bootstrap.py", "close.py", ".bootstrap.lock")
_TREES: Final = (_OURS / "python", _OURS / ".python.unpacked", _OURS / ".python.replaced", paths.STATE)

_FILES: Final = (
    paths.CRON,
    paths.REFRESH,
    paths.SETTINGS,
    paths.RULES,
    paths.LOG,
    *(_OURS / name for name in (*_DOWNLOADS, *_BOOTSTRAP)),
    paths.PROGRAM,
)


def run(host: Host) -> None:
    """Uninstall; run again, it finishes what an earlier run did not.

    Raises:
        DroplanError: something is still there.
    """
    host.require_root()
    with lock.held(host.files.real(paths.LOCK), wait=refreshing.LOCK_S):
        _uninstall(host)
    host.files.remove(paths.LOCK)


def _uninstall(host: Host) -> None:
    # First whatever would put back what goes now.
    host.files.remove(paths.CRON)
    _remove_units(host)
    closer = _OURS / "close.py"
    if host.files.exists(closer):  # a bootstrap failed, and may have closed the interface in its own way
        host.runner.run([sys.executable, str(closer), "--open"], check=False)
    _remove_rules(host)
    services = Services(host)
    services.put_back()
    if firewalld.unmask(services):
        host.log.say("Put firewalld back as it was")
    for path in _FILES:
        if host.files.remove(path):
            host.log.say(f"Removed {path}")
    for tree in _TREES:  # last: we run from these
        if host.files.remove_tree(tree):
            host.log.say(f"Removed {tree}")
    for folder in (_OURS, paths.SETTINGS.parent):
        host.files.remove_directory(folder)


def _remove_units(host: Host) -> None:
    services = Services(host)
    for name in (*_BOOTSTRAP_UNITS, persistence.UNIT_NAME):
        if host.files.exists(_UNITS / name):
            services.disable(name)
            host.files.remove(_UNITS / name)
            host.log.say(f"Removed {_UNITS / name}")


def _remove_rules(host: Host) -> None:
    found = snapshot.load(host.files)
    former = found.policy if found else None
    for backend in choose.everywhere(host):
        if backend.remove(former):
            host.log.say(f"Removed our rules ({backend.name})")
    for line in (*persistence.forget(host, former, Services(host).remembered()), *nft_include.forget(host)):
        host.log.say(line)
