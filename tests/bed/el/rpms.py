"""The repositories: packages with the right names, files and units, built by rpmbuild and createrepo_c.

Most hold a few lines for a program. firewalld is the program itself, as Debian packages it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bed import packages
from tests.bed.cache import locked

TREES = Path(__file__).parent / "rpm"
KERNELS = ("6.12.0-55.el10", "6.12.0-60.el10")
"""The kernel that runs in the Droplet, and the one that an update brings."""

# polkit, which firewalld's Debian package brings where the machine has none: it would want a user of its own. Without
# it firewalld obeys root and nobody else, as on a minimal installation.
POLKIT = "usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service"
# What nothing here reads, or Enterprise Linux does not have.
_LEFT_OUT = ("etc/init.d", "etc/default", "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian")


@dataclass(frozen=True)
class StandIn:
    """A package.

    Args:
        name: its name, version and release, as RPM writes them.
        tree: the folder of ``rpm/`` that holds its files; "" for none.
        provides: capabilities besides its name.
        noarch: whether it is for every architecture; its name ends in the machine's otherwise.
        debian: the Debian package whose files it holds, below those of its tree, with those of all that it needs.
    """

    name: str
    tree: str = ""
    provides: str = ""
    noarch: bool = True
    debian: str = ""


_IPTABLES_SERVICES = StandIn("iptables-services-1.8.5-11", "iptables-services")
_NFT_SERVICES = StandIn("iptables-nft-services-1.8.10-11", "iptables-services", "iptables-services = 1.8.10-11")
_CRONIE = StandIn("cronie-1.5.7-1", "cronie")
_FIREWALLD = StandIn("firewalld-1.3.3-1", noarch=False, debian="firewalld")
_NFTABLES = StandIn("nftables-1.0.9-3")  # its program is Debian's own, which is there
_PYTHON = StandIn("python3.12-3.12.9-1", "python3.12")
_EXTRA = tuple(
    StandIn(f"kernel-modules-extra-{kernel}", f"kernel-modules-extra/{kernel}", noarch=False) for kernel in KERNELS
)

REPOSITORIES: dict[str, tuple[StandIn, ...]] = {
    "centos-7": (
        StandIn("iptables-services-1.4.21-35", "iptables-services"),
        _CRONIE,
        StandIn("firewalld-0.6.3-13", "firewalld-iptables", noarch=False, debian="firewalld"),
    ),
    "almalinux-8": (_IPTABLES_SERVICES, _CRONIE, _NFTABLES, _FIREWALLD, _PYTHON),
    "almalinux-9": (_NFT_SERVICES, _CRONIE, _NFTABLES, _FIREWALLD, _PYTHON),
    "almalinux-10": (_NFT_SERVICES, _CRONIE, _NFTABLES, _FIREWALLD),
    "fedora-42": (StandIn("iptables-services-1.8.11-4", "iptables-services"), _CRONIE, _NFTABLES, _FIREWALLD),
    "no-loader": (StandIn("iptables-1.8.11-4"), _CRONIE, _NFTABLES, _FIREWALLD),
    "kernel-that-runs": (_NFT_SERVICES, _CRONIE, _NFTABLES, *_EXTRA),
    "next-kernel-only": (_NFT_SERVICES, _CRONIE, _NFTABLES, _EXTRA[1]),
}


def repository(name: str) -> Path:
    """Return a folder with the packages of REPOSITORIES[name] and an index of them; it is made once, and cached."""
    with locked(f"el-{_fingerprint()}") as folder:
        made = folder / name
        if not made.exists():
            unfinished = folder / f"{name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            for package in REPOSITORIES[name]:
                _build(package, unfinished)
            _run(["createrepo_c", "--quiet", str(unfinished)])
            unfinished.rename(made)
        return made


def _fingerprint() -> str:
    """Tell this state of the packages' sources from every other, so that the cache never serves an old one."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(TREES.rglob("*")):
        digest.update(str(path.relative_to(TREES)).encode())
        digest.update(
            str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        )
    return digest.hexdigest()[:12]


def _build(package: StandIn, folder: Path) -> None:
    work = folder / "work"
    tree = work / "tree"
    tree.mkdir(parents=True)
    _fill(tree, package)
    name, version, release = package.name.rsplit("-", 2)
    (work / "package.spec").write_text(
        f"Name: {name}\nVersion: {version}\nRelease: {release}\nSummary: Stands in for {name}\nLicense: MIT\n"
        + (f"Provides: {package.provides}\n" if package.provides else "")
        + ("BuildArch: noarch\n" if package.noarch else "")
        + "AutoReqProv: no\n%description\nA stand-in for droplan's tests.\n"
        + f"%install\ncp -a {tree}/. %{{buildroot}}\n%files\n"
        + "".join(f"{line}\n" for line in _files(tree))
    )
    # Nothing is to be stripped, compressed or rewritten: the files are put in place as they lie here.
    defines = {
        "_topdir": str(work),
        "_rpmdir": str(folder),
        "_build_name_fmt": "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm",
    }
    options = [word for key, value in defines.items() for word in ("--define", f"{key} {value}")]
    options += ["--define", "__os_install_post %{nil}", "--define", "_build_id_links none"]
    _run(
        [
            "rpmbuild",
            "-bb",
            "--quiet",
            "--nodeps",
            *options,
            "--target",
            platform.machine(),
            str(work / "package.spec"),
        ]
    )
    shutil.rmtree(work)


def _fill(tree: Path, package: StandIn) -> None:
    """Put together what a package holds: Debian's files, where Enterprise Linux has them, and ours over them."""
    if package.debian:
        for deb in sorted(packages.repository(f"el-{package.debian}", (package.debian,)).glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(deb), str(tree)])
        for name in _LEFT_OUT:
            shutil.rmtree(tree / name, ignore_errors=True)
        (tree / POLKIT).unlink(missing_ok=True)
        if (tree / "lib").is_dir():
            shutil.copytree(tree / "lib", tree / "usr/lib", symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(tree / "lib")
    if package.tree:
        shutil.copytree(TREES / package.tree, tree, symlinks=True, dirs_exist_ok=True)


def _files(tree: Path) -> Iterator[str]:
    for path in sorted(tree.rglob("*")):
        place = f"/{path.relative_to(tree)}"
        if path.is_symlink():
            yield place
        elif path.is_file() and place.startswith("/etc/sysconfig/"):
            yield f"%config(noreplace) %attr(0600,root,root) {place}"
        elif path.is_file():
            yield f"%attr({'0755' if os.access(path, os.X_OK) else '0644'},root,root) {place}"
        elif not any(path.iterdir()):
            yield f"%dir {place}"


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
