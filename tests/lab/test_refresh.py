"""What a refresh writes, what it leaves alone, and when it writes nothing; with both variants of iptables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from _pytest.mark import ParameterSet  # pytest.param() returns it, and pytest names it nowhere else

from tests.bed import Lab, fleet, probe
from tests.bed.program import (
    ERRORS,
    PROGRAM,
    PROTECTED_INPUT,
    SETTINGS,
    Program,
    commits,
    scattered,
    sentence,
    succeeded,
    traced,
    writes,
)

OTHERS = """*filter
:others - [0:0]
[7:700] -A INPUT -i docker0 -p tcp -m tcp --dport 22 -j ACCEPT
[8:800] -A INPUT -i eth0 -p tcp -m tcp --dport 25 -j DROP
[9:900] -A FORWARD -i docker0 -j others
[11:1100] -A others -s 192.0.2.1/32 -j RETURN
COMMIT
*nat
[12:1200] -A POSTROUTING -s 172.17.0.0/16 -o eth9 -j MASQUERADE
COMMIT
"""


@pytest.fixture(scope="module", params=["nft", "legacy"])
def installed(request: pytest.FixtureRequest) -> Iterator[Program]:
    with Lab(request.param) as lab:
        program = Program(lab)
        program.install_for_many()
        yield program


def is_protected(program: Program) -> bool:
    """Our rules are in INPUT once and in order, in both families; in FORWARD there is none: that is the guard's."""
    return all(
        [rule for rule in program.chain(name, tool) if ("droplan" in rule or "eth1" in rule) and "REJECT" not in rule]
        == list(head)
        for tool in ("iptables", "ip6tables")
        for name, head in (("INPUT", PROTECTED_INPUT), ("FORWARD", ()))
    )


def use_restore(program: Program, script: str) -> None:
    """Put a shell script where the command is that writes IPv4 rules in bulk; "" puts the command back."""
    tool = program.droplet.path(f"/usr/sbin/iptables-{program.lab.iptables}-restore")
    tool.unlink()
    if script:
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
    else:
        tool.symlink_to(f"xtables-{program.lab.iptables}-multi")


class TestPlace:
    def test_the_rules_are_first_in_input(self, program: Program) -> None:
        assert program.chain("INPUT") == list(PROTECTED_INPUT)
        assert is_protected(program)

    def test_up_to_64_peers_are_listed_one_by_one(self, program: Program) -> None:
        accepts = [f"-A droplan-peers -s {each.private}/32 -j ACCEPT" for each in program.lab.peer_droplets]
        assert program.chain("droplan-peers") == [ERRORS, *accepts]

    def test_the_rules_come_before_those_that_are_there_already(self, program: Program) -> None:
        program.edit("-F INPUT", "-I INPUT -j ACCEPT", "-A INPUT -i eth1 -s 192.0.2.0/24 -j REJECT")
        program.refresh()
        theirs = [
            "-A INPUT -j ACCEPT",
            "-A INPUT -s 192.0.2.0/24 -i eth1 -j REJECT --reject-with icmp-port-unreachable",
        ]
        assert program.chain("INPUT") == [*PROTECTED_INPUT, *theirs]


DAMAGE = {
    "a rule that refuses all came first in INPUT": ["-I INPUT -i eth1 -j REJECT"],
    "a jump of ours in FORWARD": ["-I FORWARD -i eth1 -j droplan-peers"],
    "the rule for replies is gone": ["-D INPUT 1"],
    "the jump is gone": ["-D INPUT 2"],
    "the drop is gone": ["-D INPUT 3"],
    "INPUT was flushed": ["-F INPUT"],
    "a chain is gone": ["-F INPUT", "-F droplan-peers", "-X droplan-peers"],
    "all was flushed": ["-F"],
    "the drop moved up": ["-D INPUT 3", "-I INPUT 2 -i eth1 -j DROP"],
    "the jump moved down": ["-D INPUT 2", "-A INPUT -i eth1 -j droplan-peers"],
    "the jump is there twice": ["-I INPUT -i eth1 -j droplan-peers"],
    "the drop is there twice": ["-A INPUT -i eth1 -j DROP"],
    "the peers' chain was emptied": ["-F droplan-peers"],
    "a stranger was let in by hand": ["-I droplan-peers -s 10.132.0.5/32 -j ACCEPT"],
    "the peers' chain lost the rule for errors": ["-D droplan-peers 1"],
    "a peer is there twice": ["-A droplan-peers -s 10.132.0.3/32 -j ACCEPT"],
}
# What is tried with legacy tables for each commit: what is gone, in part and all, what is twice, and who was let in.
OF_LEGACY = (
    "the drop is gone",
    "a chain is gone",
    "all was flushed",
    "the jump is there twice",
    "a stranger was let in by hand",
)


def damaged() -> Iterator[ParameterSet]:
    """Each damage with each variant; most of those with legacy tables at night."""
    for variant in ("nft", "legacy"):
        for what, commands in DAMAGE.items():
            of_the_day = variant == "nft" or what in OF_LEGACY
            yield pytest.param(
                variant, commands, id=f"{variant}: {what}", marks=[] if of_the_day else [pytest.mark.nightly]
            )


class TestRepair:
    @pytest.mark.parametrize(("installed", "damage"), [*damaged()], indirect=["installed"])
    def test_damage_is_drift_and_the_next_refresh_repairs_it(self, program: Program, damage: list[str]) -> None:
        program.edit("-A INPUT -s 192.0.2.9/32 -j DROP", "-A FORWARD -s 192.0.2.9/32 -j DROP")
        whole = {name: program.chain(name) for name in ("droplan-peers",)}
        program.edit(*damage)
        foreign = [rule for rule in program.chain("INPUT") + program.chain("FORWARD") if "192.0.2." in rule]
        drifted = program.run("status")
        assert drifted.returncode == 3
        assert "DRIFT" in drifted.stdout

        done = program.refresh()

        assert "rules repaired\n" in done.stdout
        assert is_protected(program)
        assert {name: program.chain(name) for name in whole} == whole
        assert [rule for rule in program.chain("INPUT") + program.chain("FORWARD") if "192.0.2." in rule] == foreign
        assert program.run("status").returncode == 0

    def test_ipv6_is_repaired_alike(self, program: Program) -> None:
        before = program.rules()
        program.edit("-D INPUT 3", "-F droplan-peers", tool="ip6tables")
        assert program.run("status").returncode == 3
        program.refresh()
        assert program.rules() == before

    def test_the_rules_that_the_go_droplan_left_are_taken_over(self, program: Program) -> None:
        program.droplet.run(["nft", "delete", "table", "inet", "droplan"])
        program.edit("-F", "-X", "-N droplan-peers", "-A INPUT -s 192.0.2.9/32 -j DROP")
        program.edit("-A droplan-peers -s 10.132.0.5/32 -j ACCEPT")
        program.edit(
            "-A INPUT -i eth1 -j droplan-peers",
            "-A INPUT -i eth1 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            "-A INPUT -i eth1 -j DROP",
        )
        assert probe(program.lab.stranger, program.droplet).tcp
        program.refresh()
        assert program.chain("INPUT") == [*PROTECTED_INPUT, "-A INPUT -s 192.0.2.9/32 -j DROP"]
        assert probe(program.lab.stranger, program.droplet, patience=0.7).nothing
        assert program.run("status").returncode == 0


class TestOthersRules:
    def test_rules_and_counters_of_others_stay_as_they_are(self, program: Program) -> None:
        program.droplet.run(["iptables-restore", "--noflush", "--counters"], input=OTHERS)
        before = self._theirs(program)
        assert len(before) == 5
        program.list_droplets(*fleet(5))
        program.refresh()
        program.list_droplets(*fleet(500))
        program.refresh()
        program.edit("-F droplan-peers", "-D INPUT 1")
        program.refresh()
        assert self._theirs(program) == before

    def _theirs(self, program: Program) -> list[str]:
        saved = program.droplet.run(["iptables-save", "--counters"]).stdout.splitlines()
        return [line for line in saved if line.startswith("[") and "droplan" not in line and "-i eth1" not in line]

    def test_no_rule_that_another_program_writes_meanwhile_is_lost(self, program: Program) -> None:
        program.edit("-N others")
        stop = program.droplet.path("/run/stop")
        # Without any pause, iptables-nft-save never gets a view of the table that holds until it is printed.
        loop = "until [ -e /run/stop ]; do iptables -w -A others -s 192.0.2.1/32 -j RETURN && echo; sleep 0.02; done"
        other = program.droplet.popen(["sh", "-c", loop])
        for gone in range(8):
            program.list_droplets(*fleet(30)[gone:])
            program.refresh()
        stop.touch()
        written = len(other.communicate(timeout=60)[0])
        stop.unlink()
        assert written > 8
        assert len(program.chain("others")) == written
        assert is_protected(program)

    def test_choosing_the_backend_loads_no_tables_of_the_other_variant(self, program: Program) -> None:
        if program.lab.iptables == "nft":
            assert program.droplet.run(["cat", "/proc/net/ip_tables_names"], check=False).stdout == ""
        else:
            assert "droplan" not in program.droplet.run(["iptables-nft-save"]).stdout


class TestWriting:
    def test_nothing_is_written_when_nothing_changed(self, program: Program) -> None:
        assert writes(program) == 0

    def test_nothing_is_written_when_nothing_changed_among_thousands(self, program: Program) -> None:
        program.list_droplets(*fleet(1000))
        program.refresh()
        assert writes(program) == 0
        assert program.report()["changed"] is False

    @pytest.mark.parametrize("count", [1, 40, 1000], ids=["one", "flat", "tree"])
    def test_a_change_is_one_transaction_of_guard_and_door_each(self, program: Program, count: int) -> None:
        program.list_droplets(*fleet(count))
        assert writes(program) == 2
        assert program.report()["changed"] is True
        program.list_droplets(*fleet(count)[1:], *program.lab.peer_droplets)
        assert writes(program) == 2

    def test_a_repair_of_both_families_is_one_transaction_each(self, program: Program) -> None:
        program.edit("-F")
        program.edit("-F", tool="ip6tables")
        assert writes(program) == 2

    @pytest.mark.parametrize("script", ["exit 0", "cat >/dev/null; echo no space left >&2; exit 4"])
    def test_rules_that_are_not_there_afterwards_are_an_error(self, program: Program, script: str) -> None:
        before = program.rules()
        program.list_droplets(*scattered(1000))
        use_restore(program, script)
        try:
            done = program.run("refresh", "--force")
        finally:
            use_restore(program, "")
        assert done.returncode == 1
        assert "IPv4 rules" in sentence(done)
        assert program.rules() == before
        assert program.report()["result"] == "failed"
        assert program.report()["error"] in done.stderr
        program.refresh()
        assert is_protected(program)

    def test_of_refreshes_at_once_one_waits_for_the_other(self, program: Program) -> None:
        program.list_droplets(*fleet(100))
        running = [program.droplet.popen([PROGRAM, "refresh", "--force"]) for _ in range(4)]
        said = [each.communicate(timeout=60) for each in running]
        assert [each.returncode for each in running] == [0] * 4, said
        assert [out.count("Added") for out, _ in said].count(1) == 1
        assert is_protected(program)


class TestLegacyBackend:
    @pytest.fixture
    def legacy(self) -> Iterator[Program]:
        with Lab("legacy") as lab:
            program = Program(lab)
            program.install()
            yield program

    def test_small_changes_go_through_python_iptables_without_a_process(self, legacy: Program) -> None:
        assert "python-iptables" in legacy.status()["backend_why"]
        legacy.list_droplets(*fleet(20))
        started = "".join(traced(legacy, "execve", "refresh", "--force"))
        assert "restore" not in started
        assert "ldconfig" not in started
        assert "gcc" not in started
        legacy.list_droplets(*scattered(1000))
        started = "".join(traced(legacy, "execve", "refresh", "--force"))
        assert "iptables-legacy-restore" in started, "bulk is cheaper that way"

    def test_without_python_iptables_the_restore_command_writes_everything(self, legacy: Program) -> None:
        # The C part cannot be loaded from a file system that is mounted noexec.
        legacy.droplet.run(["mount", "-t", "tmpfs", "-o", "noexec,mode=755", "tmpfs", "/var/lib/droplan/zipapp"])
        backend = legacy.status()["backend_why"]
        assert legacy.status()["backend"] == "iptables-legacy"
        assert "python-iptables does not work here" in backend
        legacy.list_droplets(legacy.lab.peer_droplets[0])
        assert "iptables-legacy-restore" in "".join(traced(legacy, "execve", "refresh", "--force"))
        assert is_protected(legacy)
        assert probe(legacy.lab.peers[0], legacy.droplet).tcp
        assert probe(legacy.lab.peers[1], legacy.droplet, patience=0.7).nothing


def test_the_restore_verb_needs_no_network(program: Program) -> None:
    before = program.rules()
    program.edit("-F", "-X")
    program.edit("-F", "-X", tool="ip6tables")
    program.droplet.run(["ip", "link", "set", "eth0", "down"])
    try:
        succeeded(program.run("restore"))
    finally:
        program.droplet.run(["ip", "link", "set", "eth0", "up"])
        program.droplet.ip("route add default via 104.236.32.1\n")
    assert program.rules() == before


def test_the_restore_verb_needs_no_settings_that_can_be_read(program: Program) -> None:
    before, file = program.rules(), program.droplet.path(SETTINGS)
    settings = file.read_text()
    file.write_text("DROPLAN_SCOP=vpc\nnonsense\n")
    file.chmod(0o666)
    program.edit("-F", "-X")
    program.droplet.run(["nft", "delete table inet droplan"])
    try:
        succeeded(program.run("restore", DROPLAN_MODE="nonsense"))
    finally:
        file.write_text(settings)
        file.chmod(0o600)
    assert program.rules() == before
    assert probe(program.lab.stranger, program.droplet, patience=0.7).nothing
    assert probe(program.lab.peers[0], program.droplet).tcp


def test_a_refresh_says_how_it_went(program: Program) -> None:
    program.list_droplets(*fleet(4))
    done = program.refresh()
    assert done.stderr == ""
    assert done.stdout.split(maxsplit=2)[2].startswith("Added 4 peers to droplan-peers: ")
    report = program.report()
    assert {key: report[key] for key in ("result", "peers", "changed", "error")} == {
        "result": "ok",
        "peers": 4,
        "changed": True,
        "error": None,
    }
    assert report["backend"] == f"iptables-{program.lab.iptables}"
    assert 0 < report["duration"] < 60


def test_status_tells_a_person_and_a_program_how_things_stand(program: Program) -> None:
    told = program.run("status").stdout
    for word in (
        "eth1",
        f"iptables-{program.lab.iptables}",
        "3 in droplan-peers",
        "OK  eth1 is open to 3 Droplets, closed to everyone else\n",
        "next refresh",
    ):
        assert word in told
    status = program.status()
    assert status["interfaces"] == ["eth1"]
    assert status["peers"] == {"droplan-peers": 3}
    assert status["drift"] == []
    assert status["snapshot_age"] >= 0
    assert status["next_run"] > 0
    before = program.rules(), commits(program.droplet)
    program.edit("-D INPUT 3")
    changed = commits(program.droplet)
    drifted = program.run("status", "--json")
    assert drifted.returncode == 3
    assert (
        '"IPv4: our rules in INPUT are not there once, in order and before what shuts everybody out"'
        in drifted.stdout
    )
    assert commits(program.droplet) == changed, "looking writes nothing"
    assert program.rules() != before[0]


def test_the_token_is_in_no_command_line_and_in_no_childs_environment(program: Program) -> None:
    program.list_droplets(*fleet(3))
    # Told by the environment, which is the likeliest to be handed on.
    started = traced(program, "execve", "refresh", "--force", DO_KEY=program.lab.token)
    assert len(started) > 2
    assert [call for call in started[1:] if program.lab.token in call] == []
