"""The Droplet under test: this machine's file system, with what it writes kept apart and then thrown away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Callable

from tests.bed import ca, packages
from tests.bed.hosts import Host, prepare_network

# Paths of droplan's that this machine may have for itself; a fresh Droplet has none of them.
_NOT_ON_A_FRESH_DROPLET = (
    *("opt/droplan", "etc/droplan", "var/lib/droplan", "var/log/droplan.log", "etc/cron.d/droplan"),
    *("etc/iptables", "etc/apt/sources.list", "etc/apt/sources.list.d", "var/lib/apt/lists", "etc/resolv.conf"),
)
_REPOSITORY = "var/cache/lab-packages"

# Keeps the overlay over reboots. It lives on a tmpfs in a mount namespace of its own: nothing to unmount.
_DISK = """
set -e
mount -t tmpfs -o mode=755 droplet /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
echo up
exec cat
"""

# pid 1. To cron it has been up for a while: when that is first started, nothing that is for @reboot runs. It ignores
# SIGCHLD, so that the kernel reaps the orphans; dash's trap would not hand that on.
_BOOT = """
set -e
hostname "$1"
cd /mnt/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/lock
touch run/crond.reboot
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mkdir -p dev/pts dev/shm mnt
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs dev/shm
pivot_root . mnt
cd /
umount -l /mnt
echo up
exec env --ignore-signal=CHLD cat
"""


class Disk(Host):
    """What keeps the Droplet's files from one boot to the next."""

    def start(self) -> None:
        """Mount the overlay."""
        self._hold(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _DISK])

    @property
    def root(self) -> Path:
        """The Droplet's root directory, seen from this machine."""
        return Path(f"/proc/{self.pid}/root/mnt/root")


class LabDroplet(Host):
    """The Droplet: a host with files, a hostname and processes of its own, without systemd.

    Args:
        name: its hostname.
        connect: plugs its network in once it has booted, disconnect: lets go of what is tied to one boot.
    """

    enters = ("--mount", "--uts", "--ipc", "--net", "--pid")

    def __init__(self, name: str, connect: Callable[[], None], disconnect: Callable[[], None]) -> None:
        super().__init__(name)
        self.connect = connect
        self._disconnect = disconnect
        self._disk = Disk(f"{name}'s disk")

    def start(self) -> None:
        """Boot. The first time it is given a fresh disk."""
        if not self._disk.pid:
            self._disk.start()
            _furnish(self._disk.root, self.name)
        namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child"]
        disk = f"--mount=/proc/{self._disk.pid}/ns/mnt"
        self._hold(["nsenter", disk, "unshare", *namespaces, "sh", "-c", _BOOT, "sh", self.name])
        self.inside(prepare_network)

    def reboot(self) -> None:
        """Boot again: same disk and addresses, but no process, no rule and nothing of /run is left."""
        self._disconnect()
        self.stop()
        self.start()
        self.connect()

    def destroy(self) -> None:
        """End it and throw its disk away."""
        self.stop()
        self._disk.stop()

    def path(self, path: str | Path) -> Path:
        """Return where this machine finds a file of the Droplet.

        Symbolic links on the way must be relative, and /proc/sys/net is the reader's own wherever it is opened:
        use ``run`` for that.
        """
        return Path(f"/proc/{self.pid}/root") / str(path).lstrip("/")

    @property
    def written(self) -> Path:
        """Where this machine finds all that the Droplet's file system differs in from the machine's own.

        That is overlayfs's upper layer: what was removed is a device 0:0 there.
        """
        return Path(f"/proc/{self._disk.pid}/root/mnt/upper")

    def use_iptables(self, variant: str) -> None:
        """Make ``iptables`` mean ``nft`` or ``legacy``, as update-alternatives does."""
        for program in ("iptables", "ip6tables"):
            self.run(["update-alternatives", "--set", program, f"/usr/sbin/{program}-{variant}"])


def _furnish(root: Path, name: str) -> None:
    """Make the disk that of a fresh Droplet."""
    for path in _NOT_ON_A_FRESH_DROPLET:
        _remove(root / path)
    (root / "etc/apt/sources.list.d").mkdir()
    (root / "var/lib/apt/lists/partial").mkdir(parents=True)
    shutil.copytree(packages.repository(), root / _REPOSITORY)
    _write(root / "etc/apt/sources.list", f"deb [trusted=yes] file:/{_REPOSITORY} ./\n")
    # No daemon starts by itself: what runs in a test is what the test ran.
    _write(root / "usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
    (root / "usr/sbin/policy-rc.d").chmod(0o755)
    _write(root / "etc/hostname", f"{name}\n")
    _write(root / "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {name}\n{API_ADDRESS} {ca.API_HOST}\n")
    _write(root / "etc/resolv.conf", "".join(f"nameserver {server}\n" for server in RESOLVERS))
    _remove(root / "var/lib/man-db/auto-update")  # an index of manual pages, two seconds an installation
    _trust(root)


# Where the stand-in is reached. Nothing listens at the resolvers: names that are not in /etc/hosts fail at once.
API_ADDRESS = "104.16.181.15"
RESOLVERS = ("67.207.67.2", "67.207.67.3")


def _trust(root: Path) -> None:
    """Put the lab's CA where update-ca-certificates puts it."""
    certificates = ca.certificates()
    authority = certificates.authority.read_text()
    store = root / "etc/ssl/certs"
    store.mkdir(parents=True, exist_ok=True)
    bundle = store / "ca-certificates.crt"
    before = bundle.read_text() if bundle.exists() else ""
    _write(bundle, before + authority)
    _write(store / f"{certificates.subject_hash}.0", authority)
    source = root / "usr/local/share/ca-certificates"
    source.mkdir(parents=True, exist_ok=True)
    _write(source / "droplan-lab.crt", authority)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    _remove(path)  # it may be a symbolic link that leads out of the overlay
    path.write_text(text)


def require_machine() -> None:
    """Say what is missing before anything is made.

    Raises:
        RuntimeError: not root, or this machine has no iptables and so the Droplet would have none.
    """
    if os.geteuid() != 0:
        raise RuntimeError("the lab makes network namespaces, which takes root: run it with sudo")
    if not Path("/usr/sbin/iptables").exists():
        raise RuntimeError("the lab's Droplet takes iptables from this machine: apt-get install iptables")
