"""The command line: arguments in, exit code out, and a sentence instead of a traceback."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import resource
import sys
from collections.abc import Iterator

import pytest

from droplan_boot import __version__, cli, commands, errors, paths
from droplan_boot.commands import COMMANDS, Command
from droplan_boot.host.doors import Host
from droplan_boot.host.files import Files

VERBS = tuple(command.name for command in COMMANDS)
NEED_ROOT = tuple(verb for verb in VERBS if verb not in ("check", "metrics", "publish", "fleet", "poll"))
ARGUMENTS = {"explain": ("10.132.0.7",)}
REFRESH = {"dry_run": False, "asked": False}
SAFE = {"dry_run": False}
INSTALL = {"dry_run": False, "token_file": None}


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
    assert droplan(monkeypatch, verb, *ARGUMENTS.get(verb, ())) == kind.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"\S+ \S+ {verb}: it went wrong: do this\\nnext(: the rules stay as they are)?\n", err)


def test_the_exit_codes_are_the_ones_that_are_documented() -> None:
    assert {kind.__name__: kind.exit_code for kind in subclasses(errors.DroplanError) if kind.exit_code != 1} == {
        "UsageError": 2,
        "RefusedError": 4,
    }
    assert (errors.EXIT_DONE, errors.EXIT_DRIFT) == (0, 3)


@pytest.mark.parametrize("verb", NEED_ROOT)
def test_who_is_not_root_is_told_so(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert droplan(monkeypatch, verb, *ARGUMENTS.get(verb, ())) == 1
    assert capsys.readouterr().err.endswith(f" {verb}: droplan must run as root: put `sudo` in front\n")


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        ([], ("refresh", REFRESH)),
        (["refresh"], ("refresh", REFRESH)),
        (["refresh", "--scheduled", "--asked"], ("refresh", {**REFRESH, "asked": True})),
        (["refresh", "--dry-run"], ("refresh", {**REFRESH, "dry_run": True})),
        (["install"], ("install", INSTALL)),
        (["install", "--dry-run"], ("install", {**INSTALL, "dry_run": True})),
        (["install", "--token-file", "-"], ("install", {**INSTALL, "token_file": "-"})),
        (["install", "--force", "--scheduled", "--unattended"], ("install", INSTALL)),
        (["peers", "--json"], ("peers", {"as_json": True})),
        (["explain", "web-1"], ("explain", {"who": "web-1", "service": None, "as_json": False})),
        (["explain", "7", "tcp/22"], ("explain", {"who": "7", "service": "tcp/22", "as_json": False})),
        (["check", "--warning", "9"], ("check", {"warning": 9, "critical": None})),
        (["metrics", "a"], ("metrics", {"file": "a"})),
        (["token"], ("token", {"token_file": None})),
        (["status"], ("status", {"as_json": False})),
        (["status", "--json"], ("status", {"as_json": True})),
        (["restore"], ("restore", {"repair": False, "links": False})),
        (["restore", "--repair", "--links"], ("restore", {"repair": True, "links": True})),
        (["blocked"], ("blocked", {"since": "", "as_json": False})),
        (["blocked", "--since", "1h", "--json"], ("blocked", {"since": "1h", "as_json": True})),
        (["watch"], ("watch", {})),
        (["publish", "--once"], ("publish", {"once": True})),
        (["fleet"], ("fleet", {"part": None, "file": None, "as_json": False})),
        (["fleet", "--json"], ("fleet", {"part": None, "file": None, "as_json": True})),
        (["fleet", "key", "/root/a"], ("fleet", {"part": "key", "file": "/root/a", "as_json": False})),
        (["poll"], ("poll", {})),
        (["uninstall"], ("uninstall", SAFE)),
    ],
)
def test_a_verb_does_what_it_says_and_none_means_refresh(
    arguments: list[str], called: tuple[str, dict[str, object]], monkeypatch: pytest.MonkeyPatch
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


@pytest.mark.parametrize("words", [["reboot"], ["help", "reboot"]], ids=" ".join)
def test_of_a_verb_that_there_is_not_it_says_so_and_where_they_are_listed(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        droplan(monkeypatch, *words)
    said = capsys.readouterr().err
    assert said.endswith("droplan: error: there is no verb 'reboot': `droplan --help` lists them\n")
    assert max(map(len, said.splitlines())) <= 80


def test_the_version_is_told_without_loading_anything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "parser", lambda arguments: pytest.fail("it need not be parsed"))
    assert droplan(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"droplan {__version__}\n"


def test_help_names_every_verb_and_not_what_only_cron_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        droplan(monkeypatch, "--help")
    shown = capsys.readouterr().out
    assert caught.value.code == 0
    assert [command.name for command in COMMANDS if command.name not in shown] == ["poll"]
    assert "--scheduled" not in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("asked", [("help",), ("--help",)], ids=str)
def test_help_about_a_verb_has_an_example_and_the_exit_codes(
    verb: str, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*asked, verb) if asked == ("help",) else (verb, *asked)
    with pytest.raises(SystemExit) as caught:
        droplan(monkeypatch, *words)
    shown = capsys.readouterr().out
    assert caught.value.code == 0
    assert re.search(rf"^example:\n  .*\b{verb}\b", shown, re.MULTILINE)
    assert re.search(r"^exit codes:\n  0  \S", shown, re.MULTILINE)
    assert "SUPPRESS" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_parser_for_one_verb_understands_it_as_the_whole_one_does() -> None:
    for command in COMMANDS:
        words = [command.name, *ARGUMENTS.get(command.name, ())]
        assert cli.parser(command.name).parse_args(words) == cli.parser().parse_args(words)


def lines_of_flags(command: Command) -> Iterator[list[str]]:
    names = [name for argument in command.arguments for name in argument.names if name.startswith("-")]
    for number in range(len(names) + 1):
        for chosen in itertools.permutations(names, number):
            yield [command.name, *chosen]


def test_flags_are_understood_without_the_parser_as_it_understands_them() -> None:
    read = set()
    for command in COMMANDS:
        for words in lines_of_flags(command):
            found = commands.flags(words)
            if found is not None:
                read.add(command.name)
                assert found == vars(cli.parser(command.name).parse_args(words))
    assert {"refresh", "status", "restore", "publish"} <= read


@pytest.mark.parametrize(
    "words",
    [
        ["refresh", "--help"],
        ["refresh", "--forc"],
        ["refresh", "--force=true"],
        ["refresh", "now"],
        ["--force"],
        ["refrsh"],
        ["install"],  # may be given a value
        ["explain"],  # must be
    ],
    ids=" ".join,
)
def test_the_parser_is_asked_about_all_else(words: list[str]) -> None:
    assert commands.flags(words) is None


def test_what_cron_runs_needs_no_parser(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    monkeypatch.setattr(cli, "parser", lambda only: pytest.fail("it need not be parsed"))
    asked: list[dict[str, object]] = []
    monkeypatch.setattr("droplan_boot.verbs.refresh.run", lambda host, **given: asked.append(given))
    assert droplan(monkeypatch, "refresh", "--scheduled") == 0
    assert asked == [REFRESH]


def test_what_a_person_does_to_the_machine_is_in_the_log_too(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    said: list[str] = []
    for verb in VERBS:

        def runs(host: Host, **kwargs: object) -> None:
            host.log.say(f"said {len(said)}")

        monkeypatch.setattr(importlib.import_module(f"droplan_boot.verbs.{verb}"), "run", runs)
        droplan(monkeypatch, verb, *ARGUMENTS.get(verb, ()))
        said.append(verb)
    log = (files.read(paths.LOG) or b"").decode()
    kept = {verb for number, verb in enumerate(said) if f" said {number} [" in log}
    assert kept == {"refresh", "install", "token", "restore", "uninstall"}
    assert capsys.readouterr().out.count(" said ") == len(VERBS), "they see it as well"


def test_what_cron_runs_goes_to_the_log_so_that_cron_mails_nothing(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert droplan(monkeypatch, "refresh", "--scheduled") == 1
    assert capsys.readouterr() == ("", "")
    assert b"refresh: droplan must run as root" in (files.read(paths.LOG) or b"")


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(host: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("droplan_boot.verbs.refresh.run", interrupted)
    assert droplan(monkeypatch) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("verb", ["refresh", "install"])
def test_an_unknown_setting_is_a_mistake_of_usage(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DROPLAN_SCOP", "vpc")
    assert droplan(monkeypatch, verb) == 2
    assert "unknown setting DROPLAN_SCOP: did you mean DROPLAN_SCOPE?" in capsys.readouterr().err
