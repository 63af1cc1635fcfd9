"""The disk of a booted Droplet: a cached Debian root with a layer over it that is thrown away."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.bed import ca
from tests.bed.cache import CHECKOUT
from tests.bed.hosts import Host

CLOUD_CONFIG = """\
datasource_list: [DigitalOcean]
apt: {preserve_sources_list: true}
growpart: {mode: 'off'}
resize_rootfs: false
locale: C.UTF-8
"""

# A card of a container's has no link-local address that cloud-init could give it: the bed has given it one.
CONTAINERS_SOURCE = "datasource: {DigitalOcean: {use_ip4LL: false, retries: 5}}\n"

# systemd and cloud-init would find a container, and act differently from a Droplet.
NO_CONTAINER = "#!/bin/sh\necho none\nexit 1\n"

# cloud-init asks dmidecode who made the machine, where /sys/class/dmi is missing as it is in many test machines.
DMIDECODE = """\
#!/bin/sh
case "$*" in
*system-manufacturer*) echo DigitalOcean ;;
*system-product-name*) echo Droplet ;;
*system-serial-number*) echo {droplet_id} ;;
*system-uuid*) echo 00000000-0000-4000-8000-{droplet_id:012x} ;;
*) echo ;;
esac
"""

# netplan has networkd tell cards by their permanent MACs; a cable between namespaces has none, a virtio card has.
NETWORKD = """\
[Service]
ExecStartPre=+sh -c 'sed -i s/^PermanentMACAddress=/MACAddress=/ /run/systemd/network/*.network || true'
"""

# Holds the overlay over reboots, on a tmpfs in a mount namespace of its own: nothing to unmount, even after a kill.
_HOLD = """
set -e
mount -t tmpfs -o mode=755 droplet /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
echo up
exec cat
"""
MOUNTED = Path("/mnt/root")  # in that mount namespace
BESIDE = Path("/mnt")
CONSOLE = BESIDE / "console.log"


class BootedDisk(Host):
    """What keeps a booted Droplet's files from one boot to the next.

    Args:
        name: The Droplet's.
        release: The Debian release whose root `script/roots` has made, as "bookworm".
        image: What `keep` kept of another of that release, which this one begins with.
    """

    def __init__(self, name: str, release: str, image: Path | None = None) -> None:
        super().__init__(f"{name}'s disk")
        cache = Path(os.environ.get("DROPLAN_CACHE", CHECKOUT / ".cache"))
        self._lower = cache.resolve() / "roots" / release
        self._layers = [str(layer) for layer in (image, self._lower) if layer]

    def start(self) -> None:
        """Mount a fresh one.

        Raises:
            RuntimeError: The release's root is not in the cache.
        """
        if not self._lower.is_dir():
            raise RuntimeError(f"no root at {self._lower}: run script/roots {self._lower.name}")
        script = ["sh", "-c", _HOLD, "sh", ":".join(self._layers)]
        self._hold(["unshare", "--mount", "--pid", "--fork", "--kill-child", *script])

    def keep(self, image: Path) -> None:
        """Copy all that was written to it into an empty folder. It is in no Droplet that is on."""
        subprocess.run(["cp", "-a", f"{self._seen(BESIDE / 'upper')}/.", str(image)], check=True)

    def path(self, path: Path | str) -> Path:
        """Where this machine finds a file of the disk's; symbolic links on the way must be relative."""
        return self._seen(MOUNTED) / str(path).lstrip("/")

    @property
    def console(self) -> Path:
        """Where this machine finds what the Droplet showed on its console."""
        return self._seen(CONSOLE)

    def beside(self, name: str) -> Path:
        """Where this machine finds a file that is none of the Droplet's, and goes when the disk does."""
        return self._seen(BESIDE / name)

    def _seen(self, path: Path) -> Path:
        return Path(f"/proc/{self.pid}/root") / str(path).lstrip("/")

    def furnish(self, *, name: str, hosts: Mapping[str, str], nameservers: tuple[str, ...]) -> None:
        """Write what makes it a Droplet's.

        Args:
            name: The hostname that it boots with.
            hosts: Host names and their addresses, for /etc/hosts.
            nameservers: For /etc/resolv.conf.
        """
        self.write("etc/cloud/cloud.cfg.d/99-lab.cfg", CLOUD_CONFIG)
        self.write("etc/hostname", f"{name}\n")
        known = {"localhost": "127.0.0.1", name: "127.0.1.1", **hosts}
        self.write("etc/hosts", "".join(f"{address} {host}\n" for host, address in known.items()))
        self.write("etc/resolv.conf", "".join(f"nameserver {address}\n" for address in nameservers))
        self.write("etc/machine-id", "")  # as an image has it: the first boot makes one
        self._trust(ca.certificates())

    def disguise(self, droplet_id: int) -> None:
        """Write what has a container take itself for a machine.

        Args:
            droplet_id: What dmidecode gives as the serial number.
        """
        self.write("usr/bin/systemd-detect-virt", NO_CONTAINER, 0o755)
        self.write("usr/sbin/dmidecode", DMIDECODE.format(droplet_id=droplet_id), 0o755)
        self.write("etc/cloud/cloud.cfg.d/99-lab-source.cfg", CONTAINERS_SOURCE)
        self.write("etc/systemd/system/systemd-networkd.service.d/lab.conf", NETWORKD)

    def pack(self, size: str) -> Path:
        """Make a file system of what is on it, for a machine to boot from.

        Args:
            size: How large, in the words of mke2fs(8); what is empty of it takes no room.

        Returns:
            Where this machine finds it.
        """
        image = self.beside("disk.ext4")
        packed = ["mke2fs", "-q", "-t", "ext4", "-d", str(self._seen(MOUNTED)), str(image), size]
        subprocess.run(packed, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return image

    def _trust(self, certificates: ca.Certificates) -> None:
        """Add the lab's CA as update-ca-certificates does, which takes a second for each Droplet."""
        authority = certificates.authority.read_text()
        bundle = "etc/ssl/certs/ca-certificates.crt"
        self.write(bundle, self.path(bundle).read_text() + authority)
        self.write(f"etc/ssl/certs/{certificates.subject_hash}.0", authority)
        self.write("usr/local/share/ca-certificates/droplan-lab.crt", authority)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the disk's, which replaces what is there."""
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a symbolic link would lead out of the disk
        target.write_text(text)
        target.chmod(mode)
