"""A newcomer's first five minutes: CONTRIBUTING.md's own commands, in a clone, by somebody who is not root."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bed.cache import CHECKOUT

PAGE = (CHECKOUT / "CONTRIBUTING.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$", PAGE, re.MULTILINE)
NOBODY = 65534
# pyenv's Pythons are in root's home, where nobody else may look: $1 is to be all that there is in $2.
SHOW = """
mount --bind "$1" /mnt
mount -t tmpfs -o mode=755 home "$2"
mkdir -p "$1"
mount --move /mnt "$1"
shift 2
exec "$@"
"""


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    """A clone that belongs to nobody, with what is not committed yet."""
    home = Path(tempfile.mkdtemp(prefix="newcomer-"))  # pytest's own folders let only root in
    place = home / "droplan"
    subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(place)], check=True)
    changed = ["git", "ls-files", "--modified", "--others", "--exclude-standard"]
    for name in subprocess.run(changed, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (CHECKOUT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, place / name)
    subprocess.run(["chown", "-R", str(NOBODY), str(home)], check=True)
    yield place
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def python() -> Path:
    """Where the newest Python at hand is: "script/test all" runs the unit tests on it here, and on the oldest."""
    found = runpy.run_path(str(CHECKOUT / "script" / "quick"))["interpreters"]()
    ask = [found[max(found)], "-c", "import sys; print(sys.base_prefix)"]
    return Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())


Typed = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def typed(clone: Path, python: Path) -> Typed:
    """Type a command as somebody who is not root, without this machine's cache."""
    rest = {name: value for name, value in os.environ.items() if name not in ("DROPLAN_CACHE", "VIRTUAL_ENV")}
    environment = {**rest, "HOME": str(clone.parent), "PATH": f"{python}/bin:/usr/bin:/bin"}
    somebody = ["setpriv", f"--reuid={NOBODY}", "--clear-groups"]
    home = Path.home()
    if python.is_relative_to(home):
        somebody = ["unshare", "--mount", "sh", "-ec", SHOW, "sh", str(python), str(home), *somebody]

    def run(command: str) -> subprocess.CompletedProcess[str]:
        words = [*somebody, "sh", "-c", command]
        return subprocess.run(
            words, cwd=clone, env=environment, capture_output=True, text=True, timeout=1500, check=False
        )

    return run


def test_its_commands_in_order_change_and_test_a_line(clone: Path, typed: Typed) -> None:
    check, nearest, lint, style = COMMANDS[1:5]
    assert check == "script/test lint types unit"
    done = typed(check)
    print(done.stdout, done.stderr)  # whole: no other part of "script/test all" runs these
    assert done.returncode == 0
    assert "3 passed" in done.stdout

    settings = clone / "droplan_boot" / "settings.py"
    settings.write_text(settings.read_text().replace("interval: int = 5", "interval: int =  6"))
    done = typed(nearest)
    assert done.returncode == 1, "the changed line is noticed by the tests nearest to it"
    assert "test_without_any_setting_the_defaults_hold" in done.stdout
    assert typed(lint).returncode == 1, "and its two blanks by lint"
    assert typed(style).returncode == 0
    assert typed(lint).returncode == 0


def test_with_an_environment_of_ones_own(clone: Path, typed: Typed) -> None:
    (install, run) = COMMANDS[5:7]
    assert install.endswith("install -e . --group dev")
    venv, _, pip = install.partition(" && ")
    newer = f"{venv} && venv/bin/pip install --quiet --upgrade pip && {pip}"
    assert (done := typed(newer)).returncode == 0, done.stderr[-3000:]
    subprocess.run(["git", "checkout", "--quiet", "droplan_boot"], cwd=clone, env=_safe(), check=True)
    assert (done := typed(run + " tests/unit/test_settings.py")).returncode == 0, done.stdout[-3000:]


def _safe() -> dict[str, str]:
    """Let git work, as root, in what belongs to nobody."""
    return {**os.environ, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}


def test_no_command_was_left_out_here() -> None:
    assert len(COMMANDS) == 7
    assert shlex.split(COMMANDS[0])[:2] == ["git", "clone"]
