"""A Droplet on which droplan has never run: a mount and network namespace with an empty /var/lib and /srv."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
SYSTEM_PYTHON = "/usr/bin/python3"
NOBODY = 65534
STATE = Path("/var/lib/droplan")
STORE = STATE / "zipapp"

# What root's programs of a fresh Droplet would find, and what a stranger may write to.
SETUP = """
set -e
mount -t tmpfs -o {options},mode=755 tmpfs /var/lib
mount -t tmpfs -o mode=755 tmpfs /srv
mount -t tmpfs -o mode=1777 tmpfs /tmp
echo ready
exec sleep infinity
"""


@dataclass(frozen=True)
class ZipappDroplet:
    """The namespaces of process ``pid``, with the zipapp under test at ``archive``."""

    pid: int
    archive: Path = Path("/srv/droplan.pyz")

    def real(self, path: Path) -> Path:
        """Where to find, from outside, what is at ``path`` inside."""
        return Path(f"/proc/{self.pid}/root") / path.relative_to("/")

    def command(
        self, *argv: str | Path, user: int = 0, env: Mapping[str, str] | None = None, cwd: str = "/"
    ) -> list[str]:
        """Make ``argv`` a command that runs inside, as ``user``, with only ``env`` as its environment."""
        inside = ["nsenter", "-t", str(self.pid), "--mount", "--net", f"--wd={self.real(Path(cwd))}"]
        if user:
            inside += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        variables = {"PATH": PATH, **(env or {})}
        return [*inside, "env", "-i", *(f"{k}={v}" for k, v in variables.items()), *map(str, argv)]

    def run(
        self, *argv: str | Path, user: int = 0, env: Mapping[str, str] | None = None, cwd: str = "/"
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end."""
        return subprocess.run(
            self.command(*argv, user=user, env=env, cwd=cwd), capture_output=True, text=True, timeout=120, check=False
        )

    def start(self, *argv: str, python: str = SYSTEM_PYTHON) -> subprocess.CompletedProcess[str]:
        """Start droplan as its installed copy does."""
        return self.run(python, "-IS", self.archive, *(argv or ("--version",)))

    def trees(self) -> list[Path]:
        """The unpacked trees, finished or not, as seen from outside."""
        store = self.real(STORE)
        return sorted(path for path in store.iterdir() if path.is_dir()) if store.is_dir() else []


@contextmanager
def fresh_droplet(pyz: Path, options: str = "rw") -> Iterator[ZipappDroplet]:
    """Make a Droplet with the zipapp on it, and take it down.

    Args:
        pyz: the zipapp.
        options: mount options of the file system on which /var/lib/droplan will be.
    """
    keeper = subprocess.Popen(
        ["unshare", "--mount", "--net", "--propagation=private", "sh", "-c", SETUP.format(options=options)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "ready\n", "the namespace could not be made"
        made = ZipappDroplet(keeper.pid)
        shutil.copyfile(pyz, made.real(made.archive))
        made.real(made.archive).chmod(0o755)
        yield made
    finally:
        keeper.kill()
        keeper.communicate()


def interpreters() -> list[str]:
    """The Pythons at hand that droplan runs on: the system's, those on PATH, and pyenv's; one of each version."""
    candidates = [SYSTEM_PYTHON, *(shutil.which(f"python3.{minor}") or "" for minor in range(9, 30))]
    root = os.environ.get("PYENV_ROOT", "")
    if not root and shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout.strip()
    if root:
        candidates += [str(path) for path in Path(root).glob("versions/*/bin/python3")]
    found: dict[str, str] = {}
    ask = "import sys; print(*sys.version_info[:2]) if sys.version_info >= (3, 9) else exit(1)"
    for python in filter(None, candidates):
        answer = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
        if answer.returncode == 0:  # a pyenv shim of a version that is not active fails
            found.setdefault(answer.stdout.strip(), python)
    return list(found.values()) or [sys.executable]
