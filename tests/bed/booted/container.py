"""One boot of a Droplet's disk with systemd-nspawn: start it, run commands in it, end it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Callable

from tests.bed.booted.root import CONSOLE, MOUNTED, BootedDisk
from tests.bed.hosts import Host, prepare_network

_CGROUPS = Path("/sys/fs/cgroup")
REBOOTED = 133  # what systemd-nspawn --keep-unit exits with when the guest rebooted: the rest is ours to do

# The namespaces of one boot. systemd-nspawn keeps some state in /run/systemd/nspawn, which must be there and shared
# with nobody; it is ended with the pid namespace, however the test ends.
_HOLD = """
set -e
mount -t proc proc /proc
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
echo up
exec cat
"""

# $1: our cgroup's cgroup.procs, in which systemd-nspawn makes one for the guest.
_LAUNCH = 'echo 0 >"$1" && shift && exec systemd-nspawn "$@"'

# As those who ask systemd-nspawn by its environment; see its manual page and ENVIRONMENT.md.
_SETTINGS = {
    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
    "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",  # /proc/sys/net can be written in a Droplet
}


class BootError(Exception):
    """The Droplet ended before its pid 1 was seen; the message holds what its console showed."""


class Container(Host):
    """The namespaces of one boot, and systemd in them.

    They are new for each boot: rules that stayed behind in the network namespace of the last one would prove nothing.

    Args:
        name: The Droplet's.
        disk: What it boots from; started.
    """

    enters = ("--mount", "--net", "--pid")

    def __init__(self, name: str, disk: BootedDisk) -> None:
        super().__init__(name)
        self._disk = disk
        self._spawn: subprocess.Popen[str] | None = None
        self._leader = 0
        self._cgroup = ""

    def start(self) -> None:
        """Make the namespaces, without anything in them: the cards are plugged in next, then it is switched on."""
        disk = f"--mount=/proc/{self._disk.pid}/ns/mnt"
        namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child"]
        # The network namespace comes before systemd-nspawn; with its --network-namespace-path, /sys/class/net would
        # show this machine's cards.
        self._hold(["nsenter", disk, "unshare", *namespaces, "sh", "-c", _HOLD])
        self.inside(prepare_network)
        self._cgroup = f"droplan-{self.pid}"
        (_unified_hierarchy() / self._cgroup).mkdir(exist_ok=True)

    def switch_on(self, timeout: float = 120) -> None:
        """Start systemd, and wait until it is there.

        Raises:
            BootError: It ended instead, or was not there within `timeout` seconds.
        """
        # Not /proc/PID/root/…: a file opened by that name would be the test's, not the guest's, to write.
        console = f"exec >>{CONSOLE} 2>&1; {_LAUNCH}"
        procs = str(_unified_hierarchy() / self._cgroup / "cgroup.procs")
        self._spawn = self.popen(["sh", "-c", console, "sh", procs, *self._arguments()], env=_SETTINGS)
        poll(lambda: self._find_leader() or self._ended, timeout, self._failure, interval=0.02)
        if not self._leader:
            raise BootError(self._failure())

    def _arguments(self) -> list[str]:
        return [
            *("--quiet", f"--directory={MOUNTED}", f"--machine={self.name}", "--register=no", "--keep-unit"),
            *("--capability=all", "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only"),
            "--kill-signal=SIGRTMIN+3",
            # systemd looks for `container` in its environment; without it, it boots as on a machine.
            *("/usr/bin/env", "-u", "container", "-u", "container_uuid", "/lib/systemd/systemd"),
        ]

    def run_in_guest(
        self, argv: Sequence[str], *, stdin: str | None, env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root in the guest, in its namespaces and with none of our environment."""
        enter = ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        return subprocess.run(
            [*enter, "--root", "--wd=/", "--", *argv],
            input=stdin or "",
            env=dict(env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def wait(self, timeout: float) -> int:
        """Wait until the guest has ended by itself.

        Returns:
            REBOOTED if it rebooted, 0 if it powered off.

        Raises:
            TimeoutError: It still runs after `timeout` seconds; the message holds what its console showed.
        """
        assert self._spawn
        poll(lambda: self._ended, timeout, self._failure)
        return self._spawn.wait()

    def stop(self) -> None:
        """End everything at once, as a power cut does, and the namespaces with it."""
        super().stop()
        self._leader = 0
        poll(self._remove_cgroups, 60, lambda: f"{self.name}: processes stay in the cgroup {self._cgroup}")

    def _remove_cgroups(self) -> bool:
        """Remove our cgroup and those the guest made below it, deepest first; False while one is in use.

        Beside v2, systemd-nspawn makes the same one in v1's "systemd" hierarchy where that is mounted.
        """
        ours = [mount / self._cgroup for mount in (_CGROUPS, *_CGROUPS.iterdir()) if self._cgroup]
        folders = [Path(where) for each in ours for where, _, _ in os.walk(each)]
        try:
            for folder in sorted(folders, reverse=True):
                folder.rmdir()
        except OSError:
            return False
        return True

    def _find_leader(self) -> bool:
        """Look among systemd-nspawn's children for pid 1 of the guest's namespace: the third it has a number in."""
        assert self._spawn
        for pid in _descendants(self._spawn.pid):
            numbers = _namespaced_pids(pid)
            if len(numbers) == 3 and numbers[-1] == 1:
                self._leader = pid
                return True
        return False

    @property
    def _ended(self) -> bool:
        return self._spawn is not None and self._spawn.poll() is not None

    def _failure(self) -> str:
        shown = self._disk.console.read_text(errors="replace") if self._disk.console.exists() else ""
        return f"{self.name}: its console showed\n{shown[-4000:]}"


def poll(
    condition: Callable[[], object], timeout: float, complaint: Callable[[], str], interval: float = 0.1
) -> None:
    """Wait until `condition` holds.

    Raises:
        TimeoutError: It does not within `timeout` seconds; the message is what `complaint` returns then.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint())
        time.sleep(interval)


def _descendants(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return  # it has ended meanwhile
    for child in children:
        yield int(child)
        yield from _descendants(int(child))


def _namespaced_pids(pid: int) -> list[int]:
    """Return a process's numbers, from this machine's namespace inwards (NSpid in proc(5))."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return []
    return next(
        [int(number) for number in line.split()[1:]] for line in status.splitlines() if line.startswith("NSpid:")
    )


def _unified_hierarchy() -> Path:
    """Find cgroup v2, which is mounted apart where the machine itself still uses v1."""
    return next(mount for mount in (_CGROUPS / "unified", _CGROUPS) if (mount / "cgroup.procs").exists())
