"""What goes wrong in the machine itself: disks, signals, locks, clocks, other programs. Never half of anything."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from tests.bed import Lab, fleet, probe
from tests.bed.account import ListedDroplet
from tests.bed.harm import NEW, Patient
from tests.bed.program import (
    ANSWER,
    DOWNLOADED,
    ERRORS,
    LOG,
    METRICS,
    PROGRAM,
    PROTECTED_INPUT,
    REFRESH,
    SAVED,
    SNAPSHOT,
    STATUS,
    VERIFIED,
    Done,
    Program,
    sentence,
    succeeded,
)

STATE = "/var/lib/droplan"


@pytest.fixture(scope="module")
def _installed() -> Iterator[Program]:
    with Lab("nft") as lab:
        program = Program(lab)
        program.install_for_many()
        yield program


@pytest.fixture
def installed(_installed: Program) -> Program:
    """A Droplet with an installed droplan and its rules saved."""
    _installed.reset()
    return _installed


@pytest.fixture(scope="module", params=["nft", "legacy"])
def _either(request: pytest.FixtureRequest) -> Iterator[Patient]:
    with Lab(request.param) as lab:
        yield Patient(lab)


@pytest.fixture
def either(_either: Patient) -> Patient:
    """A Droplet with each variant of iptables, three peers known, all well."""
    _either.flush()
    _either.list_droplets(*_either.lab.peer_droplets)
    _either.recover()
    _either.sound()
    return _either


def protected(program: Program, beside: Sequence[str] = ()) -> bool:
    """Our rules are there, first but for some others, once and in order, and the peers' chain is the account's."""
    chain = [rule for rule in program.chain("INPUT") if rule not in beside]
    wanted = {str(entry["networks"]["v4"][-1]["ip_address"]) for entry in program.lab.do.droplets}
    wanted.discard(program.droplet.address)
    errors, *accepted = program.chain("droplan-peers")
    peers = {rule.split()[3].removesuffix("/32") for rule in accepted}
    return (
        chain[:3] == list(PROTECTED_INPUT)
        and errors == ERRORS
        and not any("droplan" in rule or "-i eth1" in rule for rule in chain[3:])
        and (peers == wanted or len(wanted) > 64)
    )


class TestDisks:
    @pytest.fixture
    def full(self, installed: Program) -> Iterator[Program]:
        """All of /var/lib/droplan on a disk without a free byte."""
        script = f"""
            set -e
            mkdir -p /srv/keep; cp -a {STATE}/. /srv/keep/
            mount -t tmpfs -o mode=755,size=$(($(du -sk {STATE} | cut -f1) + 512))k tmpfs {STATE}
            cp -a /srv/keep/. {STATE}/
            dd if=/dev/zero of={STATE}/filler bs=4k 2>/dev/null || :
        """
        installed.droplet.run(["sh", "-c", script])
        yield installed
        installed.droplet.run(["umount", STATE])

    def test_full_changes_nothing_and_loses_nothing(self, full: Program) -> None:
        before, snapshot = full.rules(), full.read(SNAPSHOT)
        full.list_droplets(NEW)
        done = full.run("refresh", "--force")
        assert done.returncode == 1
        assert f"{SNAPSHOT} cannot be written: No space left on device" in done.stderr
        assert f"{STATUS} cannot be written" in done.stderr
        assert full.rules() == before
        assert full.read(SNAPSHOT) == snapshot
        full.droplet.run(["rm", f"{STATE}/filler"])
        full.refresh()
        assert full.report()["peers"] == 1
        assert not list(full.droplet.path(STATE).glob("*.droplan-new"))

    def test_full_where_the_log_is_still_refreshes(self, installed: Program) -> None:
        script = "mount -t tmpfs -o size=4k tmpfs /var/log; cat /dev/zero >/var/log/x || :"
        installed.droplet.run(["sh", "-c", script])
        try:
            installed.list_droplets(NEW)
            done = installed.droplet.run([REFRESH])
        finally:
            installed.droplet.run(["umount", "/var/log"])
        assert f"{LOG} cannot be written" in done.stderr, "cron mails it"
        assert "Added 1 peer" in done.stderr
        assert protected(installed)

    def test_read_only_var_changes_no_rule(self, installed: Program) -> None:
        before = installed.rules()
        installed.list_droplets(NEW)
        installed.droplet.run(["sh", "-c", "mount --bind /var /var; mount -o remount,ro,bind /var"])
        try:
            done = installed.run("refresh", "--force")
        finally:
            installed.droplet.run(["umount", "-l", "/var"])
        assert done.returncode == 1
        assert f"{SNAPSHOT} cannot be written: Read-only file system" in done.stderr
        assert installed.rules() == before
        installed.refresh()
        assert protected(installed)

    def test_read_only_where_rules_are_saved_is_said_and_healed(self, installed: Program) -> None:
        installed.list_droplets(NEW)
        installed.droplet.run(["sh", "-c", "mount --bind /etc /etc; mount -o remount,ro,bind /etc"])
        try:
            done = installed.run("refresh", "--force")
        finally:
            installed.droplet.run(["umount", "-l", "/etc"])
        assert done.returncode == 1
        assert f"{SAVED[4]} cannot be written: Read-only file system" in sentence(done)
        assert installed.report()["result"] == "failed"
        assert NEW.private is not None
        assert NEW.private not in installed.read(SAVED[4])
        installed.refresh()
        assert NEW.private in installed.read(SAVED[4])

    def test_what_is_written_is_on_disk_before_it_is_in_place(self, installed: Program) -> None:
        installed.list_droplets(NEW)
        calls = "trace=write,fsync,rename,renameat,renameat2"
        installed.droplet.run(["strace", "-f", "-y", "-e", calls, "-o", "/root/order.trace", REFRESH])
        lines = installed.read("/root/order.trace").splitlines()
        # All but the metrics, which the next run writes anew, and what is of use until the machine stops only.
        passing = (METRICS, VERIFIED, ANSWER)
        told = [
            line for line in lines if ("droplan-new" in line or "fsync" in line) and not any(map(line.count, passing))
        ]
        renamed = [at for at, line in enumerate(told) if re.search(r"rename\w*\(", line)]
        assert len(renamed) >= 3, "snapshot, status and saved rules"
        for at in renamed:
            temporary, target = re.findall(r'"([^"]+)"', told[at])
            folder = target.rpartition("/")[0]
            assert re.search(rf"fsync\(\d+<{re.escape(temporary)}>\) += 0", told[at - 1]), told[at - 2 : at + 2]
            assert re.search(rf"fsync\(\d+<{re.escape(folder)}>\) += 0", told[at + 1]), told[at - 2 : at + 2]


class TestSignals:
    # What leaves a mark. strace counts each by itself, and in each process anew: children's first ones are hit too.
    CALLS = ("flock", "write", "fsync", "fchmod", "rename", "unlink", "sendmsg", "setsockopt")

    @pytest.mark.parametrize(
        ("_either", "signal", "stride"),
        [
            ("nft", "SIGKILL", 3),
            ("legacy", "SIGKILL", 3),
            ("nft", "SIGTERM", 3),
            pytest.param("nft", "SIGKILL", 1, marks=pytest.mark.nightly),
            pytest.param("legacy", "SIGKILL", 1, marks=pytest.mark.nightly),
            pytest.param("nft", "SIGTERM", 1, marks=pytest.mark.nightly),
            pytest.param("legacy", "SIGTERM", 1, marks=pytest.mark.nightly),  # SIGKILL strikes there too
        ],
        indirect=["_either"],
    )
    def test_at_any_system_call_leave_the_old_or_the_new(self, either: Patient, signal: str, stride: int) -> None:
        lab = either.lab
        few, many = [*lab.peer_droplets], [*lab.peer_droplets, NEW]
        told = {len(few): few, len(many): many}
        rules: dict[int, str] = {}
        for count, droplets in told.items():
            either.list_droplets(*droplets)
            either.learns(count)
            rules[count] = either.rules()
        now, struck = len(many), 0
        for call in self.CALLS:
            at, hit = 1 - stride, True
            while hit:
                at += stride
                now = len(few) if now == len(many) else len(many)
                either.list_droplets(*told[now])
                hit = self._strike(either, call, signal, at)
                assert either.rules() in rules.values(), f"{signal} at {call} {at}"
                snapshot = json.loads(either.read(SNAPSHOT))
                assert len(snapshot["policy"]["segments"][0]["peers"]) in told
                json.loads(either.read(STATUS))
                either.learns(now)
                assert either.rules() == rules[now], f"healed after {signal} at {call} {at}"
                struck += hit
        assert struck > 10, "it was struck many times"
        assert not list(lab.droplet.path(STATE).glob("*.droplan-new"))

    def _strike(self, either: Patient, call: str, signal: str, at: int) -> bool:
        """Refresh; the at-th such system call of a process brings it the signal. Return whether any came so far.

        nft, which lists a table in hundreds of writes and leaves no mark by that, does not count.
        """
        trace = "/root/signals.trace"
        inject = f"inject={call}:signal={signal}:when={at}"
        strace = ["strace", "-f", "-o", trace, "-e", f"trace=execve,{call}", "-e", inject]
        command = [*strace, "/usr/bin/python3", DOWNLOADED, "refresh", "--scheduled"]
        either.droplet.run(command, env={"DO_KEY": either.lab.token}, check=False)
        told = either.read(trace).splitlines()
        listing = {line.split()[0] for line in told if '["nft", "list"' in line}
        struck = {line.split()[0] for line in told if f"--- {signal}" in line or f"killed by {signal}" in line}
        return bool(struck - listing)


class TestMany:
    @pytest.mark.parametrize(
        ("_either", "count"),
        [
            *product(("nft", "legacy"), (2, 10)),
            ("nft", 100),
            pytest.param("legacy", 100, marks=pytest.mark.nightly),  # it is the same lock that they wait for
        ],
        indirect=["_either"],
    )
    def test_refreshes_at_once_end_in_one_right_ruleset(self, either: Patient, count: int) -> None:
        either.list_droplets(*either.lab.peer_droplets, NEW)
        log = len(either.log())
        with ThreadPoolExecutor(count) as pool:
            codes = [done.returncode for done in pool.map(lambda _: either.schedule(), range(count))]
        lines = either.log()[log:]
        added = [line for line in lines if line.startswith("Added 1 peer to droplan-peers: ")]
        waited = [line for line in lines if "another program has held /run/droplan.lock" in line]
        assert (len(added), len(waited)) == (1, codes.count(1))
        said_besides = [line for line in lines if line not in (*added, *waited)]
        assert not said_besides, "who found nothing to change says nothing"
        assert codes.count(0) + codes.count(1) == count
        assert count > 10 or codes.count(0) == count
        assert protected(either)


class TestNft:
    @pytest.mark.parametrize("how", ["exec sleep 1000", "kill -9 $$"], ids=["hangs", "is killed"])
    def test_that_does_not_answer_leaves_the_guard_where_it_stands(self, installed: Program, how: str) -> None:
        guard = ["nft", "list", "table", "inet", "droplan"]
        before = installed.droplet.run(guard).stdout
        wrapper = installed.droplet.path("/usr/local/sbin/nft")
        wrapper.write_text(f"#!/bin/sh\n{how}\n")
        wrapper.chmod(0o755)
        installed.list_droplets(*installed.lab.peer_droplets[:1])
        try:
            assert installed.run("refresh", "--scheduled").returncode == 1
        finally:
            wrapper.unlink()
        assert "the guard stays where it stands" in installed.report()["error"]
        assert installed.droplet.run(guard).stdout == before
        assert "droplan" not in installed.droplet.run(["iptables-save", "-t", "mangle"]).stdout
        succeeded(installed.run("refresh", "--scheduled"))
        assert installed.report()["peers"] == 1
        assert installed.droplet.run(guard).stdout != before


class TestLocks:
    @pytest.fixture
    def legacy(self) -> Iterator[Patient]:
        with Lab("legacy") as lab:
            yield Patient(lab)

    @pytest.mark.parametrize("peers", [1, 400], ids=["a small change", "a large one"])
    def test_a_lock_that_is_not_let_go_changes_nothing_and_is_named(self, legacy: Patient, peers: int) -> None:
        before = legacy.rules()
        legacy.list_droplets(*fleet(peers))
        holder = legacy.droplet.popen(
            ["flock", "/run/xtables.lock", "sh", "-c", "echo held; exec cat"], stdin=subprocess.PIPE
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        done = legacy.schedule()
        holder.communicate("")
        assert done.returncode == 1
        assert "xtables" in legacy.log()[-1]
        assert legacy.report()["duration"] < 60
        assert legacy.rules() == before
        legacy.learns(peers)

    def test_a_lock_that_is_let_go_is_waited_for(self, legacy: Patient) -> None:
        legacy.list_droplets(*fleet(5))
        with legacy.droplet.popen(["flock", "/run/xtables.lock", "sh", "-c", "echo held; sleep 2"]) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            legacy.learns(5)


class TestOthers:
    def test_none_of_the_rules_that_another_program_writes_at_that_moment_is_lost(self, either: Patient) -> None:
        loop = (
            "n=0; while [ $n -lt 500 ] || ! [ -e /srv/stop ]; do n=$((n+1)); "
            "iptables -w -I INPUT 1 -s 192.0.$((n/250+2)).$((n%250))/32 -j ACCEPT || exit 1; done; echo $n"
        )
        with either.droplet.popen(["sh", "-c", loop]) as other:
            for count in range(8):
                either.list_droplets(*fleet(3 + count % 2))
                assert either.schedule().returncode in (0, 1)
            either.droplet.path("/srv/stop").touch()
            rounds = int(other.communicate(timeout=300)[0])
        either.droplet.path("/srv/stop").unlink()
        theirs = [rule for rule in either.chain("INPUT") if "-s 192.0." in rule]
        assert len(theirs) == len(set(theirs)) == rounds
        either.sound()
        assert protected(either, beside=theirs)
        assert [rule for rule in either.chain("INPUT") if "-s 192.0." in rule] == theirs, "and in their order"

    def test_who_flushes_everything_is_healed_at_the_next_run(self, either: Patient) -> None:
        whole = either.rules()
        for tool in ("iptables", "ip6tables"):
            either.edit("-F", "-X", tool=tool)
        assert probe(either.lab.stranger, either.droplet, patience=0.7).nothing, "the guard stands"
        either.flush()
        assert probe(either.lab.stranger, either.droplet).tcp
        either.sound()
        assert either.rules() == whole
        assert probe(either.lab.stranger, either.droplet, patience=0.7).nothing

    def test_docker_that_starts_after_us_is_left_as_it_is(self, either: Patient) -> None:
        docker = ["-N DOCKER-USER", "-N DOCKER", "-I FORWARD 1 -j DOCKER-USER", "-A FORWARD -o docker0 -j DOCKER"]
        either.edit(*docker, "-A DOCKER-USER -j RETURN", "-A DOCKER -d 172.17.0.2/32 -j ACCEPT")
        either.sound()
        assert either.chain("FORWARD") == ["-A FORWARD -j DOCKER-USER", "-A FORWARD -o docker0 -j DOCKER"]

    def test_a_variant_that_an_upgrade_switched_is_told_of_and_left_clean(self) -> None:
        with Lab("legacy") as lab:
            program = Program(lab)
            program.install()
            succeeded(program.run("status"))
            lab.droplet.use_iptables("nft")
            drifted = program.run("status")
            assert drifted.returncode == 3
            assert "rules of ours also stand in iptables-legacy" in " ".join(drifted.stdout.split())
            succeeded(lab.droplet.run([REFRESH], check=False))
            assert "Removed our rules from iptables-legacy" in program.read(LOG)
            assert "droplan" not in lab.droplet.run(["iptables-legacy-save"]).stdout
            assert "droplan" not in lab.droplet.run(["ip6tables-legacy-save"]).stdout
            assert protected(program)
            succeeded(program.run("status"))


class TestKernel:
    def test_without_a_match_that_is_needed_touches_nothing(self, installed: Program) -> None:
        before = installed.rules()
        tool = installed.droplet.path("/usr/sbin/iptables-nft-restore")
        real = "xtables-nft-multi iptables-restore"
        lacking = "rules=$(cat); case $rules in *conntrack*) echo 'unknown match conntrack' >&2; exit 2;; esac"
        tool.unlink()
        tool.write_text(f'#!/bin/sh\n{lacking}\nprintf "%s\\n" "$rules" | {real} "$@"\n')
        tool.chmod(0o755)
        try:
            install = installed.download("install")
            installed.edit("-D INPUT 1")
            damaged = installed.rules()
            refresh = installed.run("refresh", "--force")
            assert installed.rules() == damaged
        finally:
            tool.unlink()
            tool.symlink_to("xtables-nft-multi")
        assert (install.returncode, refresh.returncode) == (1, 1)
        assert "unknown match conntrack" in install.stderr
        assert "unknown match conntrack" in refresh.stderr
        installed.refresh()
        assert installed.rules() == before


class TestClock:
    def test_set_back_by_years_stops_nothing(self, installed: Program) -> None:
        assert "Added 1 peer" in at("+3000d", installed, NEW).stdout
        assert json.loads(installed.read(SNAPSHOT))["written"] > time.time() + 2900 * 86400
        assert "last answer   0 s ago\n" in succeeded(installed.run("status")).stdout
        installed.list_droplets(*installed.lab.peer_droplets)
        assert "Removed 1 peer" in installed.refresh().stdout
        assert abs(json.loads(installed.read(SNAPSHOT))["written"] - time.time()) < 600

    def test_so_far_that_no_certificate_is_valid_yet_changes_nothing_until_it_is_right(
        self, installed: Program
    ) -> None:
        before = installed.rules()
        refused = at("-3000d", installed, NEW)
        assert refused.returncode == 1
        assert "not yet valid" in sentence(refused)
        assert "check the clock" in sentence(refused)
        assert installed.rules() == before
        assert "Added 1 peer" in installed.refresh().stdout


def at(shift: str, program: Program, *peers: ListedDroplet) -> Done:
    """Refresh while the Droplet's clock is ``shift`` off."""
    program.list_droplets(*program.lab.peer_droplets, *peers)
    clock = ["faketime", "-f", shift]
    return program.droplet.run([*clock, PROGRAM, "refresh", "--force"], check=False, timeout=100)
