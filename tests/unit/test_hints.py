"""What people are told to type works: where sudo does not look into /usr/local/sbin, hints name the full path."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import droplan_boot
from droplan_boot import cli, paths
from droplan_boot.commands import COMMANDS
from droplan_boot.errors import DroplanError
from droplan_boot.host import hints
from droplan_boot.host.files import Files
from droplan_boot.state import report
from droplan_boot.state.problems import problem
from droplan_boot.verbs import check, explain, install, status
from tests.bed.memory.doors import Host
from tests.bed.memory.droplet import MemoryDroplet, made
from tests.unit.test_status import NORMAL, NOW, REPORT

SUDOERS = Path("/etc/sudoers")
# As almalinux-9's sudo-1.9.5p2 brings it, and Debian 12's.
EL = """\
## Allows people in group wheel to run all commands
Defaults    env_keep =  "COLORS DISPLAY HOSTNAME"
Defaults    secure_path = /sbin:/bin:/usr/sbin:/usr/bin

root\tALL=(ALL) \tALL
"""
DEBIAN = 'Defaults\tenv_reset\nDefaults\tsecure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"\n'
FULL = "/usr/local/sbin/droplan"
ROOM = Path(droplan_boot.__file__).parent


@pytest.fixture
def files(files: Files) -> Files:
    """Have the program where install puts it."""
    files.write(paths.PROGRAM, b"", 0o755)
    return files


def with_sudoers(files: Files, text: str) -> Files:
    files.write(SUDOERS, text.encode(), 0o440)
    return files


@pytest.fixture
def el(files: Files) -> MemoryDroplet:
    """Return a Droplet where sudo looks where Enterprise Linux has it look, and droplan is in place."""
    droplet = made(with_sudoers(files, EL))
    install.run(droplet.host())
    return droplet


@pytest.mark.parametrize(
    ("sudoers", "full"),
    [
        (EL, True),
        (DEBIAN, False),
        ("Defaults env_reset, secure_path=/usr/bin:/bin\n", True),
        ("#Defaults secure_path = /usr/bin\n", False),
        (f"{EL}Defaults secure_path += /usr/local/sbin\n", False),
        (f"{EL}{DEBIAN}", False),
        (f"{DEBIAN}{EL}", True),
        ("Defaults env_reset\n", False),
    ],
    ids=["EL", "Debian", "one of several", "comment", "added", "last", "last of EL", "unset"],
)
def test_the_path_is_full_where_sudo_would_not_find_the_program(sudoers: str, full: bool, files: Files) -> None:
    said = hints.named("run `droplan refresh`", with_sudoers(files, sudoers))
    assert said == f"run `{FULL if full else 'droplan'} refresh`"


@pytest.mark.parametrize(
    ("include", "name", "full"),
    [
        ("@includedir /etc/sudoers.d", "path", False),
        ("#includedir /etc/sudoers.d", "path", False),  # as sudo before 1.9.1 has it
        ("", "path", True),
        ("@includedir /etc/sudoers.d", "path.rpmsave", True),
        ("@includedir /etc/sudoers.d", "path~", True),
    ],
)
def test_what_sudo_includes_counts_as_well(include: str, name: str, full: bool, files: Files) -> None:
    files.write(SUDOERS.with_suffix(".d") / name, DEBIAN.encode(), 0o440)
    said = hints.named("run `droplan refresh`", with_sudoers(files, EL + include + "\n"))
    assert said == f"run `{FULL if full else 'droplan'} refresh`"


def test_without_sudo_it_is_on_the_search_path_of_root(files: Files) -> None:
    assert hints.named("run `droplan refresh`", files) == "run `droplan refresh`"


@pytest.mark.parametrize(
    ("scheduled", "shown"), [(True, "`droplan refresh`"), (False, "`python3 droplan.pyz refresh`")]
)
def test_what_the_schedule_says_never_names_a_file_that_was_downloaded(
    scheduled: bool, shown: str, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.remove(paths.PROGRAM)
    cli._log(files, scheduled=scheduled, keep=False).complain("run `droplan refresh`")
    said = (files.read(paths.LOG) or b"").decode() + capsys.readouterr().err
    assert f"run {shown}" in said


@pytest.mark.parametrize("family", ["el", "debian"])
def test_who_may_not_read_the_settings_of_sudo_is_told_by_the_distribution(
    family: str, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_self: Files, path: Path, **_: object) -> bytes:
        raise DroplanError(f"{path} cannot be read: Permission denied")

    if family == "el":
        files.write(Path("/etc/redhat-release"), b"AlmaLinux release 9.4\n", 0o644)
    monkeypatch.setattr(Files, "read", refused)
    assert (FULL in hints.named("run `droplan refresh`", files)) == (family == "el")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("run `droplan refresh`", f"run `{FULL} refresh`"),
        ("run `sudo droplan token`, which asks", f"run `sudo {FULL} token`, which asks"),
        ("`sudo DROPLAN_MODE=enforce droplan install`", f"`sudo DROPLAN_MODE=enforce {FULL} install`"),
        ("`droplan` and `droplan fleet key FILE`", f"`{FULL}` and `{FULL} fleet key FILE`"),
        ("`systemctl stop droplan-watch`", "`systemctl stop droplan-watch`"),
        ("`sudo python3 droplan.pyz install`", "`sudo python3 droplan.pyz install`"),
        ("a later droplan wrote it", "a later droplan wrote it"),
    ],
)
def test_commands_are_named_and_nothing_else(said: str, shown: str, files: Files) -> None:
    assert hints.named(said, with_sudoers(files, EL)) == shown


@pytest.mark.parametrize("sudoers", [EL, DEBIAN], ids=["EL", "Debian"])
def test_before_an_installation_it_is_the_file_that_was_downloaded(sudoers: str, files: Files) -> None:
    files.remove(paths.PROGRAM)
    said = hints.named("`droplan install`, `sudo DROPLAN_MODE=enforce droplan install`", with_sudoers(files, sudoers))
    assert said == "`python3 droplan.pyz install`, `sudo DROPLAN_MODE=enforce python3 droplan.pyz install`"


def test_status_and_explain_name_it(el: MemoryDroplet, capsys: pytest.CaptureFixture[str]) -> None:
    el.files.remove(paths.CRON)
    for as_json in (False, True):
        status.run(el.host(), as_json=as_json)
        shown = " ".join(capsys.readouterr().out.split())
        assert f"run `{FULL} install`, which puts it back" in shown
        assert "`droplan" not in shown
    el.files.remove(paths.SNAPSHOT)
    for as_json in (False, True):
        explain.run(el.host(), who="10.132.0.2", as_json=as_json)
        assert f"`{FULL} install` closes the private interface" in " ".join(capsys.readouterr().out.split())


def test_a_status_with_long_hints_still_fits_the_screen(files: Files) -> None:
    host = Host(files=with_sudoers(files, EL))
    problems = (problem("drift", what="x"), problem("observing"), problem("nftables-flush", path="/p", service="s"))
    shown = status.render(replace(NORMAL, problems=problems), NOW, {}, host.hint)
    assert max(map(len, shown.splitlines())) <= 80


def test_check_names_it(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    report.store(files, replace(REPORT, result="failed", succeeded=None, error=""))
    check.run(Host(files=with_sudoers(files, EL)))
    assert f"run `sudo {FULL} refresh`" in capsys.readouterr().out


@pytest.mark.parametrize("scheduled", [False, True])
def test_the_log_and_the_terminal_name_it(scheduled: bool, files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    log = cli._log(with_sudoers(files, EL), scheduled=scheduled, keep=False)
    for tell in (log.say, log.complain):
        tell("run `droplan refresh`")
    kept = (files.read(paths.LOG) or b"").decode()
    told = capsys.readouterr()
    assert ((kept or told.out + told.err).count(f"run `{FULL} refresh`")) == 2


def strings(path: Path) -> Iterator[str]:
    """List the strings of a module that are no documentation; of one in parts, the parts joined."""
    tree = ast.parse(path.read_text())
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def test_every_command_in_a_sentence_is_written_so_that_it_is_named() -> None:
    verbs = "|".join(command.name for command in COMMANDS if not command.hidden)
    command = re.compile(rf"\bdroplan (?:{verbs})\b")
    seen = 0
    for path in sorted(ROOM.rglob("*.py")):
        if path.name == "commands.py":
            continue  # the help of each verb, which is the same everywhere
        for text in strings(path):
            plain = hints.COMMAND.sub("", text)
            seen += text != plain
            assert not command.search(re.sub(r"(?m)^#.*$", "", plain)), f"{path}: {text}"
    assert seen > 40


def test_all_that_a_verb_prints_goes_through_the_door_where_its_sentences_hold_commands() -> None:
    for path in sorted((ROOM / "verbs").glob("*.py")):
        source = path.read_text()
        printed = [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        writes = [one for one in printed if one.startswith("sys.stdout.write(")]
        named = any(hints.COMMAND.search(text) for text in strings(path) if text.strip())
        if writes and named and path.name not in ("peers.py", "blocked.py"):  # theirs are errors, which the log names
            assert "host.hint" in source, path


def test_json_stays_json(el: MemoryDroplet, capsys: pytest.CaptureFixture[str]) -> None:
    el.files.remove(paths.CRON)
    status.run(el.host(), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert FULL in found["problems"][0]["remedy"]
