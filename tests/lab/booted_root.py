"""The files of a booted Droplet: an overlay over a cached Debian root, with what makes it look like a Droplet."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from tests.lab.cache import CHECKOUT

CLOUD_CONFIG = """\
datasource_list: [DigitalOcean]
datasource: {DigitalOcean: {use_ip4LL: false, retries: 5}}
apt: {preserve_sources_list: true}
growpart: {mode: 'off'}
resize_rootfs: false
locale: C.UTF-8
"""

# systemd and cloud-init would find a container and act differently from a Droplet.
NO_CONTAINER = "#!/bin/sh\necho none\nexit 1\n"

# cloud-init asks dmidecode who made the machine, where /sys/class/dmi is missing, as it is in the lab's machine.
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


class OverlayRoot:
    """A Droplet's file tree, thrown away at the end; the cached root below is never written.

    Args:
        release: Debian release whose root `script/roots` has made, as "bookworm".
        directory: An empty directory of the test's own.
    """

    def __init__(self, release: str, directory: Path) -> None:
        cache = Path(os.environ.get("DROPLAN_CACHE", CHECKOUT / ".cache"))
        self._lower = cache.resolve() / "roots" / release
        self._directory = directory
        self.path = directory / "root"

    def mount(self) -> None:
        """Lay the overlay.

        Raises:
            FileNotFoundError: The release's root is not in the cache.
        """
        if not self._lower.is_dir():
            raise FileNotFoundError(f"no root at {self._lower}: run script/roots {self._lower.name}")
        parts = {name: self._directory / name for name in ("upper", "work", "root")}
        for part in parts.values():
            part.mkdir(parents=True)
        options = f"lowerdir={self._lower},upperdir={parts['upper']},workdir={parts['work']}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.path)], check=True)

    def unmount(self) -> None:
        """Take the overlay away, if it is there."""
        if self.path.is_mount():
            subprocess.run(["umount", str(self.path)], check=True)

    def dress(self, *, name: str, droplet_id: int, hosts: Mapping[str, str], ca: Optional[Path]) -> None:
        """Write what makes the tree a Droplet's.

        Args:
            name: The hostname that it boots with.
            droplet_id: What dmidecode gives as the serial number.
            hosts: Host name to address, for /etc/hosts.
            ca: A PEM certificate that the Droplet's CA store shall trust; None for none.
        """
        for path in ("usr/bin/systemd-detect-virt", "usr/sbin/dmidecode"):
            (self.path / path).unlink(missing_ok=True)
        self._write("usr/bin/systemd-detect-virt", NO_CONTAINER, 0o755)
        self._write("usr/sbin/dmidecode", DMIDECODE.format(droplet_id=droplet_id), 0o755)
        self._write("etc/cloud/cloud.cfg.d/99-lab.cfg", CLOUD_CONFIG)
        self._write("etc/hostname", f"{name}\n")
        lines = [f"{address}\t{host}\n" for host, address in {"localhost": "127.0.0.1", name: "127.0.1.1", **hosts}.items()]
        self._write("etc/hosts", "".join(lines))
        self._write("etc/machine-id", "")
        if ca:
            self._write("usr/local/share/ca-certificates/lab.crt", ca.read_text())
            command = ["chroot", str(self.path), "update-ca-certificates"]
            subprocess.run(command, check=True, capture_output=True, env={"PATH": os.defpath + ":/usr/sbin:/sbin"})

    def _write(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
