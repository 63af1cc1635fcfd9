"""The command line: arguments in, exit code out, and a sentence instead of a traceback."""

from __future__ import annotations

import importlib
import os
import re
import resource
import sys

import pytest

from droplan_boot import __version__, cli, errors, paths
from droplan_boot.host.files import Files

VERBS = ("refresh", "install", "status", "restore", "uninstall")


@pytest.fixture(autouse=True)
def doors(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shut the doors of this machine, and put what the command line changes in this process back."""
    monkeypatch.setattr("droplan_boot.host.files.Files", lambda: files)
    monkeypatch.setattr(resource, "setrlimit", lambda *args: None)
    for name in (*os.environ,):
        if name.startswith(("DROPLAN_", "DO_", "DIGITALOCEAN_")):
            monkeypatch.delenv(name)


def droplan(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["droplan", *arguments])
    before = os.umask(0o022)
    try:
        return cli.main()
    finally:
        os.umask(before)


def subclasses(kind: type[errors.DroplanError]) -> set[type[errors.DroplanError]]:
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(subclasses(errors.DroplanError), key=str))
@pytest.mark.parametrize("verb", VERBS)
def test_every_error_is_one_sentence_on_stderr_and_its_exit_code(
    verb: str,
    kind: type[errors.DroplanError],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(*args: object, **kwargs: object) -> int:
        raise kind("it went wrong: do this\nnext")

    monkeypatch.setattr(importlib.import_module(f"droplan_boot.verbs.{verb}"), "run", fails)
    assert droplan(monkeypatch, verb) == kind.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"\S+ \S+ {verb}: it went wrong: do this\\nnext(: the rules stay as they are)?\n", err)


def test_the_exit_codes_are_the_ones_that_are_documented() -> None:
    assert {kind.__name__: kind.exit_code for kind in subclasses(errors.DroplanError) if kind.exit_code != 1} == {
        "UsageError": 2,
        "RefusedError": 4,
    }
    assert (errors.EXIT_DONE, errors.EXIT_DRIFT) == (0, 3)


@pytest.mark.parametrize("verb", VERBS)
def test_who_is_not_root_is_told_so(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert droplan(monkeypatch, verb) == 1
    assert capsys.readouterr().err.endswith(f" {verb}: droplan must run as root: put `sudo` in front\n")


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        ([], ("refresh", {})),
        (["refresh"], ("refresh", {})),
        (["install"], ("install", {"dry_run": False})),
        (["install", "--dry-run"], ("install", {"dry_run": True})),
        (["status"], ("status", {"as_json": False})),
        (["status", "--json"], ("status", {"as_json": True})),
        (["restore"], ("restore", {})),
        (["uninstall"], ("uninstall", {})),
    ],
)
def test_a_verb_does_what_it_says_and_none_means_refresh(
    arguments: list[str], called: tuple[str, dict[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    for verb in VERBS:

        def runs(host: object, verb: str = verb, **kwargs: bool) -> int:
            calls.append((verb, kwargs))
            return 3 if verb == "status" else 0

        monkeypatch.setattr(importlib.import_module(f"droplan_boot.verbs.{verb}"), "run", runs)
    assert droplan(monkeypatch, *arguments) == (3 if called[0] == "status" else 0)
    assert calls == [called]


@pytest.mark.parametrize(
    "arguments",
    [
        ["reboot"],
        ["--force"],
        ["install", "--dry"],
        ["status", "extra"],
        ["restore", "--json"],
        ["--verbose"],
        [""],
        ["--"],
    ],
)
def test_a_command_line_that_means_nothing_is_refused(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        droplan(monkeypatch, *arguments)
    assert caught.value.code == 2
    assert "droplan: error: " in capsys.readouterr().err or "usage: droplan" in capsys.readouterr().err


def test_the_version_is_told_without_loading_anything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_parse", lambda arguments: pytest.fail("it need not be parsed"))
    assert droplan(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"droplan {__version__}\n"


def test_help_names_every_verb_and_not_what_only_cron_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        droplan(monkeypatch, "--help")
    shown = capsys.readouterr().out
    assert caught.value.code == 0
    assert all(verb in shown for verb in VERBS)
    assert "--scheduled" not in shown


def test_what_cron_runs_goes_to_the_log_so_that_cron_mails_nothing(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert droplan(monkeypatch, "refresh", "--scheduled") == 1
    assert capsys.readouterr() == ("", "")
    assert b"refresh: droplan must run as root" in (files.read(paths.LOG) or b"")


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(host: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("droplan_boot.verbs.refresh.run", interrupted)
    assert droplan(monkeypatch) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("verb", [verb for verb in VERBS[:4] if verb != "restore"])
def test_an_unknown_setting_is_a_mistake_of_usage(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DROPLAN_SCOP", "vpc")
    assert droplan(monkeypatch, verb) == 2
    assert "unknown setting DROPLAN_SCOP: did you mean DROPLAN_SCOPE?" in capsys.readouterr().err
