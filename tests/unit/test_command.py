"""Running commands: without a shell, without our environment, and never for ever."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from droplan_boot.errors import CommandError
from droplan_boot.host import command
from droplan_boot.host.command import Commands, Completed


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_it_returns_how_a_command_ended() -> None:
    done = Commands().run(["sh", "-c", "cat; echo oops >&2; exit 3"], stdin="in", check=False)
    assert (done.status, done.stdout, done.stderr) == (3, "in", "oops\n")


def test_what_is_in_our_environment_is_not_in_a_childs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DO_KEY", "LD_PRELOAD", "PYTHONPATH", "IFS"):
        monkeypatch.setenv(name, "secret" if name == "DO_KEY" else "")
    shown = Commands().run(["env"], environment={"DEBIAN_FRONTEND": "noninteractive"}).stdout
    assert {line.split("=")[0] for line in shown.splitlines()} == {"PATH", "LC_ALL", "HOME", "DEBIAN_FRONTEND"}
    assert "secret" not in shown


def test_nothing_is_a_shell_line() -> None:
    assert Commands().run(["echo", "$(id); `id` > /dev/null"]).stdout == "$(id); `id` > /dev/null\n"


def test_a_failure_shows_command_status_and_last_words() -> None:
    with pytest.raises(CommandError) as caught:
        Commands().run(["sh", "-c", "printf '1\\n2\\n3\\n4\\n' >&2; exit 4"])
    assert str(caught.value).endswith("ended with status 4: 2 / 3 / 4")


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (Completed(("a", "b c"), 1, "", ""), "`a 'b c'` ended with status 1: it said nothing"),
        (Completed(("a",), 2, "out\n", ""), "`a` ended with status 2: out"),
        (Completed(("a",), -9, "out", "err"), "`a` ended with status -9: err"),
    ],
)
def test_a_complaint_is_one_line(done: Completed, words: str) -> None:
    assert done.complaint() == words


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["no-such-command-here"], "`no-such-command-here` is missing: run `droplan install`"),
        (["/etc/passwd"], "`/etc/passwd` cannot be run: Permission denied"),
        (["sleep", "60"], "`sleep 60` had not ended after 0 s and was stopped"),
    ],
)
def test_what_cannot_be_run_is_told(argv: list[str], words: str) -> None:
    with pytest.raises(CommandError) as caught:
        Commands().run(argv, timeout=0.2)
    assert words in str(caught.value)


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert Commands().run(python(r"import os; os.write(1, b'\xff\n')")).stdout == "\ufffd\n"


def test_commands_are_found_where_children_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "iptables").mkdir()
    (tmp_path / "b" / "iptables").touch()
    monkeypatch.setattr(command, "SEARCH_PATH", f"{tmp_path}/a:{tmp_path}/b")
    monkeypatch.setenv("PATH", os.devnull)
    assert Commands().which("iptables") == tmp_path / "b" / "iptables"
    assert Commands().which("nft") is None
