"""A Droplet that really boots: systemd, cron, apt and cloud-init of a Debian release, in a network that a test made.

    with BootedDroplet("bookworm", name="web-1", droplet_id=7, sockets=(public, private)) as droplet:
        droplet.boot()
        droplet.wait_cloud_init()
        print(droplet.run(["iptables", "-S"]).stdout)
        droplet.reboot()

It is a systemd-nspawn container that takes itself for a machine. cloud-init runs its own DigitalOcean datasource:
what the Droplet is called, is connected to and runs at first boot comes from the metadata service at 169.254.169.254
that the test put in its network. The kernel is this machine's, so kernel modules cannot be missing here.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Optional

from tests.lab.booted_container import REBOOTED, Container, poll
from tests.lab.booted_net import Cabling, Socket
from tests.lab.booted_root import OverlayRoot

__all__ = ["RELEASES", "BootedDroplet", "Socket"]

RELEASES = ("bullseye", "bookworm", "trixie", "forky")

_numbers = itertools.count(1)


class BootedDroplet:
    """A Droplet of one Debian release. Leaving the `with` block ends it and removes every trace.

    Args:
        release: One of RELEASES; `script/roots` has made its root.
        name: Hostname.
        droplet_id: As the metadata service tells it.
        sockets: Where eth0, eth1, … are plugged in. eth0 needs a `link_local` address to reach the metadata service.
        hosts: Host name to address for /etc/hosts, as {"api.digitalocean.com": "192.0.2.1"}.
        ca: PEM file of a CA that the Droplet shall trust.
    """

    def __init__(
        self,
        release: str,
        *,
        name: str,
        droplet_id: int,
        sockets: tuple[Socket, ...],
        hosts: Optional[Mapping[str, str]] = None,
        ca: Optional[Path] = None,
    ) -> None:
        self.release = release
        self.name = name
        self._identity = {"name": name, "droplet_id": droplet_id, "hosts": dict(hosts or {}), "ca": ca}
        self._sockets = sockets
        # Short, since the names of network cards hold 15 characters.
        self._tag = f"bd{os.getpid() % 100000}{next(_numbers):02d}"
        self._boots = itertools.count(1)
        self._directory = Path(tempfile.mkdtemp(prefix=f"{self._tag}-"))
        self._root = OverlayRoot(release, self._directory)
        self._cabling: Optional[Cabling] = None
        self._container: Optional[Container] = None

    def __enter__(self) -> BootedDroplet:
        try:
            self._root.mount()
            self._root.dress(**self._identity)
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self._clean_up()

    def _clean_up(self) -> None:
        self._lose_power()
        self._root.unmount()
        shutil.rmtree(self._directory)

    # --- power

    def boot(self) -> None:
        """Switch it on, with network cards in a namespace of this boot only. Returns while it still boots.

        Raises:
            BootFailed: It did not start; the message holds what its console showed.
        """
        assert self._container is None, f"{self.name} is on"
        tag = f"{self._tag}{next(self._boots) % 10}"
        self._cabling = Cabling(tag, self._sockets)
        self._cabling.plug_in()
        self._container = Container(tag, self._root.path, tag, self._directory / "console.log")
        self._container.start()

    def reboot(self, *, while_off: Optional[Callable[[], None]] = None) -> None:
        """Let it shut down and boot again, with new network cards. Returns while it still boots.

        Args:
            while_off: Called when it is off, for a test to change its world: cut off the API, start a probe.
        """
        self._systemctl("reboot", REBOOTED)
        if while_off:
            while_off()
        self.boot()

    def power_off(self) -> None:
        """Let it shut down; `boot` starts it again with the files as they are."""
        self._systemctl("poweroff", 0)

    def power_cut(self) -> None:
        """Stop it between two instructions; `boot` starts it again."""
        self._lose_power()

    def _systemctl(self, verb: str, expected: int) -> None:
        container = self._running
        # Not by run(): the answer may be lost when the guest goes down at once.
        container.run(["systemctl", "--no-block", verb], stdin=None, environment={}, timeout=60)
        try:
            code = container.wait(120)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} does not {verb}; its console:\n{self.console()[-4000:]}") from None
        assert code == expected, f"{self.name}: systemd-nspawn exited {code} at {verb}, not {expected}"
        self._lose_power()

    def _lose_power(self) -> None:
        if self._container:
            self._container.end()
            self._container = None
        if self._cabling:
            self._cabling.unplug()
            self._cabling = None

    @property
    def _running(self) -> Container:
        assert self._container is not None, f"{self.name} is off: boot() it first"
        return self._container

    # --- what a test does with it

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        stdin: Optional[str] = None,
        environment: Optional[Mapping[str, str]] = None,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it as root, with PATH, HOME and LANG only.

        Args:
            argv: Program and arguments.
            check: Whether a failure is the test's failure.
            stdin: What it reads; nothing if None.
            environment: Variables to add.
            timeout: Seconds.

        Raises:
            AssertionError: It exited other than 0 and `check` is true; the message shows all it said.
            subprocess.TimeoutExpired: It ran too long.
        """
        done = self._running.run(argv, stdin=stdin, environment=environment or {}, timeout=timeout)
        if check:
            said = f"--- stdout\n{done.stdout}--- stderr\n{done.stderr}"
            assert done.returncode == 0, f"{self.name}: {' '.join(argv)} exited {done.returncode}\n{said}"
        return done

    def path(self, path: str) -> Path:
        """Where this machine sees a file of the Droplet's, on or off. Not for /run, /tmp, /proc: read those by `run`."""
        return self._root.path / path.lstrip("/")

    def wait_cloud_init(self, timeout: float = 180) -> dict[str, Any]:
        """Wait until cloud-init has finished with this boot.

        Returns:
            What `cloud-init status --format json` tells (Debian 11's cloud-init only has "status"), plus "exit_code".

        Raises:
            TimeoutError: It has not finished after `timeout` seconds.
        """
        done = self.run(["cloud-init", "status", "--wait"], check=False, timeout=timeout)
        answer = self.run(["cloud-init", "status", "--format", "json"], check=False)
        if answer.returncode not in (0, 1, 2) or not answer.stdout.startswith("{"):
            return {"status": done.stdout.split("status:")[-1].strip(), "exit_code": done.returncode}
        return {**json.loads(answer.stdout), "exit_code": done.returncode}

    def wait_until(self, argv: Sequence[str], timeout: float = 60) -> None:
        """Wait until a command in it exits 0.

        Raises:
            TimeoutError: It does not within `timeout` seconds; the message shows what it said last.
        """
        last: list[subprocess.CompletedProcess[str]] = []

        def holds() -> bool:
            last[:] = [self.run(argv, check=False)]
            return last[0].returncode == 0

        poll(holds, timeout, lambda: f"{self.name}: {' '.join(argv)} never exited 0: {last[0]}", interval=0.5)

    def journal(self, *arguments: str) -> str:
        """What its journal holds of this boot; `arguments` as journalctl takes them, such as "-u", "cron"."""
        return self.run(["journalctl", "--boot", "--no-pager", "--output=short-monotonic", *arguments]).stdout

    def console(self) -> str:
        """What was shown on its console since the first boot."""
        return (self._directory / "console.log").read_text(errors="replace")
