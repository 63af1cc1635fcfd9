"""A place to run stage-0 for real: a mount namespace whose /opt, and if need be /usr/bin, belong to the test."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bed.cache import CHECKOUT

BOOTSTRAP = CHECKOUT / "cloud-init" / "bootstrap.py"
SYSTEM_PYTHON = "/usr/bin/python3"

# Runs before stage-0 by way of PYTHONPATH, which stage-0 drops: waits are written down, not waited for.
WITHOUT_WAITING = """\
import os, time

def sleep(seconds):
    with open(os.environ["WAITS"], "a") as waits:
        waits.write("%s\\n" % seconds)

time.sleep = sleep
"""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        return self.stderr.splitlines()[-1] if self.stderr else ""

    @property
    def installed(self) -> dict[str, Any]:
        """What the stand-in for droplan.pyz saw; see `conftest.RECORDER`."""
        assert self.code == 0, self.stderr
        result: dict[str, Any] = json.loads(self.stdout)
        return result


class Stage0Droplet:
    """A Droplet's file system as stage-0 sees it. The machine's own /opt/droplan is never touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opt = folder / "opt"
        self.opt.mkdir(mode=0o755)
        self.directory = self.opt / "droplan"
        self.pyz = self.directory / "droplan.pyz.download"
        self.waits = folder / "waits"
        self.mounts = [f"mount --bind {shlex.quote(str(self.opt))} /opt"]
        customise = folder / "sitecustomize"
        customise.mkdir()
        (customise / "sitecustomize.py").write_text(WITHOUT_WAITING)
        self.python_path = str(customise)

    @property
    def waited(self) -> list[int]:
        return [int(line) for line in self.waits.read_text().split()] if self.waits.exists() else []

    @property
    def left_behind(self) -> list[str]:
        """What lies in /opt/droplan, but for the lock."""
        if not self.directory.exists():
            return []
        return sorted(path.name for path in self.directory.iterdir() if path.name != ".bootstrap.lock")

    def give(self, size: str) -> None:
        """Make /opt/droplan a disk of this size."""
        self.mounts.append(f"mkdir -p /opt/droplan; mount -t tmpfs -o size={size},mode=0755 tmpfs /opt/droplan")

    def take_python_away(self) -> str:
        """Leave no Python, dnf, yum or apt-get on the PATH, and return a Python that stage-0 can be run with.

        That Python is one that stage-0 must not choose: its directory is open to all.
        """
        open_to_all = self.folder / "open-to-all"
        (open_to_all / "bin").mkdir(parents=True)
        open_to_all.chmod(0o777)
        self.commands = self.folder / "commands"
        self.commands.mkdir()
        hidden = ("python", "pypy", "platform-python", "dnf", "yum", "apt")
        for path in Path("/usr/bin").iterdir():
            if not path.name.startswith(hidden):
                (self.commands / path.name).symlink_to(open_to_all / "bin" / path.name)
        self.mounts += [
            f"mount --bind /usr/bin {open_to_all}/bin",
            f"mount --bind {self.commands} /usr/bin",
        ]
        return f"{open_to_all}/bin/{Path(SYSTEM_PYTHON).name}"

    def add_command(self, name: str, script: str) -> None:
        """Put a shell script on the PATH."""
        path = self.commands / name
        path.write_text(f"#!/bin/sh\n{script}")
        path.chmod(0o755)

    def start(
        self,
        python: str,
        *arguments: str,
        environment: dict[str, str] | None = None,
        wait: bool = False,
        script: bytes | None = None,
    ) -> subprocess.Popen[str]:
        """Pipe stage-0 into a Python. Its process is the one returned, so that a test can kill it.

        Args:
            environment: variables to add. The test's certificates and PYTHONPATH are among those that are there.
            wait: whether waits are waited for.
            script: what to run in place of stage-0.
        """
        variables = {"PATH": os.environ["PATH"], "WAITS": str(self.waits), **(environment or {})}
        if not wait:
            variables["PYTHONPATH"] = self.python_path
        piped = self.folder / "piped"
        if script is not None:
            piped.write_bytes(script)
        else:
            shutil.copyfile(BOOTSTRAP, piped)
        command = "; ".join(["set -e", *self.mounts, 'exec "$0" - "$@"'])
        with piped.open() as stdin:
            return subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", command, python, *arguments],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=variables,
                text=True,
                # A shell's background job ignores it, and so would all that comes from it.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def run(
        self,
        python: str,
        *arguments: str,
        environment: dict[str, str] | None = None,
        wait: bool = False,
        script: bytes | None = None,
    ) -> Outcome:
        """Run stage-0 to its end; the arguments are those of `start`."""
        return finish(self.start(python, *arguments, environment=environment, wait=wait, script=script))


def finish(process: subprocess.Popen[str]) -> Outcome:
    stdout, stderr = process.communicate(timeout=120)
    return Outcome(process.returncode, stdout, stderr)
