"""The real cloud-init, from Debian's packages: unpacked, as its services have no business on this machine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.bed import cache

# Debian's packages are for Debian's Python.
PYTHON = "/usr/bin/python3"


def modules() -> Path:
    """Return the folder for PYTHONPATH, after having downloaded what is missing.

    Raises:
        subprocess.CalledProcessError: apt could not download it.
    """
    with cache.locked("cloud-init") as folder:
        unpacked = folder / "unpacked"
        if not unpacked.exists():
            simulated = _output(folder, "apt-get", "-s", "--no-install-recommends", "install", "cloud-init")
            names = [line.split()[1] for line in simulated.splitlines() if line.startswith("Inst ")]
            wanted = {name for name in names if name.startswith("python3-")} | {"cloud-init"}
            _output(folder, "apt-get", "-o", "APT::Sandbox::User=root", "download", *sorted(wanted))
            for package in folder.glob("*.deb"):
                _output(folder, "dpkg-deb", "-x", str(package), str(folder / "unpacking"))
            (folder / "unpacking").rename(unpacked)
    return unpacked / "usr" / "lib" / "python3" / "dist-packages"


def schema(config: Path) -> subprocess.CompletedProcess[str]:
    """Run ``cloud-init schema --config-file`` on a cloud-config."""
    return _run("-m", "cloudinit.cmd.main", "schema", "--config-file", str(config))


def consume(folder: Path, user_data: str) -> dict[str, Any]:
    """Return what cloud-init makes of user data: its merged ``config`` and its ``scripts`` by name."""
    done = _run(str(Path(__file__).with_name("consume_user_data.py")), str(folder), text=user_data)
    assert done.returncode == 0, done.stdout
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _run(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PYTHON, *arguments],
        env={**os.environ, "PYTHONPATH": str(modules())},
        input=text,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def _output(folder: Path, *command: str) -> str:
    return subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, check=True).stdout
