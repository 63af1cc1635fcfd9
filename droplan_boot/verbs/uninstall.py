"""Take droplan off this machine and leave it as it was found. Packages stay: others may use them by now."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from droplan_boot import paths
from droplan_boot.access import change
from droplan_boot.access.policy import Policy
from droplan_boot.firewall import choose
from droplan_boot.flow import enforce, refreshing
from droplan_boot.host import firewalld, lock
from droplan_boot.host.doors import Host
from droplan_boot.host.services import Services
from droplan_boot.setup import bootstrap, comforts, nft_include, persistence, publishing, watcher
from droplan_boot.state import snapshot

_OURS: Final = paths.PROGRAM.parent

_DAEMONS: Final = (watcher.UNIT, publishing.UNIT)

# What cloud-init/bootstrap.sh leaves when it failed, so that it is tried again.
_BOOTSTRAP_UNITS: Final = ("droplan-bootstrap.timer", "droplan-bootstrap.service", "droplan-closed.service")
_OTHER_UNITS: Final = (*(persistence.UNIT.parent / name for name in _BOOTSTRAP_UNITS), persistence.UNIT)

# Stage-0 (cloud-init/bootstrap.py) and the user data around it work in our directory.
_DOWNLOADS: Final = ("droplan.pyz.download", "droplan.pyz.download.part", ".python.tar.gz", ".python.tar.gz.part")
_BOOTSTRAP: Final = ("bootstrap.sh", "bootstrap.conf", "bootstrap.py", "close.py", ".bootstrap.lock")
_TREES: Final = (_OURS / "python", _OURS / ".python.unpacked", _OURS / ".python.replaced", paths.STATE)

_FILES: Final = (
    paths.REFRESH,
    paths.SETTINGS,
    paths.RULES,
    *(_OURS / name for name in (*_DOWNLOADS, *_BOOTSTRAP)),
    paths.PROGRAM,
)


def run(host: Host, *, dry_run: bool = False) -> None:
    """Uninstall; run again, it finishes what an earlier run did not.

    Args:
        host: this machine.
        dry_run: say who could come in then, and what would go, and change nothing.

    Raises:
        DroplanError: something is still there.
    """
    host.require_root()
    if dry_run:
        _foretell(host)
        return
    with (
        lock.held(host.files.real(paths.LOCK), wait=refreshing.LOCK_S),
        lock.held(host.files.real(paths.WRITING), wait=enforce.WRITING_S),
    ):
        _uninstall(host)
    for path in (paths.LOCK, paths.WRITING):
        host.files.remove(path)


def _uninstall(host: Host) -> None:
    # First whatever would put back what goes now.
    if host.files.remove(paths.CRON):
        host.log.say(f"Removed {paths.CRON}")
    _remove_units(host)
    bootstrap.open_again(host)  # one that failed may have closed the interface in its own way
    _remove_rules(host)
    services = Services(host)
    services.put_back()
    if firewalld.unmask(services):
        host.log.say("Put firewalld back as it was")
    for path in _FILES:
        if host.files.remove(path):
            host.log.say(f"Removed {path}")
    if host.files.target(paths.LINK) == str(paths.PROGRAM):
        host.files.remove(paths.LINK)
        host.log.say(f"Removed {paths.LINK}")
    folders = comforts.made_folders(host)
    for path in comforts.everything():
        if host.files.remove(path):
            host.log.say(f"Removed {path}")
    for folder in folders:
        host.files.remove_directory(folder)
    for tree in _TREES:  # last: we run from these
        if host.files.remove_tree(tree):
            host.log.say(f"Removed {tree}")
    for folder in (_OURS, paths.SETTINGS.parent):
        host.files.remove_directory(folder)
    if host.files.exists(paths.PUBLISH):
        host.log.say(f"Kept {paths.PUBLISH}, which you wrote: there is a token in it")
    if host.files.exists(paths.LOG):
        host.log.say(f"Kept {paths.LOG}: remove it when you no longer need it")


def _foretell(host: Host) -> None:
    """Say who could come in then, and what would go."""
    say = host.log.say
    found = snapshot.load(host.files)
    for segment in found.policy.segments if found and not found.policy.observe else ():
        let_in = f"now {change.peers(len(segment.peers))}"
        if segment.allow:
            let_in += f" and DROPLAN_ALLOW ({', '.join(str(entry) for entry in segment.allow)})"
        say(f"Would open {', '.join(segment.interfaces)} to everyone who reaches it; {let_in} may come in")
    if found is None:
        say("Would open nothing: no rules of ours are known")
    elif found.policy.observe:
        say("Would open nothing: droplan only observes, and everybody comes in already")
    say("Would cut no connection that exists now")
    for backend in choose.everywhere(host):
        if backend.plan(Policy(())):
            say(f"Would remove our rules ({backend.name})")
    for path in persistence.holding(host):
        say(f"Would take our rules out of {path}")
    for path in nft_include.including(host):
        say(f"Would take our include out of {path}")
    units = (*(daemon.path for daemon in _DAEMONS), *_OTHER_UNITS)
    seen: set[Path] = set()  # a directory may have two names, by a link
    for path in (paths.CRON, *units, *_FILES, *comforts.everything(), *_TREES):
        if host.files.exists(path) and host.files.real(path).resolve() not in seen:
            seen.add(host.files.real(path).resolve())
            say(f"Would remove {path}")
    if host.files.target(paths.LINK) == str(paths.PROGRAM):
        say(f"Would remove {paths.LINK}")
    if host.files.exists(paths.FIREWALLD):
        say("Would put firewalld back as it was")
    if host.files.exists(paths.PUBLISH):
        say(f"Would keep {paths.PUBLISH}, which you wrote: there is a token in it")
    if host.files.exists(paths.LOG):
        say(f"Would keep {paths.LOG}, and every package")


def _remove_units(host: Host) -> None:
    services = Services(host)
    for daemon in _DAEMONS:
        if host.files.exists(daemon.path):
            daemon.remove(services)
            host.log.say(f"Removed {daemon.path}")
    for path in _OTHER_UNITS:
        if host.files.exists(path):
            services.disable(path.name)
            host.files.remove(path)
            host.log.say(f"Removed {path}")


def _remove_rules(host: Host) -> None:
    found = snapshot.load(host.files)
    former = found.policy if found else None
    for backend in choose.everywhere(host):
        if backend.remove(former):
            host.log.say(f"Removed our rules ({backend.name})")
    for line in (*persistence.forget(host, former, Services(host).remembered()), *nft_include.forget(host)):
        host.log.say(line)
