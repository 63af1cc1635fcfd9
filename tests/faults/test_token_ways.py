"""The ways to hand over the token that we recommend leave it in no log and no process list; sudo's log is judge."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed import Lab
from tests.bed.program import DOWNLOADED, LOG, PROGRAM, SETTINGS, Program

CHECKOUT = Path(__file__).parents[2]
SUDO_LOG = "/var/log/sudo.log"
TEXTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "cloud-init/*", "terraform/**/*", "ansible/**/*", "droplan_boot/**/*.py")
    for path in CHECKOUT.glob(pattern)
    if path.is_file() and path.suffix in (".md", ".py", ".sh", ".in", ".yaml", ".tf", ".yml")
)
# A token in the arguments of a command: `sudo DO_KEY=...`, `env DO_KEY=... droplan`, `--token dop_v1_...`.
LEAKS = re.compile(
    r"\b(?:sudo|env)\b[^\n|;&`]*\b(?:DO_KEY|DIGITALOCEAN_(?:ACCESS_)?TOKEN)=|--token[ =](?:dop_|\$)|-e DO_KEY="
)


@pytest.fixture(scope="module")
def logged() -> Iterator[Program]:
    """A Droplet whose sudo writes down every command."""
    with Lab() as lab:
        program = Program(lab)
        sudoers = lab.droplet.path("/etc/sudoers.d/log")
        sudoers.write_text(f"Defaults logfile={SUDO_LOG}\n")
        sudoers.chmod(0o440)
        token = lab.droplet.path("/root/token")
        token.touch(0o600)
        token.write_text(lab.token)
        yield program


def sudo(program: Program, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return program.droplet.run(["sudo", *words], input=stdin, check=False, timeout=200)


@pytest.mark.parametrize("way", ["a file", "stdin", "another token by stdin"])
def test_sudo_writes_down_the_command_and_not_the_token(way: str, logged: Program) -> None:
    token = logged.lab.token
    if way == "a file":
        done = sudo(logged, "/usr/bin/python3", DOWNLOADED, "install", "--token-file", "/root/token")
    elif way == "stdin":
        done = sudo(logged, "/usr/bin/python3", DOWNLOADED, "install", "--token-file", "-", stdin=token)
    else:
        done = sudo(logged, PROGRAM, "token", "--token-file", "-", stdin=token)
    assert done.returncode == 0, done.stdout + done.stderr
    log = logged.read(SUDO_LOG)
    assert "--token-file" in log, "sudo wrote it down"
    assert token not in log
    assert token not in logged.read(LOG)
    assert f"DO_KEY={token}\n" in logged.read(SETTINGS)


def test_the_way_that_we_do_not_recommend_would_have_shown_it(logged: Program) -> None:
    sudo(logged, f"DO_KEY={logged.lab.token}", PROGRAM, "--version")
    found = logged.lab.token in logged.read(SUDO_LOG)
    logged.droplet.path(SUDO_LOG).unlink()
    assert found


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_no_text_of_ours_recommends_a_command_that_shows_the_token(path: Path) -> None:
    assert [line for line in path.read_text(errors="replace").splitlines() if LEAKS.search(line)] == []


@pytest.mark.parametrize(
    "line", ["sudo DO_KEY=dop_v1_... python3 droplan.pyz install", "sudo -E env DO_KEY=$T droplan", "--token $TOKEN"]
)
def test_a_text_that_did_would_be_found(line: str) -> None:
    assert LEAKS.search(line)
