"""The token is in droplan.env and nowhere else; what droplan keeps is root's; no trick makes it write elsewhere."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from droplan_boot.errors import NoAnswerError
from droplan_boot.host.clock import MachineClock
from droplan_boot.host.doors import Host
from droplan_boot.host.http import Http
from droplan_boot.settings import Settings
from droplan_boot.sources.digitalocean.api import Account
from tests.bed import Fault, Lab, fleet
from tests.bed.program import (
    ANSWER,
    CRON,
    LOG,
    PROGRAM,
    REFRESH,
    SAVED,
    SETTINGS,
    SNAPSHOT,
    STATUS,
    VERIFIED,
    Program,
    sentence,
    succeeded,
)

MODES = {
    SETTINGS: 0o600,
    PROGRAM: 0o755,
    REFRESH: 0o755,
    CRON: 0o644,
    SNAPSHOT: 0o600,
    STATUS: 0o644,
    VERIFIED: 0o600,
    ANSWER: 0o600,
    LOG: 0o640,
    SAVED[4]: 0o640,
    SAVED[6]: 0o640,
}
FOLDERS = ("/opt/droplan", "/etc/droplan", "/var/lib/droplan", "/var/lib/droplan/zipapp")
NOBODY = 65534
LIST = r"^/v2/droplets\?per_page=200$"
VICTIM = "/root/victim"
PRECIOUS = "root:x:0:0\n"
PRINTED = re.compile(r"^20\d\d/\d\d/\d\d \d\d:\d\d:\d\d ((?:refresh: |3 peers).*)$", re.MULTILINE)
LOGGED = re.compile(PRINTED.pattern[:-1] + r" \[20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}\]$", re.MULTILINE)


@pytest.fixture(scope="module")
def installed() -> Iterator[Program]:
    with Lab("nft") as lab:
        program = Program(lab)
        # It starts cron, which stays: strace lets go of it when it is told to.
        script = "/usr/bin/python3 /srv/droplan.pyz install; kill $PPID"
        strace = ["strace", "-I2", "-f", "-v", "-s", "65536", "-e", "trace=execve", "-o", "/root/install.trace"]
        program.droplet.run([*strace, "sh", "-c", script], env={"DO_KEY": lab.token}, check=False, timeout=120)
        program.install_for_many()
        yield program


@pytest.fixture
def program(installed: Program) -> Program:
    installed.reset()
    return installed


def schedule(program: Program) -> None:
    """Run what cron runs; it must succeed."""
    succeeded(program.droplet.run([REFRESH], check=False, timeout=100))


def mode(program: Program, path: str) -> int:
    return stat.S_IMODE(program.droplet.path(path).lstat().st_mode)


class TestTheToken:
    def test_is_in_one_file_of_the_whole_droplet(self, program: Program) -> None:
        program.lab.do.fault(Fault(status=401, times=1))
        assert program.droplet.run([REFRESH], check=False).returncode == 1
        schedule(program)
        program.run("status")
        # All that the Droplet ever wrote; below that lies this machine's own file system.
        written = program.droplet.written
        mounted = [program.droplet.path(path) for path in ("/run", "/tmp", "/dev/shm")]
        search = [
            "grep",
            "-rlF",
            "--devices=skip",
            "--exclude=*.trace",
            program.lab.token,
            str(written),
            *map(str, mounted),
        ]
        found = subprocess.run(search, stdout=subprocess.PIPE, text=True, check=False)
        assert found.stdout.splitlines() == [f"{written}{SETTINGS}"]

    def test_is_in_no_argument_and_in_no_childs_environment_while_installing(self, installed: Program) -> None:
        started = installed.read("/root/install.trace").splitlines()
        assert len(started) > 50, "the packages were installed under this trace"
        told = [call for call in started if installed.lab.token in call]
        assert told, "droplan itself was told by the environment"
        assert [call for call in told if "/srv/droplan.pyz" not in call] == []
        arguments = [re.sub(r"\], \[.*", "", call) for call in told]
        assert not [call for call in arguments if installed.lab.token in call]

    def test_is_in_no_process_at_all_when_the_schedule_runs(self, program: Program) -> None:
        program.list_droplets(*fleet(3))
        trace = "/root/refresh.trace"
        strace = ["strace", "-f", "-v", "-s", "65536", "-e", "trace=execve", "-o", trace, REFRESH]
        program.droplet.run(strace)
        text = program.read(trace)
        program.droplet.path(trace).unlink()
        assert "restore" in text, "the rules were written under this trace"
        assert program.lab.token not in text

    def test_is_in_no_core_file_if_python_crashes(self, program: Program) -> None:
        program.lab.do.fault(Fault(deaf=True))
        run = program.droplet.popen(["sh", "-c", f"ulimit -c unlimited; exec {PROGRAM} refresh"])
        deadline = time.monotonic() + 50
        try:
            while not re.search(r"Max core file size +0 ", limits := _limits(program)):
                assert time.monotonic() < deadline, limits
        finally:
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()

    def test_is_in_no_repr_and_no_traceback(self) -> None:
        token = "dop_v1_" + "0" * 64
        http = Http(MachineClock(), 0.5)
        account = Account(http, "https://127.0.0.1:9", token, 1, tag=None, peered=False, clock=lambda: 0.0)
        with pytest.raises(NoAnswerError) as failed:
            account.listing()
        told = [
            *traceback.format_exception(type(failed.value), failed.value, failed.value.__traceback__),
            repr(failed.value),
            repr(account),
            repr(Settings(token=token)),
            repr(Host(environ={"DO_KEY": token})),
            repr(http),
        ]
        assert not [text for text in told if token in text]

    def test_is_not_shown_when_it_is_wrong(self, program: Program) -> None:
        for wrong in ("dop_v1_" + "0" * 63 + "\n", 'dop_v1_"' + "0" * 63, "dop_v1_ " + "0" * 63):
            done = program.run("refresh", DO_KEY=wrong)
            assert done.returncode == 2
            assert "000" not in done.stderr + done.stdout


def _limits(program: Program) -> str:
    """Return the limits of the droplan that runs, "" when none does yet."""
    # Not the shells, whose command lines name it as well.
    script = f"for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | grep -q '^/usr/bin/python3 -.*{PROGRAM} refresh'"
    script += " && cat $p/limits; done"
    return program.droplet.run(["sh", "-c", script], check=False).stdout


class TestModesAndOwners:
    def test_are_as_they_should_be(self, program: Program) -> None:
        schedule(program)
        assert {path: mode(program, path) for path in MODES} == MODES
        assert {mode(program, folder) for folder in FOLDERS} == {0o755}
        assert {program.droplet.path(path).lstat().st_uid for path in (*MODES, *FOLDERS)} == {0}

    def test_are_repaired(self, program: Program) -> None:
        for path in MODES:
            if path == SETTINGS:
                program.droplet.path(path).chmod(0o444)
            elif path != LOG:
                os.chown(program.droplet.path(path), NOBODY, NOBODY)
                program.droplet.path(path).chmod(0o777)
        succeeded(program.download("install"))
        program.droplet.path(LOG).chmod(0o666)
        program.list_droplets(*fleet(2))  # where nothing changed there is nothing to log
        schedule(program)
        assert {path: mode(program, path) for path in MODES} == MODES
        assert {program.droplet.path(path).lstat().st_uid for path in MODES} == {0}

    def test_a_refresh_hides_settings_that_others_can_read(self, program: Program) -> None:
        program.droplet.path(SETTINGS).chmod(0o644)
        done = program.refresh()
        assert f"{SETTINGS} had mode 0644: only root may read it again" in done.stdout
        assert mode(program, SETTINGS) == 0o600
        assert SETTINGS not in program.refresh().stdout

    @pytest.mark.parametrize("verb", ["refresh", "install"])
    def test_settings_that_others_can_have_written_are_not_believed(self, program: Program, verb: str) -> None:
        settings = program.droplet.path(SETTINGS)
        before = program.rules()
        for owner, bits in ((NOBODY, 0o600), (0, 0o666), (0, 0o620)):
            os.chown(settings, owner, 0)
            settings.chmod(bits)
            done = program.run(verb)
            assert done.returncode == 1
            assert f"chown root:root {SETTINGS}" in sentence(done)
        os.chown(settings, 0, 0)
        settings.chmod(0o600)
        assert program.rules() == before

    @pytest.mark.parametrize("folder", ["/etc/droplan", "/etc", "/var/lib/droplan", "/var/lib", "/var"])
    def test_a_directory_that_others_can_write_is_refused(self, program: Program, folder: str) -> None:
        place = program.droplet.path(folder)
        before, bits = program.rules(), mode(program, folder)
        program.list_droplets(*fleet(2))
        try:
            for owner, wrong in ((0, 0o777), (0, 0o1777), (NOBODY, 0o755)):
                os.chown(place, owner, 0)
                place.chmod(wrong)
                done = program.run("refresh")
                assert done.returncode == 1
                assert f"{folder} can be written by others than root" in done.stderr
        finally:
            os.chown(place, 0, 0)
            place.chmod(bits)
        assert program.rules() == before

    @pytest.mark.parametrize("folder", ["/opt/droplan", "/opt", "/etc/cron.d", "/etc/iptables"])
    def test_nothing_is_installed_where_others_can_write(self, program: Program, folder: str) -> None:
        place = program.droplet.path(folder)
        victim = {"/opt/droplan": REFRESH, "/opt": REFRESH, "/etc/cron.d": CRON, "/etc/iptables": SAVED[4]}[folder]
        program.droplet.path(victim).write_text("altered\n")
        place.chmod(0o777)
        try:
            done = program.download("install")
        finally:
            place.chmod(0o755)
        assert done.returncode == 1
        assert f"chmod 755 {folder}" in done.stderr
        assert program.read(victim) == "altered\n"
        succeeded(program.download("install"))


class TestTricks:
    @pytest.mark.parametrize("trick", ["symbolic link", "hard link", "pipe"])
    @pytest.mark.parametrize("suffix", ["", ".droplan-new"], ids=["in its place", "in its temporary file's"])
    def test_what_stands_in_a_files_place_is_replaced_and_where_it_leads_is_untouched(
        self, program: Program, trick: str, suffix: str
    ) -> None:
        victim = program.droplet.path(VICTIM)
        victim.write_text(PRECIOUS)
        victim.chmod(0o644)
        paths = [path for path in MODES if path not in (LOG, SETTINGS)]
        for path in paths:
            program.droplet.path(path).write_text("altered, so that it is written\n")
            _plant(program, path + suffix, trick)
        succeeded(program.download("install", DO_KEY=program.lab.token))
        assert victim.read_text() == PRECIOUS
        assert stat.S_IMODE(victim.stat().st_mode) == 0o644
        assert victim.stat().st_nlink == 1
        for path in paths:
            found = program.droplet.path(path).lstat()
            assert stat.S_ISREG(found.st_mode)
            assert (found.st_nlink, found.st_uid) == (1, 0)
            assert not os.path.lexists(program.droplet.path(path + ".droplan-new"))
        assert PRECIOUS not in {program.read(path) for path in paths if path != PROGRAM}

    @pytest.mark.parametrize("trick", ["symbolic link", "hard link", "pipe", "directory"])
    def test_a_log_that_leads_elsewhere_is_not_written(self, program: Program, trick: str) -> None:
        victim = program.droplet.path(VICTIM)
        victim.write_text(PRECIOUS)
        _plant(program, LOG, trick)
        program.list_droplets(*fleet(2))  # so that there is something to log
        done = program.droplet.run([REFRESH])
        assert victim.read_text() == PRECIOUS
        assert LOG in done.stderr, "cron mails it"
        assert "Added 2 peers to droplan-peers: " in done.stderr
        program.droplet.run(["rm", "-rf", LOG])

    def test_another_user_cannot_plant_anything(self, program: Program) -> None:
        names = " ".join(f"{folder}/planted" for folder in (*FOLDERS, "/etc/cron.d", "/etc/iptables"))
        script = (
            f"for name in {names}; do ln -s {VICTIM} $name 2>/dev/null && echo $name; done; cat {SETTINGS} {SNAPSHOT}"
        )
        done = program.droplet.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "sh", "-c", script], check=False
        )
        assert done.stdout == ""
        assert done.stderr.count("Permission denied") == 2

    def test_a_link_in_a_directorys_place_is_refused(self, program: Program) -> None:
        program.droplet.run(["sh", "-c", "mv /var/lib/droplan /var/lib/real; ln -s real /var/lib/droplan"])
        try:
            done = program.download("refresh")
        finally:
            program.droplet.run(["sh", "-c", "rm /var/lib/droplan; mv /var/lib/real /var/lib/droplan"])
        assert done.returncode == 1
        assert "/var/lib/droplan" in done.stderr


def _plant(program: Program, path: str, trick: str) -> None:
    """Put something into a file's place that leads to the victim, or blocks whoever opens it."""
    place = program.droplet.path(path)
    commands = {
        "symbolic link": f"ln -s {VICTIM} {path}",
        "hard link": f"ln {VICTIM} {path}",
        "pipe": f"mkfifo {path}",
        "directory": f"mkdir {path}",
    }
    assert isinstance(place, Path)
    program.droplet.run(["sh", "-c", f"rm -rf {path}; {commands[trick]}"])


class TestWhatOthersSay:
    """Names, tags and messages come from whoever may write to the account, or sits in between."""

    EVIL = "\x1b]0;owned\x07\x1b[2J\r\n2026/01/01 00:00:00 Added 99 peers\u202e\x9b31m"
    SHELL = "$(touch /srv/owned)`touch /srv/owned`;touch /srv/owned"

    @pytest.mark.parametrize(
        "bent",
        [
            Fault(path=LIST, patch={"/droplets/1/name": EVIL}),
            Fault(path=LIST, patch={"/droplets/1/tags": [EVIL]}),
            Fault(path=LIST, patch={"/droplets/1/region/slug": EVIL}),
            Fault(path=LIST, patch={"/droplets/1/networks/v4/0/ip_address": EVIL}),
            Fault(path=LIST, patch={"/droplets/1/networks/v4/0/type": EVIL}),
            Fault(path=LIST, patch={"/links": {"pages": {"next": EVIL}}}),
            Fault(status=422, body='{"id": "x", "message": "\\u001b[2J\\r\\n\\u202e"}'),
            Fault(status=200, body=EVIL),
            Fault(service="metadata", patch={"/region": EVIL}),
            Fault(service="metadata", patch={"/hostname": EVIL}),
            Fault(service="metadata", patch={"/interfaces/private/0/mac": EVIL}),
        ],
        ids=["name", "tag", "region", "address", "type", "next", "message", "body", "own region", "hostname", "mac"],
    )
    def test_reach_no_terminal_and_no_log_raw(self, program: Program, bent: Fault) -> None:
        program.lab.do.fault(bent)
        log = len(program.read(LOG)) if program.droplet.path(LOG).exists() else 0
        done = program.run("refresh")
        program.droplet.run([REFRESH], check=False)
        status = program.run("status"), program.run("status", "--json")
        for text in (
            done.stdout,
            done.stderr,
            program.read(LOG)[log:],
            program.read(STATUS),
            *(s.stdout for s in status),
        ):
            assert all(line.isprintable() for line in text.split("\n"))
        # One line for the person; the same in the log, and cron's, unless all is as it was: that is said once a day.
        (shown,) = PRINTED.findall(done.stdout + done.stderr)
        logged = LOGGED.findall(program.read(LOG)[log:])
        assert logged == ([] if shown.endswith(", unchanged") else [shown] * 2)
        assert len((done.stdout + done.stderr).splitlines()) == 1, "no more than that one line"
        assert len(program.read(LOG)[log:].splitlines()) == len(logged), "and no line of another form"

    def test_reach_no_shell(self, program: Program) -> None:
        program.lab.do.fault(
            Fault(
                path=LIST,
                patch={
                    "/droplets/1/name": self.SHELL,
                    "/droplets/1/tags": [self.SHELL],
                    "/droplets/1/region/slug": self.SHELL,
                },
            ),
            Fault(service="metadata", patch={"/hostname": self.SHELL, "/tags": [self.SHELL]}),
        )
        succeeded(program.run("refresh"))
        program.run("status")
        succeeded(program.download("install"))
        for name in ("DO_TAG", "DROPLAN_ALLOW", "DROPLAN_METADATA_URL", "DIGITALOCEAN_API_URL", "DROPLAN_INTERVAL"):
            assert program.run("refresh", **{name: self.SHELL}).returncode == 2
            assert program.download("install", **{name: self.SHELL}).returncode == 2
        assert not program.droplet.path("/srv/owned").exists()
        assert "owned" not in program.read(CRON) + program.read(REFRESH) + program.read(SETTINGS)
