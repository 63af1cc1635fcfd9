"""The watcher on a Droplet, judged by packets: who gets in and when, what is healed, and what a flood costs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from droplan_boot.host import lock
from tests.bed import Flows, Lab, connects, probe
from tests.bed.program import CRON, SNAPSHOT, Program
from tests.bed.reach import ECHO_PORT, answers_to
from tests.bed.watching import Watcher, blocked, eventually, flood, newcomer, watching


@pytest.fixture(scope="module", params=["nft", "legacy"])
def installed(request: pytest.FixtureRequest) -> Iterator[Program]:
    with Lab(request.param) as lab:
        program = Program(lab)
        program.install()
        program.droplet.path(CRON).unlink()  # what the API is asked for is the watcher's doing alone
        yield program


@pytest.fixture
def watcher(installed: Program) -> Iterator[Watcher]:
    installed.reset()
    installed.droplet.path("/var/lib/droplan/blocked.json").unlink(missing_ok=True)
    with watching(installed) as running:
        installed.lab.do.forget_requests()
        yield running


@pytest.fixture
def nft_only(request: pytest.FixtureRequest, installed: Program) -> Watcher:
    """Start the watcher where the kernel tells of changes: legacy tables tell nobody (DESIGN.md, section 8)."""
    if installed.lab.iptables != "nft":
        pytest.skip("legacy tables notify nobody of changes")
    watcher: Watcher = request.getfixturevalue("watcher")
    return watcher


def right(program: Program) -> bool:
    """Say whether the rules are as they should be."""
    return not program.status()["drift"]


def refreshes(lab: Lab) -> int:
    """Return how often the account's Droplets were listed."""
    return sum(request.target.endswith("per_page=200") for request in lab.do.requests("api"))


class TestNewPeer:
    def test_a_droplet_that_the_account_lists_is_in_at_a_second_syn(self, watcher: Watcher) -> None:
        lab = watcher.program.lab
        lab.do.add(newcomer(lab.stranger))
        assert answers_to(lab.stranger, (lab.droplet.address, ECHO_PORT), "tcp", 8.0)
        assert refreshes(lab) == 1

    def test_a_stranger_stays_out_however_often_it_knocks_and_costs_a_few_requests(self, watcher: Watcher) -> None:
        lab = watcher.program.lab
        for _ in range(3):
            assert probe(lab.stranger, lab.droplet).nothing
        watcher.settle()
        assert 1 <= refreshes(lab) <= 2

    def test_who_was_shut_out_is_named(self, watcher: Watcher) -> None:
        lab = watcher.program.lab
        lab.do.add(dataclasses.replace(newcomer(lab.stranger), region="fra1"))
        assert not connects(lab.stranger, lab.droplet, 5432, patience=0.3)
        (found,) = eventually_sources(watcher.program, lambda each: each["why"])
        assert (found["source"], found["name"], found["why"]) == (lab.stranger.address, "newcomer", "region")
        assert found["services"][0]["service"] == "tcp/5432"
        assert found["interface"] == "eth1"

    def test_it_is_kept_over_a_restart(self, watcher: Watcher) -> None:
        program = watcher.program
        assert not connects(program.lab.stranger, program.droplet, 5432, patience=0.3)
        eventually(lambda: blocked(program)["sources"])
        watcher.stop()
        with watching(program):
            assert blocked(program)["sources"][0]["source"] == program.lab.stranger.address

    def test_a_peer_that_is_shut_out_is_not_looked_up(self, watcher: Watcher) -> None:
        program = watcher.program
        peer = program.lab.peers[0]
        # The watcher is about to put that right; it waits for the lock.
        with lock.held(program.droplet.path("/run/droplan.writing.lock"), wait=5.0):
            refuse = f"ip saddr {peer.address} goto droplan-refuse"
            program.droplet.run(["nft", f"insert rule inet droplan droplan-private {refuse}"])
            assert not connects(peer, program.droplet, 5432, patience=0.3)
        eventually(lambda: blocked(program)["sources"])
        assert [each["source"] for each in blocked(program)["sources"]] == [peer.address]
        watcher.settle()
        assert program.lab.do.requests("api") == []


def eventually_sources(program: Program, holds: Callable[[dict[str, Any]], object]) -> list[dict[str, Any]]:
    eventually(lambda: any(holds(each) for each in blocked(program)["sources"]))
    return list(blocked(program)["sources"])


class TestHealing:
    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param("nft flush ruleset", id="everything of nftables is flushed"),
            pytest.param("iptables -F", id="all chains are emptied"),
            pytest.param("iptables -F INPUT", id="INPUT is"),
            pytest.param("iptables -D INPUT 3", id="a rule is deleted"),
            pytest.param("iptables -I INPUT -i eth1 -j ACCEPT", id="a rule comes first"),
            pytest.param("iptables -I droplan-peers -j ACCEPT", id="the peers' chain lets everybody in"),
            pytest.param(
                "iptables-save | grep -v droplan | grep -v eth1 | iptables-restore", id="another set is loaded"
            ),
            pytest.param("ip6tables -F; ip6tables -X", id="IPv6 is flushed"),
        ],
    )
    def test_what_others_undo_is_put_back_without_the_api(self, nft_only: Watcher, damage: str) -> None:
        program = nft_only.program
        assert right(program)
        program.droplet.run(["sh", "-c", damage])
        eventually(lambda: right(program))
        assert program.lab.do.requests("api") == []
        assert probe(program.lab.stranger, program.droplet).nothing
        assert probe(program.lab.peers[0], program.droplet).tcp

    def test_it_waits_for_no_run_that_waits_for_an_answer(self, nft_only: Watcher) -> None:
        program = nft_only.program
        with lock.held(program.droplet.path("/run/droplan.lock"), wait=5.0):  # as a refresh does all the time
            program.droplet.run(["nft", "flush", "ruleset"])
            eventually(lambda: right(program))

    def test_who_undoes_it_each_time_is_left_alone_until_the_next_refresh(self, nft_only: Watcher) -> None:
        program = nft_only.program
        assert right(program)
        for _ in range(5):
            program.droplet.run(["iptables", "-F", "INPUT"])
            eventually(lambda: right(program))
            nft_only.settle()
        program.droplet.run(["iptables", "-F", "INPUT"])
        nft_only.settle()
        assert not right(program)
        assert '"quarrel": "iptables"' in program.read("/var/lib/droplan/watch.json")
        program.refresh()
        nft_only.settle()
        program.droplet.run(["iptables", "-F", "INPUT"])
        eventually(lambda: right(program))

    def test_its_own_writes_and_those_of_a_refresh_are_not_looked_at(self, nft_only: Watcher) -> None:
        program = nft_only.program
        program.list_droplets(program.lab.peer_droplets[0])
        program.refresh()
        seen = nft_only.worked()
        time.sleep(2.0)
        assert nft_only.worked() == seen

    def test_what_others_do_to_their_own_chains_starts_nothing(self, nft_only: Watcher) -> None:
        program = nft_only.program
        program.edit("-N KUBE-SERVICES", "-t nat -N DOCKER")
        nft_only.settle()
        seen = nft_only.worked()
        for n in range(50):
            program.edit(f"-A KUBE-SERVICES -s 192.0.2.{n} -j DROP", f"-t nat -A DOCKER -s 192.0.2.{n} -j RETURN")
        time.sleep(1.0)
        assert nft_only.worked() == seen


def rename(program: Program, now: str, then: str) -> None:
    """Give the private card another name, with its address."""
    address = program.droplet.address
    script = f"""
        ip link set {now} down; ip link set {now} name {then}; ip link set {then} up
        ip address replace {address}/16 dev {then}
    """
    program.droplet.run(["sh", "-ec", script])


class TestLinks:
    def test_a_card_that_is_renamed_stays_closed(self, watcher: Watcher) -> None:
        program = watcher.program
        rename(program, "eth1", "vpc0")
        eventually(lambda: "-A INPUT -i vpc0 -j DROP" in program.chain("INPUT"))
        assert not any("eth1" in rule for rule in program.chain("INPUT"))
        assert program.lab.do.requests("api") == []
        assert not connects(program.lab.stranger, program.droplet, ECHO_PORT, patience=0.5)
        rename(program, "vpc0", "eth1")
        eventually(lambda: "-A INPUT -i eth1 -j DROP" in program.chain("INPUT"))
        eventually(lambda: '"vpc0"' not in program.read(SNAPSHOT))

    def test_one_that_was_renamed_while_nobody_watched_is_covered_as_soon_as_somebody_does(
        self, watcher: Watcher
    ) -> None:
        program = watcher.program
        watcher.stop()
        rename(program, "eth1", "vpc0")
        with watching(program):
            eventually(lambda: "-A INPUT -i vpc0 -j DROP" in program.chain("INPUT"))
            rename(program, "vpc0", "eth1")
            eventually(lambda: "-A INPUT -i eth1 -j DROP" in program.chain("INPUT"))
            eventually(lambda: '"vpc0"' not in program.read(SNAPSHOT))

    def test_a_card_that_a_bridge_takes_stays_closed(self, watcher: Watcher) -> None:
        program = watcher.program
        address = program.droplet.address
        script = (
            "ip link add br0 type bridge; ip link set br0 address $(cat /sys/class/net/eth1/address); "
            f"ip link set eth1 master br0; ip address del {address}/16 dev eth1; ip link set br0 up; "
            f"ip address add {address}/16 dev br0"
        )
        program.droplet.run(["sh", "-ec", script])
        eventually(lambda: "-A INPUT -i br0 -j DROP" in program.chain("INPUT"))
        assert not connects(program.lab.stranger, program.droplet, ECHO_PORT, patience=0.5)
        program.droplet.run(["sh", "-ec", f"ip link delete br0; ip address add {address}/16 dev eth1"])
        eventually(lambda: "-A INPUT -i eth1 -j DROP" in program.chain("INPUT"))


# Who is flooded is nft's guard, beside either variant.
@pytest.mark.parametrize("installed", ["nft", pytest.param("legacy", marks=pytest.mark.nightly)], indirect=True)
class TestFlood:
    def test_spoofed_sources_cost_few_requests_and_no_packet_of_a_peer(self, watcher: Watcher) -> None:
        program = watcher.program
        with Flows(program.lab.peers[0], program.droplet) as flows:
            sent = flood(program.lab.stranger, program.droplet, seconds=10.0)
        assert sent > 10_000
        assert flows.lost == 0
        watcher.settle()
        assert 1 <= refreshes(program.lab) <= 10
        assert len(program.lab.do.requests("api")) <= 30
        eventually(lambda: len(blocked(program)["sources"]) > 100)
        assert len(blocked(program)["sources"]) <= 256


def test_a_second_watcher_says_so_and_ends(watcher: Watcher) -> None:
    done = watcher.program.run("watch")
    assert done.returncode == 1
    assert "another watcher is running" in done.stderr


def test_a_new_program_takes_over_in_the_same_process(watcher: Watcher) -> None:
    program = watcher.program
    pid = watcher.pid
    program.droplet.run(["sh", "-c", "cp -p /opt/droplan/droplan /opt/new && mv /opt/new /opt/droplan/droplan"])
    connects(program.lab.stranger, program.droplet, 5432, patience=0.3)
    watcher.settle()
    assert watcher.pid == pid
    watcher.stop()
    assert watcher.process.returncode == 0


def test_what_cron_misses_it_runs_and_says_so(installed: Program) -> None:
    installed.reset()
    with watching(installed, interval=3) as watcher:
        installed.lab.do.forget_requests()
        eventually(lambda: '"missed": true' in installed.read("/var/lib/droplan/watch.json"))
        watcher.settle()
        assert refreshes(installed.lab) >= 1
