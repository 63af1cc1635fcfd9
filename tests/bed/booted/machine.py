"""Droplets with a kernel of their own: Debian's, in qemu, which emulates the processor. A boot takes minutes.

    with Region() as region:
        machine = region.machine("web-1", user_data="#cloud-config\\n…")
        machine.boot()
        machine.wait_cloud_init(timeout=PATIENCE)
        print(machine.run(["lsmod"]).stdout)

What namespaces cannot show is real here: modules load or are missing, udev and cloud-init name the cards, firmware
tells who made the machine, and a reboot leaves nothing in the kernel. Commands go in by SSH, as an admin's do, over
the public network.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.bed.booted.container import poll
from tests.bed.booted.guest import ENVIRONMENT, Guest, Identity
from tests.bed.booted.root import BootedDisk
from tests.bed.hosts import Host, Link

PATIENCE: Final = 2400.0  # seconds for a boot: an emulated processor that others keep waiting is slow
KNOCKS: Final = 0.1  # seconds between two of somebody's: at a Droplet's usual pace it would do nothing else
ROOT: Final = "kernel"
# systemd gives up on units and devices after 90 s; here that would be a verdict on the emulation. The others leave
# out what costs an emulated processor much and matters to nobody.
_KERNEL_ARGUMENTS: Final = (
    "root=/dev/vda rw console=ttyS0 quiet mitigations=off no5lvl "
    "systemd.default_timeout_start_sec=900 systemd.default_device_timeout_sec=900"
)
# The root has keys already, and whose they are is nobody's business here; making others takes a minute.
_KEYS: Final = "ssh_deletekeys: false\nssh_genkeytypes: [ed25519]\n"
_SSH: Final = (
    *("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"),
    *("-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=60", "-o", "ServerAliveInterval=15"),
)


class Machine(Guest):
    """A Droplet that is a virtual machine; `Region.machine` makes it.

    Args:
        identity: Who it is.
        switch: The host in whose namespaces qemu runs, and ends with them.
        sockets: The tap device there that each card is plugged into.
        admin: The host that commands come from.
    """

    def __init__(self, identity: Identity, switch: Host, sockets: Mapping[Link, str], admin: Host) -> None:
        super().__init__(identity.droplet.name)
        self.droplet = identity.droplet
        self.links = identity.links
        self._identity = identity
        self._switch = switch
        self._sockets = sockets
        self._admin = admin
        self._disk = BootedDisk(self.name, ROOT)
        self._qemu: subprocess.Popen[str] | None = None

    # --- power

    def boot(self) -> None:
        """Switch it on, with a fresh disk. Returns while it boots."""
        assert self._qemu is None, f"{self.name} is on"
        self._disk.start()
        identity = self._identity
        self._disk.furnish(name=self.name, hosts=identity.hosts, nameservers=identity.nameservers)
        self._disk.write("etc/cloud/cloud.cfg.d/99-lab-keys.cfg", _KEYS)
        for path, text in identity.files.items():
            self._disk.write(path, text)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)], check=True)
        self._disk.write("root/.ssh/authorized_keys", self._key.with_suffix(".pub").read_text())
        self._qemu = self._switch.popen(["qemu-system-x86_64", *self._arguments(self._disk.pack("4G"))])

    def _arguments(self, image: Path) -> list[str]:
        boot = self._disk.path("boot")
        cards = [
            argument
            for link, socket in self._sockets.items()
            for argument in (
                *("-netdev", f"tap,id={link.name},ifname={socket},script=no,downscript=no"),
                *("-device", f"virtio-net-pci,netdev={link.name},mac={link.mac},romfile="),
            )
        ]
        return [
            *("-no-user-config", "-nodefaults", "-display", "none", "-monitor", "none"),
            *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"),
            *("-smbios", f"type=1,manufacturer=DigitalOcean,product=Droplet,serial={self.droplet.id}"),
            *("-kernel", str(next(boot.glob("vmlinuz-*"))), "-initrd", str(next(boot.glob("initrd.img-*")))),
            *("-append", _KERNEL_ARGUMENTS, "-serial", f"file:{self._disk.console}"),
            *("-drive", f"file={image},format=raw,if=virtio,cache=unsafe", "-device", "virtio-rng-pci"),
            *cards,
        ]

    def reboot(self) -> None:
        """Let it shut down and boot again. Returns when the new boot can be spoken to.

        Raises:
            TimeoutError: that does not come about; the message holds what its console showed.
        """
        before = self._boot_id()
        self.run(["systemctl", "--no-block", "reboot"], check=False)  # it may be gone before it can answer
        poll(lambda: self._boot_id() not in ("", before), PATIENCE, self.console, interval=1)

    def _boot_id(self) -> str:
        return self.run(["cat", "/proc/sys/kernel/random/boot_id"], check=False).stdout.strip()

    def destroy(self) -> None:
        """Stop it as a power cut does, and throw its disk away."""
        if self._qemu:
            self._qemu.kill()
            self._qemu.wait()
        self._qemu = None
        self._disk.stop()

    # --- what a test does with it

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        input: str | None = None,  # noqa: A002 (as in subprocess.run)
        check: bool = True,
        timeout: float = 600,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it as root, and wait for it; as `Host.run`. Where SSH itself fails, that is 255."""
        assert self._qemu is not None, f"{self.name} is off: boot() it first"
        if self._qemu.poll() is not None:
            raise AssertionError(f"{self.name}: qemu has ended: {self._qemu.communicate()[1]}\n{self.console()}")
        settings = [f"{name}={value}" for name, value in {**ENVIRONMENT, **(env or {})}.items()]
        to = [*_SSH, "-i", str(self._key), f"root@{self.public.ipv4}"]
        command = [*to, shlex.join(["env", *settings, *argv])]
        return self._admin.run(command, input=input, check=check, timeout=timeout)

    def console(self) -> str:
        """What was shown on its console since the first boot."""
        return self._disk.console.read_text(errors="replace")[-8000:] if self._disk.console.exists() else ""

    @property
    def _key(self) -> Path:
        return self._disk.beside("key")
