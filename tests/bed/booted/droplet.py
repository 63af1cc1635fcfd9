"""Droplets that really boot: systemd, cron, apt and cloud-init of a Debian release, in a network of namespaces.

    with Region() as region:  # region.py
        droplet = region.droplet("bookworm", "web-1", user_data="#cloud-config\\n…")
        droplet.boot()
        droplet.wait_cloud_init()
        print(droplet.run(["iptables", "-S"]).stdout)
        region.do.fault(Fault(service="api", refuse=True))
        droplet.reboot()

A Droplet is a systemd-nspawn container that takes itself for a machine. cloud-init runs its own DigitalOcean
datasource: its name, network and user data come from the stand-in's metadata service. The kernel is this machine's,
so kernel modules cannot be missing here; a `Machine` (machine.py) has its own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable

from tests.bed.booted.container import REBOOTED, BootError, Container
from tests.bed.booted.guest import ENVIRONMENT, Guest, Identity
from tests.bed.booted.root import BootedDisk
from tests.bed.hosts import Host

__all__ = ["RELEASES", "BootError", "BootedDroplet"]

RELEASES = ("bullseye", "bookworm", "trixie", "forky")


class BootedDroplet(Guest):
    """A Droplet of a Debian release; `Region.droplet` makes it. As a Host, `reach` and `Knocking` can aim at it.

    Args:
        release: One of RELEASES; `script/roots` has made its root.
        identity: Who it is.
        connect: Plugs the cards into a container's namespaces, before it is switched on; returns what unplugs them.
        image: The disk of another of the same release and identity, as that one's `image` copied it.
    """

    def __init__(
        self,
        release: str,
        identity: Identity,
        connect: Callable[[Host], Callable[[], None]],
        image: Path | None = None,
    ) -> None:
        super().__init__(identity.droplet.name)
        self.release = release
        self.droplet = identity.droplet
        self.links = identity.links
        self._identity = identity
        self._connect = connect
        self._image = image
        self._disk = BootedDisk(self.name, release, image)
        self._container: Container | None = None
        self._unplug: Callable[[], None] = lambda: None

    # --- power

    def boot(self) -> None:
        """Switch it on, the first time with a fresh disk. Returns while it boots.

        Raises:
            BootError: It did not start; the message holds what its console showed.
        """
        assert self._container is None, f"{self.name} is on"
        if not self._disk.pid:
            self._disk.start()
            if self._image is None:
                self._furnish()
        self._container = Container(self.name, self._disk)
        self._container.start()
        self.pid = self._container.pid
        self._unplug = self._connect(self._container)
        self._container.switch_on()

    def _furnish(self) -> None:
        identity = self._identity
        self._disk.furnish(name=self.name, hosts=identity.hosts, nameservers=identity.nameservers)
        self._disk.disguise(self.droplet.id)
        for path, text in identity.files.items():
            self._disk.write(path, text)

    def reboot(self, *, while_off: Callable[[], None] | None = None) -> None:
        """Let it shut down and boot again, in a new network namespace. Returns while it boots.

        Args:
            while_off: Called in between, for a test to change its world.
        """
        self._go_down("reboot", REBOOTED)
        if while_off:
            while_off()
        self.boot()

    def power_off(self) -> None:
        """Let it shut down; `boot` starts it again from its disk."""
        self._go_down("poweroff", 0)

    def image(self, folder: Path) -> None:
        """Copy its disk into an empty folder; it is off."""
        assert self._container is None, f"{self.name} is on"
        self._disk.keep(folder)

    def power_cut(self) -> None:
        """Stop it between two instructions; `boot` starts it again from its disk."""
        if self._container:
            # First, because the kernel takes a dying namespace's rules away before its cards.
            self._unplug()
            self._container.stop()
        self._container = None
        self.pid = 0

    def destroy(self) -> None:
        """Stop it and throw its disk away."""
        self.power_cut()
        self._disk.stop()

    def _go_down(self, verb: str, expected: int) -> None:
        self.run(["systemctl", "--no-block", verb], check=False)  # it may be gone before it can answer
        code = self._running.wait(120)
        assert code == expected, f"{self.name}: systemd-nspawn exited {code} at {verb}, not {expected}"
        self.power_cut()

    @property
    def _running(self) -> Container:
        assert self._container is not None, f"{self.name} is off: boot() it first"
        return self._container

    # --- what a test does with it

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        input: str | None = None,  # noqa: A002 (as in subprocess.run)
        check: bool = True,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it as root, and wait for it.

        Args:
            argv: the command.
            env: added to a plain environment; the test's own is not passed on.
            input: what the command reads on standard input.
            check: whether an exit code other than 0 is an error.
            timeout: in seconds.

        Raises:
            AssertionError: the command failed; it says command, exit code and both outputs.
            subprocess.TimeoutExpired: it ran too long.
        """
        done = self._running.run_in_guest(argv, stdin=input, env={**ENVIRONMENT, **(env or {})}, timeout=timeout)
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def path(self, path: str | Path) -> Path:
        """Return where this machine finds a file of the Droplet, on or off; /run and /tmp are not on its disk."""
        return self._disk.path(path)

    def console(self) -> str:
        """What was shown on its console since the first boot."""
        return self._disk.console.read_text(errors="replace")
