"""One boot of a file tree with systemd-nspawn: start it, run commands in it, end it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Optional

CGROUPS = Path("/sys/fs/cgroup")
GUEST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REBOOTED = 133  # what nspawn exits with when the guest asked for a reboot and --keep-unit leaves that to us

# $1: our cgroup's cgroup.procs. The tmpfs hides the machine's /run/systemd/nspawn, which need not be there or shared.
LAUNCH = """\
mkdir -p /run/systemd/nspawn && mount -t tmpfs tmpfs /run/systemd/nspawn && echo 0 >"$1" && shift && exec systemd-nspawn "$@"
"""


class BootFailed(Exception):
    """The container ended before its pid 1 was seen; the message holds what it said."""


class Container:
    """A systemd-nspawn container in a network namespace that is already there.

    Args:
        name: Unique on this machine; names the cgroup and the machine.
        root: The file tree to boot; written to.
        namespace: Name of the network namespace (`ip netns list`) that is the guest's only one.
        console: File that what the guest writes to /dev/console is appended to.
    """

    def __init__(self, name: str, root: Path, namespace: str, console: Path) -> None:
        self._name = name
        self._root = root
        self._namespace = namespace
        self._console = console
        self._cgroup = _unified_hierarchy() / name
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._leader = 0

    def start(self, timeout: float = 30) -> None:
        """Start it, and wait until its pid 1 is there.

        Raises:
            BootFailed: systemd-nspawn ended, or no pid 1 was seen within `timeout` seconds.
        """
        self._cgroup.mkdir(exist_ok=True)
        # Entering the namespace before systemd-nspawn starts makes /sys/class/net the guest's; its own
        # --network-namespace-path would show the machine's cards there.
        enter = ["nsenter", f"--net=/run/netns/{self._namespace}", "unshare", "--mount", "--propagation=private"]
        launch = ["sh", "-c", LAUNCH, "launch", str(self._cgroup / "cgroup.procs"), *self._nspawn_arguments()]
        environment = {
            "PATH": GUEST_PATH,
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",  # /proc/sys/net is writable in a Droplet
        }
        with self._console.open("ab") as console:
            self._process = subprocess.Popen(
                [*enter, *launch], env=environment, stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        poll(lambda: self._find_leader() or self._ended(), timeout, lambda: self._failure())
        if not self._leader:
            raise BootFailed(self._failure())

    def _nspawn_arguments(self) -> list[str]:
        return [
            *("--quiet", f"--directory={self._root}", f"--machine={self._name}", "--register=no", "--keep-unit"),
            *("--capability=all", "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only"),
            "--kill-signal=SIGRTMIN+3",
            # systemd looks at its own environment for `container`; without it, it boots as on a machine.
            *("/usr/bin/env", "-u", "container", "-u", "container_uuid", "/lib/systemd/systemd"),
        ]

    @property
    def leader(self) -> int:
        """The guest's pid 1, as this machine numbers it; 0 before `start` and after `end`."""
        return self._leader

    def run(
        self, argv: Sequence[str], *, stdin: Optional[str], environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root in the guest, as a login would: its own namespaces, none of our environment."""
        enter = ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        return subprocess.run(
            [*enter, "--root", "--wd=/", "--", *argv],
            input=stdin if stdin is not None else "",
            env={"PATH": GUEST_PATH, "HOME": "/root", "LANG": "C.UTF-8", **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def wait(self, timeout: float) -> int:
        """Wait until it ended by itself.

        Returns:
            REBOOTED if the guest rebooted, 0 if it powered off.

        Raises:
            subprocess.TimeoutExpired: It still runs after `timeout` seconds.
        """
        assert self._process
        code = self._process.wait(timeout)
        self._forget()
        return code

    def end(self) -> None:
        """End it at once, as a power cut would. Ending it twice is fine."""
        if self._process is None:
            return
        if self._leader:
            _kill(self._leader)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                pass  # its pid 1 is gone; systemd-nspawn itself follows
        _kill(self._process.pid)
        self._process.wait()
        self._forget()

    def _forget(self) -> None:
        self._process, self._leader = None, 0
        poll(self._remove_cgroups, 10, lambda: f"processes stay in {self._cgroup}")

    def _remove_cgroups(self) -> bool:
        """Remove our cgroup and those that the guest made below it, deepest first; False while one is in use."""
        folders = sorted((Path(where) for where, _, _ in os.walk(self._cgroup)), reverse=True)
        try:
            for folder in folders:
                folder.rmdir()
        except OSError:
            return False
        return True

    def _find_leader(self) -> bool:
        """Look for a child that is pid 1 of a namespace of its own."""
        assert self._process
        for child in _children(self._process.pid):
            try:
                status = Path(f"/proc/{child}/status").read_text()
            except OSError:
                continue  # it has ended meanwhile
            numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            if len(numbers) > 1 and numbers[-1] == "1":
                self._leader = child
                return True
        return False

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _failure(self) -> str:
        return f"{self._name} did not boot:\n{self._console.read_text(errors='replace')[-4000:]}"


def poll(condition: Callable[[], object], timeout: float, complaint: Callable[[], str], interval: float = 0.1) -> None:
    """Wait until `condition` holds.

    Raises:
        TimeoutError: It does not within `timeout` seconds; the message is `complaint`'s.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint())
        time.sleep(interval)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended by itself


def _children(pid: int) -> list[int]:
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listing.read_text().split()] if listing.exists() else []


def _unified_hierarchy() -> Path:
    """Find cgroup v2, which is mounted apart where the machine itself still uses v1."""
    return next(path for path in (CGROUPS / "unified", CGROUPS) if (path / "cgroup.procs").exists())
