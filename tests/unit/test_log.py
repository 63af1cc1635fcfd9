"""A line of the log: what happened and when, and no byte that a terminal would obey."""

from __future__ import annotations

import errno
import io
import os
import re
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_boot import paths
from droplan_boot.host import log
from droplan_boot.host.files import Files
from droplan_boot.host.log import LogFile, Terminal


def test_a_line_looks_as_the_go_droplans_did() -> None:
    line = log.line("Added 2 peers to droplan-peers")
    assert re.fullmatch(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d Added 2 peers to droplan-peers\n", line)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\ntwo", "one\\ntwo"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\rb\tc", "a\\rb\\tc"),
        ("\x9b1m", "\\x9b1m"),
        ("\u202eevil", "\\u202eevil"),
        ("\udcff", "\\udcff"),
        ("grün", "grün"),
    ],
)
def test_control_characters_are_spelled_out(text: str, shown: str) -> None:
    assert log.line(text)[20:-1] == shown


@given(st.text())
def test_whatever_is_said_is_one_printable_line(text: str) -> None:
    line = log.line(text)
    assert line[:-1].isprintable()
    assert line.endswith("\n")
    line.encode()


def test_a_person_reads_what_was_done_on_stdout_and_what_went_wrong_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Terminal().say("done")
    Terminal().complain("wrong")
    out, err = capsys.readouterr()
    assert out.endswith(" done\n")
    assert err.endswith(" wrong\n")


class Full(io.StringIO):
    def flush(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


REFUSED = (
    "this would remove 3 of 5 peers from droplan-peers (web-41 10.132.1.41): see whether DO_TAG is what you mean, or "
    "run `sudo droplan refresh --force`"
)
WORD = f"DROPLAN_ALLOW={','.join(['tcp/22@10.132.0.9'] * 6)}"


def test_on_a_terminal_a_long_line_goes_on_below_its_words(monkeypatch: pytest.MonkeyPatch, utc: None) -> None:
    out, err = Screen(), Screen()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    Terminal().say("done")
    Terminal().say(f"put {WORD} before it")
    Terminal().complain(REFUSED)
    first, *lines = out.getvalue().splitlines()
    assert first.endswith(" done")
    assert [text[20:] for text in lines] == ["put", WORD, "before it"], "what is to be copied is in one piece"
    lines = err.getvalue().splitlines()
    assert len(lines) > 2
    assert " ".join(text[20:] for text in lines) == REFUSED
    assert max(map(len, lines)) <= 80
    assert {text[:20] for text in lines[1:]} == {" " * 20}
    assert any("`sudo droplan refresh --force`" in text for text in lines)


def test_a_pipe_gets_a_line_whatever_its_length(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().complain(REFUSED)
    assert capsys.readouterr().err[20:] == f"{REFUSED}\n"


def test_words_that_cannot_be_written_are_no_reason_to_stop_halfway(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, Full())
    Terminal().say("done")
    Terminal().complain("wrong")


class TestLogFile:
    def test_all_goes_to_the_log_and_nothing_to_cron(self, files: Files, capsys: pytest.CaptureFixture[str]) -> None:
        LogFile(files).say("done")
        LogFile(files).complain("wrong")
        lines = (files.read(paths.LOG) or b"").decode().splitlines()
        stamp = r" \[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}\]"
        assert [re.sub(stamp + "$", "", line[20:]) for line in lines] == ["done", "wrong"]
        assert all(re.search(stamp, line) for line in lines), "the time with its zone, for who is far away"
        assert capsys.readouterr() == ("", "")
        assert files.real(paths.LOG).stat().st_mode & 0o777 == 0o640

    def test_where_it_cannot_be_written_cron_sees_to_it(
        self, files: Files, capsys: pytest.CaptureFixture[str]
    ) -> None:
        files.real(paths.LOG).symlink_to("/etc/passwd")
        LogFile(files).say("done")
        assert "done (/var/log/droplan.log is a link" in capsys.readouterr().err

    def test_where_systemd_runs_the_journal_gets_the_same(self, files: Files) -> None:
        place = files.real(Path("/run/systemd/journal/socket"))
        place.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            here = Path.cwd()
            os.chdir(place.parent)  # the whole path may be too long for an address
            try:
                journal.bind("socket")
                log._tell_journal(Path("socket"), "it went\nwrong", 3)
            finally:
                os.chdir(here)
            assert journal.recv(4096) == b"MESSAGE=it went\\nwrong\nPRIORITY=3\nSYSLOG_IDENTIFIER=droplan\n"

    def test_it_is_kept_short(self, files: Files) -> None:
        for number in range(40):
            LogFile(files).say(f"{number} " + "x" * 50_000)
        data = files.read(paths.LOG) or b""
        assert len(data) < 1_200_000
        assert b" 39 " in data
        assert re.match(rb"\d{4}/", data), "it begins with a whole line"
