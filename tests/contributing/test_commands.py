"""A newcomer's first five minutes: CONTRIBUTING.md's own commands, in a clone, by somebody who is not root."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed.cache import CHECKOUT

PAGE = (CHECKOUT / "CONTRIBUTING.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$", PAGE, re.MULTILINE)
NOBODY = 65534


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


def typed(clone: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Type a command as somebody who is not root, without this machine's cache."""
    rest = {name: value for name, value in os.environ.items() if name not in ("DROPLAN_CACHE", "VIRTUAL_ENV")}
    environment = {**rest, "HOME": str(clone.parent), "PATH": f"{Path(_python()).parent}:/usr/bin:/bin"}
    words = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", "sh", "-c", command]
    return subprocess.run(
        words, cwd=clone, env=environment, capture_output=True, text=True, timeout=1500, check=False
    )


def _python() -> str:
    """The Python that a newcomer has: any from 3.10 on that nobody, too, may run."""
    return shutil.which("python3", path="/usr/bin:/usr/local/bin") or "python3"


def test_its_commands_in_order_change_and_test_a_line(clone: Path) -> None:
    check, nearest, lint, style = COMMANDS[1:5]
    assert check == "script/test lint types unit"
    done = typed(clone, check)
    print(done.stdout, done.stderr)  # whole: no other part of "script/test all" runs these
    assert done.returncode == 0
    assert "3 passed" in done.stdout

    settings = clone / "droplan_boot" / "settings.py"
    settings.write_text(settings.read_text().replace("interval: int = 5", "interval: int =  6"))
    done = typed(clone, nearest)
    assert done.returncode == 1, "the changed line is noticed by the tests nearest to it"
    assert "test_without_any_setting_the_defaults_hold" in done.stdout
    assert typed(clone, lint).returncode == 1, "and its two blanks by lint"
    assert typed(clone, style).returncode == 0
    assert typed(clone, lint).returncode == 0


def test_with_an_environment_of_ones_own(clone: Path) -> None:
    (install, run) = COMMANDS[5:7]
    assert install.endswith("install -e . --group dev")
    venv, _, pip = install.partition(" && ")
    newer = f"{venv} && venv/bin/pip install --quiet --upgrade pip && {pip}"
    assert (done := typed(clone, newer)).returncode == 0, done.stderr[-3000:]
    subprocess.run(["git", "checkout", "--quiet", "droplan_boot"], cwd=clone, env=_safe(), check=True)
    assert (done := typed(clone, run + " tests/unit/test_settings.py")).returncode == 0, done.stdout[-3000:]


def _safe() -> dict[str, str]:
    """Let git work, as root, in what belongs to nobody."""
    return {**os.environ, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}


def test_no_command_was_left_out_here() -> None:
    assert len(COMMANDS) == 7
    assert shlex.split(COMMANDS[0])[:2] == ["git", "clone"]
