"""The packages that an installation in the lab needs, so that its apt-get works without a network."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.bed.cache import locked

# What the tutorial has people install on Debian and Ubuntu.
WANTED = ("iptables-persistent", "cron")


def repository(name: str = "packages", wanted: Sequence[str] = WANTED) -> Path:
    """Return a folder with those packages that this machine lacks and an index of them, for ``deb file:… ./``.

    They are fetched once, by the machine's own apt, and kept in the cache.

    Args:
        name: the folder's name in the cache.
        wanted: the packages, by name; what they depend on comes along.
    """
    with locked(name) as folder:
        if not (folder / "Packages").exists():
            _download(folder, wanted)
            (folder / "Packages").write_text("\n".join(_entry(deb) for deb in sorted(folder.glob("*.deb"))))
        return folder


def _download(folder: Path, wanted: Sequence[str]) -> None:
    archives = folder / "archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    command = ["apt-get", "install", "--yes", "--no-install-recommends", "--download-only"]
    options = [
        "-o",
        f"Dir::Cache::archives={archives}",
        "-o",
        "APT::Keep-Downloaded-Packages=true",
        "-o",
        "DPkg::Lock::Timeout=300",
    ]
    try:
        _run([*command, *options, *wanted])
    except RuntimeError:
        _run(["apt-get", "update"])  # a fresh machine has no lists yet, an old one lists what is gone
        _run([*command, *options, *wanted])
    for deb in archives.glob("*.deb"):
        # apt writes a version's colon as %3a and would decode it again when it reads the index.
        shutil.move(str(deb), str(folder / deb.name.replace("%3a", "-")))
    shutil.rmtree(archives)


def _entry(deb: Path) -> str:
    content = deb.read_bytes()
    return (
        _run(["dpkg-deb", "--field", str(deb)])
        + f"Filename: ./{deb.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
    )


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
