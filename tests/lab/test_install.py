"""One command puts droplan in place, and again in place; what is in place is left alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.bed import Fault, Lab, fleet, probe
from tests.bed.program import (
    ANSWER,
    CRON,
    DOWNLOADED,
    LOG,
    METRICS,
    PROGRAM,
    PROTECTED_INPUT,
    REFRESH,
    SAVED,
    SETTINGS,
    SNAPSHOT,
    STATUS,
    VERIFIED,
    Program,
    commits,
    sentence,
    succeeded,
)

UNFINISHED = "/var/lib/droplan/unfinished"
MODES = {PROGRAM: 0o755, REFRESH: 0o755, CRON: 0o644, SETTINGS: 0o600, STATUS: 0o644, SNAPSHOT: 0o600}
FOLDERS = ("/opt/droplan", "/etc/droplan", "/etc/iptables", "/etc/cron.d", "/etc/default", "/var/lib/droplan")


@pytest.fixture(scope="module", params=["nft", "legacy"])
def either_installed(request: pytest.FixtureRequest) -> Iterator[Program]:
    with Lab(request.param) as lab:
        program = Program(lab)
        program.install()
        yield program


@pytest.fixture
def either(either_installed: Program) -> Program:
    """With either variant, for what concerns rules."""
    either_installed.reset()
    return either_installed


@pytest.fixture
def fresh() -> Iterator[Program]:
    with Lab() as lab:
        yield Program(lab)


def tree(program: Program) -> dict[str, str]:
    """Files that droplan or its packages own: mode, owner, size, inode and time of change of each, but for what a
    refresh reports.
    """
    listed = program.droplet.run(["find", *FOLDERS, "-printf", "%p\\t%M %U:%G %s %i %T@\\n"]).stdout
    found = dict(line.split("\t") for line in listed.splitlines())
    return {
        path: what
        for path, what in found.items()
        if path
        not in (SNAPSHOT, STATUS, METRICS, VERIFIED, ANSWER, LOG, "/var/lib/droplan", "/var/lib/droplan/budget.json")
    }


def again(program: Program) -> list[str]:
    """Install again and return what was put in place."""
    done = succeeded(program.run("install"))
    return [line.split(" ", 2)[2] for line in done.stdout.splitlines() if CHANGED.search(line)]


CHANGED = re.compile(r": (?:created|fixed|installed)\b|Saved")


class TestFirst:
    def test_every_step_says_what_it_did(self, installed: Program) -> None:
        for step in (
            f"settings {SETTINGS}",
            f"program {PROGRAM}",
            f"schedule {CRON}",
            "packages iptables-persistent",
        ):
            assert re.search(
                rf"^\d{{4}}/\d\d/\d\d [\d:]+ {step}.*: (created|installed)", installed.said, re.MULTILINE
            ), step
        assert "Added 3 peers to droplan-peers: peer-1 " in installed.said

    def test_the_packages_are_real(self, program: Program) -> None:
        status = program.droplet.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Status} ", "iptables-persistent", "cron"]
        )
        assert status.stdout == "installed installed "

    @pytest.mark.parametrize(("path", "mode"), MODES.items())
    def test_files_have_their_modes(self, program: Program, path: str, mode: int) -> None:
        found = program.droplet.path(path).lstat()
        assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (mode, 0, 0)

    def test_the_token_is_in_the_settings_file_and_nowhere_else(self, program: Program) -> None:
        succeeded(program.droplet.run([REFRESH], check=False))
        written = [
            "find",
            "/etc",
            "/opt",
            "/run",
            "/srv",
            "/tmp",
            "/var",
            "-xdev",
            "-type",
            "f",
            "-newer",
            DOWNLOADED,
        ]
        found = program.droplet.run([*written, "-exec", "grep", "-lF", program.lab.token, "{}", "+"], check=False)
        assert found.stdout.split() == [SETTINGS]

    def test_cron_runs_the_refresh_every_five_minutes_at_a_time_of_this_droplets_own(self, program: Program) -> None:
        lines = [line for line in program.read(CRON).splitlines() if " root " in line]
        assert len(lines) == 2
        assert lines[1] == "@reboot root " + lines[0].split(" root ")[1]
        found = re.fullmatch(rf"([0-4])-59/5 \* \* \* \* root sleep (\d+); {REFRESH}", lines[0])
        assert found
        assert 0 <= int(found[2]) < 60

    def test_what_cron_runs_refreshes_and_logs(self, program: Program) -> None:
        program.list_droplets(*fleet(2))
        command = ["env", "-i", "PATH=/usr/bin:/bin", "HOME=/root", "SHELL=/bin/sh", "/bin/sh", "-c", REFRESH]
        done = succeeded(program.droplet.run(command, check=False))
        assert done.stdout + done.stderr == "", "cron has nothing to mail"
        assert "Added 2 peers to droplan-peers: " in program.read(LOG)
        assert program.report()["peers"] == 2

    def test_what_cron_runs_keeps_the_rules_and_logs_why_when_there_is_no_answer(self, program: Program) -> None:
        before = program.rules()
        program.lab.do.fault(Fault(status=403))
        assert program.droplet.run([REFRESH], check=False).returncode == 1
        assert "403" in program.read(LOG).splitlines()[-1]
        assert program.rules() == before


class TestAgain:
    def test_nothing_changes(self, either: Program) -> None:
        before = either.rules(), tree(either)
        assert again(either) == []
        assert (either.rules(), tree(either)) == before

    def test_no_rule_is_written_and_no_package_touched(self, program: Program) -> None:
        trace = "/root/trace"
        command = ["strace", "-f", "-e", "trace=execve", "-o", trace, PROGRAM, "install"]
        succeeded(program.droplet.run(command, check=False))
        assert "apt-get" not in program.read(trace)

    def test_a_dry_run_changes_nothing_and_says_what_is_missing(self, program: Program) -> None:
        program.droplet.path(CRON).unlink()
        before = program.rules(), tree(program), commits(program.droplet), program.read(SNAPSHOT)
        done = succeeded(program.run("install", "--dry-run"))
        assert f"schedule {CRON}: would be created\n" in done.stdout
        assert (program.rules(), tree(program), commits(program.droplet), program.read(SNAPSHOT)) == before
        assert again(program) == [f"schedule {CRON}: created"]

    def test_new_settings_are_kept(self, program: Program) -> None:
        succeeded(program.run("install", DO_TAG="web", DROPLAN_INTERVAL="15"))
        program.refresh()
        assert program.report()["peers"] == 2, "the Droplets with the tag"
        assert "-59/15 " in program.read(CRON)
        succeeded(program.run("install", DO_TAG="", DROPLAN_INTERVAL=""))
        program.refresh()
        assert program.report()["peers"] == 3
        assert "-59/5 " in program.read(CRON)


class TestRepair:
    @pytest.mark.parametrize(
        ("damage", "was"),
        [
            pytest.param("rm {path}", "missing", id="deleted"),
            pytest.param(": > {path}", "empty", id="emptied"),
            pytest.param("echo >> {path}", "altered", id="altered"),
            pytest.param("chmod 0666 {path}", "mode 0666", id="made writable by all"),
            pytest.param("chown 65534 {path}", "owned by uid 65534", id="given away"),
            pytest.param("mv {path} {path}.away; ln -s {path}.away {path}", "not a regular file", id="a link"),
        ],
    )
    @pytest.mark.parametrize("path", [PROGRAM, REFRESH, CRON])
    def test_a_damaged_file_is_put_back(self, program: Program, path: str, damage: str, was: str) -> None:
        whole = program.droplet.path(path).read_bytes(), program.droplet.path(path).lstat().st_mode
        program.droplet.run(["sh", "-c", damage.format(path=path)])
        done = succeeded(program.download("install"))
        assert f"{path}: {'created' if was == 'missing' else f'fixed (was {was})'}\n" in done.stdout
        assert (program.droplet.path(path).read_bytes(), program.droplet.path(path).lstat().st_mode) == whole
        assert again(program) == []
        program.droplet.run(["rm", "-f", f"{path}.away"])

    @pytest.mark.parametrize("damage", ["rm {path}", ": > {path}", "sed -i /droplan/d {path}", "chmod 0600 {path}"])
    @pytest.mark.parametrize("version", [4, 6])
    def test_saved_rules_are_put_back(self, either: Program, version: int, damage: str) -> None:
        path = either.droplet.path(SAVED[version])
        whole = path.read_text(), path.stat().st_mode
        either.droplet.run(["sh", "-c", damage.format(path=SAVED[version])])
        saved = again(either)
        assert len(saved) == 1
        assert saved[0].startswith(f"Saved the IPv{version} rules to {SAVED[version]} (was ")
        assert (path.read_text(), path.stat().st_mode) == whole

    def test_settings_that_others_could_read_are_closed(self, program: Program) -> None:
        program.droplet.path(SETTINGS).chmod(0o644)
        assert again(program) == [f"settings {SETTINGS}: fixed (was mode 0644)"]
        assert program.droplet.path(SETTINGS).stat().st_mode & 0o777 == 0o600

    def test_whole_folders_are_put_back(self, program: Program) -> None:
        before = program.rules()
        program.droplet.run(["rm", "-r", "/opt/droplan", "/etc/droplan", "/etc/iptables", "/var/lib/droplan", CRON])
        succeeded(program.download("install", DO_KEY=program.lab.token))
        assert {path: program.droplet.path(path).stat().st_mode & 0o777 for path in MODES} == MODES
        assert program.rules() == before
        assert again(program) == []

    def test_rules_that_were_flushed_are_written_again(self, either: Program) -> None:
        before = either.filters()
        either.edit("-F")
        either.edit("-F", tool="ip6tables")
        succeeded(either.run("install"))
        assert either.filters() == before

    def test_packages_that_were_removed_are_installed_again(self, fresh: Program) -> None:
        fresh.install()
        fresh.droplet.run(["dpkg", "--purge", "iptables-persistent", "netfilter-persistent"])
        done = succeeded(fresh.run("install"))
        assert "packages iptables-persistent, nftables, cron: installed (iptables-persistent)" in done.stdout
        assert fresh.droplet.path("/usr/sbin/netfilter-persistent").exists()
        assert "droplan-peers" in fresh.read(SAVED[4])


class TestWithoutAnAnswer:
    def test_a_first_install_touches_no_rule_and_the_schedule_goes_on_with_it(self, fresh: Program) -> None:
        fresh.lab.do.set_droplets(fresh.lab.peer_droplets)  # the list does not have this Droplet yet
        done = fresh.download("install", DO_KEY=fresh.lab.token)
        assert done.returncode == 1
        assert "has no Droplet" in sentence(done)
        assert fresh.filters() == []
        assert fresh.droplet.path(UNFINISHED).exists()
        assert probe(fresh.lab.stranger, fresh.droplet).tcp

        fresh.lab.do.add(fresh.lab.own_droplet)
        succeeded(fresh.droplet.run([REFRESH], check=False))
        assert not fresh.droplet.path(UNFINISHED).exists()
        assert fresh.chain("INPUT") == list(PROTECTED_INPUT)
        assert probe(fresh.lab.stranger, fresh.droplet, patience=0.7).nothing

    def test_with_fail_closed_it_closes_until_the_peers_are_known(self, fresh: Program) -> None:
        fresh.lab.do.set_droplets(fresh.lab.peer_droplets)
        done = fresh.download("install", DO_KEY=fresh.lab.token, DROPLAN_FAIL_CLOSED="true")
        assert done.returncode == 1
        assert probe(fresh.lab.stranger, fresh.droplet, patience=0.7).nothing
        assert probe(fresh.lab.peers[0], fresh.droplet, patience=0.7).nothing
        assert probe(fresh.droplet, fresh.lab.peers[0]).everything
        assert "unanswered" in fresh.problems()

        fresh.lab.do.add(fresh.lab.own_droplet)
        succeeded(fresh.droplet.run([REFRESH], check=False))
        assert "unanswered" not in fresh.problems()
        assert probe(fresh.lab.peers[0], fresh.droplet).tcp
        assert probe(fresh.lab.stranger, fresh.droplet, patience=0.7).nothing

    def test_closed_it_stays_over_a_reboot_where_our_unit_restores_the_rules(self, fresh: Program) -> None:
        fresh.lab.do.set_droplets(fresh.lab.peer_droplets)
        environ = {"DROPLAN_FAIL_CLOSED": "true", "DROPLAN_BACKEND": "nftables"}
        assert fresh.download("install", DO_KEY=fresh.lab.token, **environ).returncode == 1
        fresh.droplet.reboot()
        assert probe(fresh.lab.stranger, fresh.droplet).tcp
        # What droplan-restore.service runs, before the network is up; this Droplet has no systemd.
        succeeded(fresh.run("restore"))
        assert probe(fresh.lab.stranger, fresh.droplet, patience=0.7).nothing
        assert probe(fresh.lab.peers[0], fresh.droplet, patience=0.7).nothing

    def test_a_snapshot_that_a_later_droplan_wrote_is_closed_and_told_of(self, program: Program) -> None:
        snapshot = program.droplet.path(SNAPSHOT)
        snapshot.write_text(re.sub(r'"version": \d+', '"version": 99', snapshot.read_text(), count=1))
        assert program.run("restore").returncode == 1
        assert "unknown-snapshot" in program.problems()
        assert probe(program.lab.peers[0], program.droplet, patience=0.7).nothing
        program.refresh()
        assert "unknown-snapshot" not in program.problems()
        assert probe(program.lab.peers[0], program.droplet).tcp

    def test_a_repair_keeps_the_rules(self, program: Program) -> None:
        before = program.rules()
        program.droplet.path(CRON).unlink()
        program.lab.do.fault(Fault(status=404))
        assert program.run("install").returncode == 1
        assert program.droplet.path(CRON).exists()
        assert program.rules() == before


def test_uninstall_leaves_the_droplet_as_it_was(fresh: Program) -> None:
    fresh.edit("-A INPUT -s 192.0.2.1/32 -j DROP")
    before = fresh.filters()
    fresh.install()
    succeeded(fresh.run("uninstall"))
    assert fresh.filters() == before
    left = fresh.droplet.run(["find", "/etc", "/opt", "/var/lib", "/var/log", "/run", "-name", "*droplan*"]).stdout
    assert left.replace("/etc/ssl/certs", "").split() == [LOG], left
    shared = fresh.droplet.run(["find", "/usr/local", "-xdev", "-name", "*droplan*", "-newer", DOWNLOADED]).stdout
    assert shared == "", "the command, its manual page and its completions"
    assert probe(fresh.lab.stranger, fresh.droplet).everything
