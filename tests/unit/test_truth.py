"""Every scheduled run that ended badly says so in report and log, whatever the reason."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from droplan_boot import cli, paths
from droplan_boot.errors import CommandError, DroplanError, FirewallError, LockedError, UsageError, said
from droplan_boot.host.agents import users
from droplan_boot.host.files import Files
from droplan_boot.host.log import LogFile, Terminal
from droplan_boot.state import report
from droplan_boot.state.report import Report
from tests.bed.memory.doors import FakeCommands, ended

SECRET = "dop_v1_" + "5ec2e7" * 10
OK = Report(1.0, "ok", 0.5, 2, False, "iptables-nft", succeeded=1.0)


@pytest.fixture(autouse=True)
def doors(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shut the doors of this machine."""
    monkeypatch.setattr("droplan_boot.host.files.Files", lambda: files)
    monkeypatch.setattr("resource.setrlimit", lambda *args: None)
    monkeypatch.setenv("DO_KEY", SECRET)
    report.store(files, OK)


def scheduled(monkeypatch: pytest.MonkeyPatch, error: BaseException, *words: str) -> int:
    """Have the schedule's refresh end with an error; return its exit code."""

    def fails(*args: object, **kwargs: object) -> int:
        raise error

    monkeypatch.setattr(importlib.import_module("droplan_boot.verbs.refresh"), "run", fails)
    monkeypatch.setattr(sys, "argv", ["droplan", *(words or ("refresh", "--scheduled"))])
    before = os.umask(0o022)
    try:
        return cli.main()
    finally:
        os.umask(before)


def log(files: Files) -> str:
    return (files.read(paths.LOG) or b"").decode()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DroplanError("the disk is full"), 1),
        (UsageError("DROPLAN_SCOP: did you mean DROPLAN_SCOPE?"), 2),
        (LockedError("another droplan holds the lock"), 1),
        (ZeroDivisionError("division by zero"), 1),
        (MemoryError(), 1),
        (RecursionError("maximum recursion depth exceeded"), 1),
        (ImportError("no module named requests"), 1),
    ],
)
def test_a_scheduled_run_that_ends_badly_is_failed_in_report_and_log(
    error: Exception, code: int, files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scheduled(monkeypatch, error) == code
    found = report.load(files)
    assert found
    assert (found.result, found.backend, found.succeeded) == ("failed", "iptables-nft", 1.0)
    assert str(error) in (found.error or "")
    assert f" refresh: {found.error}" in log(files)
    assert capsys.readouterr() == ("", "")  # cron would mail it


def test_what_nobody_thought_of_is_kept_with_where_it_happened_and_without_the_token(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduled(monkeypatch, ValueError(f"Invalid header {SECRET}, or dop_v1_{'0' * 64}"))
    found = report.load(files)
    assert found
    assert "a mistake in droplan (ValueError: Invalid header (token), or (token))" in (found.error or "")
    assert "Traceback (most recent call last):" in log(files)
    assert "in fails" in log(files)
    assert SECRET not in log(files)


def test_words_of_the_schedule_that_nobody_understands_are_told_too(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        scheduled(monkeypatch, ZeroDivisionError(), "refresh", "--scheduled", "--quick")
    found = report.load(files)
    assert found
    assert (found.result, "--quick" in (found.error or "")) == ("failed", True)
    assert "run `droplan install`" in log(files)


def test_a_run_that_has_written_its_report_is_not_reported_twice(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = replace(OK, time=4e9, result="failed", duration=12.5, error="the disk is full")
    report.store(files, mine)
    scheduled(monkeypatch, DroplanError("the disk is full"))
    assert report.load(files) == mine


def test_a_persons_own_run_leaves_the_schedules_report_alone(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    scheduled(monkeypatch, ZeroDivisionError("x"), "refresh")
    assert report.load(files) == OK
    assert "a mistake in droplan (ZeroDivisionError: x)" in capsys.readouterr().err


def test_the_log_keeps_all_that_a_failed_command_said_and_the_sentence_its_end(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = FakeCommands()
    lines = [f"line {number} of iptables-restore" for number in range(40)]
    commands.knows("iptables-restore", ended(("iptables-restore",), 2, stderr="\n".join(lines)))
    failure = FirewallError("not yet")
    try:
        try:
            commands.run(["iptables-restore"])
        except CommandError as error:
            raise FirewallError(f"the rules were not written: {error}") from None
    except FirewallError as error:
        failure = error
    assert said(failure) == tuple(lines)
    scheduled(monkeypatch, failure)
    assert all(f"  {line} [" in log(files) for line in lines)
    assert "line 39" in str(failure)
    assert "line 0 " not in str(failure)


def test_details_are_for_the_log_and_not_for_terminals(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().detail("all of it")
    LogFile(files).detail("all of it")
    assert capsys.readouterr() == ("", "")
    assert "all of it" in log(files)


def test_a_terminal_that_knows_only_ascii_is_no_reason_to_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "argv", ["droplan", "status"])

        def tells(*args: object, **kwargs: object) -> int:
            print("Tür-1 \u4e2d", file=stream)
            return 0

        monkeypatch.setattr(importlib.import_module("droplan_boot.verbs.status"), "run", tells)
        assert cli.main() == 0
    assert (tmp_path / "out").read_text() == "T\\xfcr-1 \\u4e2d\n"


PASSWD = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\ndo-agent:x:998:998::/:/bin/false\n"


@pytest.mark.parametrize(
    ("units", "passwd", "found"),
    [
        ({}, "root:x:0:0::/root:/bin/sh\n", ()),
        ({}, PASSWD, (998,)),
        ({"/usr/lib/systemd/system/do-agent.service": "[Service]\nUser=do-agent\n"}, PASSWD, (998,)),
        ({"/usr/lib/systemd/system/do-agent.service": "[Service]\nUser = nobody\n"}, PASSWD, (65534,)),
        (
            {
                "/usr/lib/systemd/system/do-agent.service": "[Service]\nUser=do-agent\n",
                "/etc/systemd/system/do-agent.service": "[Service]\nUser=nobody\n",
            },
            PASSWD,
            (65534,),
        ),
        ({"/etc/systemd/system/do-agent.service": "[Service]\nExecStart=/x\n"}, PASSWD, ()),  # as root
        ({"/etc/systemd/system/do-agent.service": "[Service]\nUser=gone\n"}, PASSWD, ()),
        ({"/etc/systemd/system/droplet-agent.service": "[Service]\nUser=nobody\n"}, PASSWD, (998, 65534)),
    ],
)
def test_digitaloceans_agents_are_found_by_what_is_installed(
    units: dict[str, str], passwd: str, found: tuple[int, ...], files: Files
) -> None:
    files.write(Path("/etc/passwd"), passwd.encode(), 0o644)
    for path, text in units.items():
        files.write(Path(path), text.encode(), 0o644)
    assert users(files) == found
