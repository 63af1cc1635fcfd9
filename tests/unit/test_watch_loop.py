"""What the watcher does with what it decided: its lines to the kernel and its children are the test's."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from droplan_boot.host import netlink
from droplan_boot.host.files import Files
from droplan_boot.state import watching
from droplan_boot.watch import children, loop
from droplan_boot.watch.children import LINKS, REFRESH, REPAIR, REPAIRED, Child
from droplan_boot.watch.loop import Watcher
from droplan_boot.watch.nflog import ShutOut
from droplan_boot.watch.outline import State, number
from droplan_boot.watch.rulesets import SURE


class Runs(list[tuple[str, ...]]):
    """What was started, and how it will have ended."""

    status: int | None = None


@pytest.fixture
def state(tmp_path: Path) -> State:
    (tmp_path / "outline.json").write_text('{"interfaces": ["eth1"], "networks": ["10.132.0.0/16"]}')
    (tmp_path / "snapshot.json").write_text('{"policy": {"segments": [{"peers": ["10.132.0.3"]}]}}')
    return State(str(tmp_path), str(tmp_path / "lock"))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Return what the watcher starts; it ends with ``status`` once that is set."""
    made = Runs()

    class Run(Child):
        def __init__(self, _program: list[str], verb: tuple[str, ...], now: float) -> None:
            self.verb, self.began, self.pid = verb, now, 0
            made.append(verb)

        def ended(self, _now: float) -> int | None:
            return made.status

    monkeypatch.setattr(loop, "Child", Run)
    return made


@pytest.fixture
def watcher(state: State, runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Watcher:
    """Return a watcher that is deaf: tests tell it what was heard."""
    monkeypatch.setattr(Watcher, "_open", lambda *_arguments: None)
    program = ["/usr/bin/python3", str(tmp_path / "droplan")]
    return Watcher(program, state, 300.0, str(tmp_path / "droplan.env"), shared=False)


def knock(source: str, *, public: bool = False, observed: bool = False) -> ShutOut:
    return ShutOut(source, "10.132.0.2", "tcp", 22, 0, public, observed)


class TestKnocks:
    def test_a_source_of_the_private_network_that_nobody_knows_starts_a_refresh(
        self, watcher: Watcher, runs: Runs
    ) -> None:
        now = time.monotonic()
        watcher._note(knock("10.132.0.5"), now)
        watcher._act(now)
        assert runs == [REFRESH]

    @pytest.mark.parametrize(
        "packet",
        [
            pytest.param(knock("10.133.0.5"), id="from another network"),
            pytest.param(knock("10.132.0.3"), id="of a peer"),
            pytest.param(knock("fe80::5"), id="of a neighbour over IPv6"),
            pytest.param(knock("10.132.0.5", public=True), id="from the public network"),
        ],
    )
    def test_a_packet_that_no_refresh_would_let_in_starts_none_and_is_noted(
        self, watcher: Watcher, runs: Runs, packet: ShutOut
    ) -> None:
        now = time.monotonic()
        watcher._note(packet, now)
        watcher._act(now)
        assert runs == []
        assert packet.source in watcher.register.text()

    def test_who_would_be_shut_out_if_droplan_did_more_than_observe_is_looked_up_as_well(
        self, watcher: Watcher, runs: Runs
    ) -> None:
        now = time.monotonic()
        watcher._note(knock("10.132.0.5", observed=True), now)
        watcher._act(now)
        assert runs == [REFRESH]

    def test_any_private_source_counts_where_no_network_is_known(
        self, watcher: Watcher, runs: Runs, tmp_path: Path
    ) -> None:
        (tmp_path / "outline.json").write_text('{"interfaces": ["eth1"], "networks": []}')
        watcher._learn()
        now = time.monotonic()
        watcher._note(knock("192.168.1.1"), now)
        watcher._act(now)
        assert runs == [REFRESH]

    def test_nobody_is_looked_up_while_an_install_has_not_ended(
        self, watcher: Watcher, runs: Runs, tmp_path: Path
    ) -> None:
        (tmp_path / "unfinished").touch()
        now = time.monotonic()
        watcher._note(knock("10.132.0.5"), now)
        watcher._act(now)
        assert runs == []

    def test_nor_does_it_lie_awake_for_them_until_then(self, watcher: Watcher, tmp_path: Path) -> None:
        (tmp_path / "unfinished").touch()
        now = time.monotonic()
        watcher._note(knock("10.132.0.5"), now)
        watcher._act(now)
        watcher.register.write(now)
        assert watcher._next() > now + 60

    def test_nor_for_a_refresh_that_is_overdue(self, watcher: Watcher, runs: Runs, tmp_path: Path) -> None:
        (tmp_path / "unfinished").touch()
        now = time.monotonic()
        watcher._act(now + 700)
        assert runs == []
        assert watcher._next() > now + 700 + 60
        assert not watcher.overdue.missed, "nobody has run it instead"

    @pytest.mark.parametrize(
        ("remaining", "reset", "started"), [(499, 2e9, False), (501, 2e9, True), (0, 1000.0, True), ("x", 2e9, True)]
    )
    def test_nor_while_the_api_has_little_left_until_its_reset(
        self, watcher: Watcher, runs: Runs, tmp_path: Path, remaining: object, reset: float, started: bool
    ) -> None:
        (tmp_path / "budget.json").write_text(json.dumps({"remaining": remaining, "limit": 5000, "reset": reset}))
        now = time.monotonic()
        watcher._note(knock("10.132.0.5"), now)
        watcher._act(now)
        assert (runs == [REFRESH]) is started


class TestChildren:
    def test_one_runs_at_a_time_and_repairs_come_first(self, watcher: Watcher, runs: Runs) -> None:
        now = time.monotonic()
        watcher._note(knock("10.132.0.5"), now)
        watcher.healing.heard(SURE, "nft", now)
        watcher.links_due = now
        watcher._act(now + 1)
        watcher._act(now + 2)
        assert runs == [REPAIR]
        runs.status = 0
        watcher._act(now + 3)
        watcher._act(now + 4)
        assert runs == [REPAIR, LINKS, REFRESH]

    @pytest.mark.parametrize("asks", [REFRESH, LINKS])
    def test_but_a_repair_waits_for_nobody_who_asks(
        self, watcher: Watcher, runs: Runs, asks: tuple[str, ...]
    ) -> None:
        now = time.monotonic()
        if asks == LINKS:
            watcher.links_due = now
        else:
            watcher._note(knock("10.132.0.5"), now)
        watcher._act(now)
        watcher.healing.heard(SURE, "nft", now + 1)
        watcher._act(now + 2)
        watcher.links_due = now + 2
        watcher._act(now + 3)
        assert runs == [asks, REPAIR]

    def test_a_repair_is_started_for_a_change_of_ours(self, watcher: Watcher, runs: Runs) -> None:
        now = time.monotonic()
        watcher.healing.heard(SURE, "nft", now)
        watcher._act(now + 0.01)
        assert runs == []
        watcher._act(now + 0.2)
        assert runs == [REPAIR]

    def test_one_that_failed_is_tried_again_ever_more_seldom(self, watcher: Watcher, runs: Runs) -> None:
        runs.status = 1
        now = time.monotonic()
        watcher.healing.heard(SURE, "nft", now)
        started = []
        for tick in range(600):
            before = len(runs)
            watcher._act(now + tick)
            started += [tick] if len(runs) > before else []
        assert 5 <= len(started) <= 18
        assert started[-1] - started[-2] > 30

    def test_links_are_tried_five_times_more_and_then_the_rules_alone(self, watcher: Watcher, runs: Runs) -> None:
        runs.status = 1
        watcher.links_due = now = time.monotonic()
        for tick in range(100):
            watcher._act(now + tick)
        assert runs.count(LINKS) == 6
        assert runs[:7] == [LINKS] * 6 + [REPAIR]

    def test_whom_it_quarrels_with_is_told(self, watcher: Watcher, runs: Runs, tmp_path: Path) -> None:
        runs.status = REPAIRED
        now = time.monotonic()
        for n in range(10):
            watcher.healing.heard(SURE, "firewalld", now + n)
            watcher._act(now + n + 0.5)
            watcher._act(now + n + 0.6)
        assert runs == [REPAIR] * 5
        watcher._tell()
        assert json.loads((tmp_path / "watch.json").read_text())["quarrel"] == "firewalld"

    def test_a_refresh_that_is_overdue_is_run_and_that_is_told(
        self, watcher: Watcher, runs: Runs, tmp_path: Path
    ) -> None:
        now = time.monotonic()
        watcher._act(now + 590)
        assert runs == []
        watcher._act(now + 601)
        assert runs == [REFRESH]
        watcher._tell()
        assert json.loads((tmp_path / "watch.json").read_text())["missed"] is True

    def test_one_that_never_ends_is_ended(self) -> None:
        child = Child(["/bin/sh", "-c", "exec sleep 1000"], (), 0.0)
        assert child.ended(children.LONGEST_S - 1) is None
        child.ended(children.LONGEST_S + 1)
        until = time.monotonic() + 10
        status = None
        while status is None and time.monotonic() < until:
            status = child.ended(0.0)
        assert status == -9

    def test_one_that_does_not_even_end_then_is_asked_for_once_a_second(self, watcher: Watcher, runs: Runs) -> None:
        watcher.links_due = time.monotonic() - children.LONGEST_S - 10
        watcher._act(watcher.links_due)
        assert runs == [LINKS]
        assert watcher._next() > time.monotonic() + 0.5

    def test_one_gets_no_environment_and_tells_its_exit_status(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("DO_KEY", "dop_v1_secret")
        child = Child(["/bin/sh", "-c", f"env > {tmp_path}/out; exit 10"], (), 0.0)
        _, status = os.waitpid(child.pid, 0)
        assert os.waitstatus_to_exitcode(status) == REPAIRED
        assert "DO_KEY" not in (tmp_path / "out").read_text()


class TestRules:
    @pytest.mark.parametrize("busy", [False, True])
    def test_what_a_droplan_writes_is_no_reason_to_look(
        self, watcher: Watcher, monkeypatch: pytest.MonkeyPatch, busy: bool
    ) -> None:
        monkeypatch.setattr(State, "busy", lambda _self: busy)
        watcher._hear_rules(Told(bytes.fromhex("".join(_told("iptables-peers")))))
        assert (watcher.healing.next() is None) is busy

    def test_what_was_missed_is(self, watcher: Watcher) -> None:
        watcher._hear_rules(Told(None))
        assert watcher.healing.next() is not None


class TestCards:
    @pytest.mark.parametrize("answer", [True, False, None], ids=["others", "the same", "none"])
    def test_when_messages_were_lost_the_cards_are_looked_at_unless_the_kernel_tells_the_same(
        self, watcher: Watcher, monkeypatch: pytest.MonkeyPatch, answer: bool | None
    ) -> None:
        def ask(_line: object) -> bool:
            if answer is None:
                raise netlink.MissedError
            return answer

        monkeypatch.setattr(netlink, "Line", Told)
        monkeypatch.setattr(watcher.links, "ask", ask)
        watcher._hear_cards(Told(None))
        assert (watcher.links_due is None) is (answer is False)


class Told(netlink.Line):
    """A line on which one read returns something, or None: something was lost."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data

    def read(self) -> bytes:
        data, self.data = self.data, b""
        if data is None:
            raise netlink.MissedError
        return data


def _told(name: str) -> list[str]:
    return (Path(__file__).parent / "netlink" / f"{name}.hex").read_text().split()


class TestState:
    def test_a_lock_that_is_held_means_a_droplan_at_work(self, state: State, tmp_path: Path) -> None:
        assert not state.busy()
        with (tmp_path / "lock").open("w") as lock:
            assert not state.busy()
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert state.busy()

    @pytest.mark.parametrize(
        "text",
        [
            *("", "7", "[]", "{", '{"interfaces": 7}', '{"interfaces": [], "networks": [7, "x/y", "10.0.0.0/99"]}'),
            # int() refuses so many digits, from 3.10.7 on.
            '{"interfaces": [], "networks": ["10.0.0.0/' + "1" * 5000 + '"]}',
        ],
    )
    def test_an_outline_that_makes_no_sense_names_nothing(self, state: State, tmp_path: Path, text: str) -> None:
        (tmp_path / "outline.json").write_text(text)
        assert state.covered() == ([], [])

    def test_an_address_is_a_peers_as_a_whole_only(self, state: State) -> None:
        assert state.is_peer("10.132.0.3")
        assert not state.is_peer("10.132.0")
        assert not state.is_peer("10.132.0.33")

    @pytest.mark.parametrize(
        ("address", "value"), [("10.132.0.5", 0x0A840005), ("::1", None), ("x", None), ("10.1", None), ("\0", None)]
    )
    def test_addresses_are_numbers(self, address: str, value: int | None) -> None:
        assert number(address) == value


def test_what_the_watcher_needs_is_all_that_it_imports() -> None:
    script = "import sys; sys.path.insert(0, '.'); import droplan_boot.watch.loop; print(*sorted(sys.modules))"
    python = [sys.executable, "-I", "-S", "-c", script]
    done = subprocess.run(python, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    loaded = set(done.stdout.split())
    assert not loaded & {"typing", "dataclasses", "pathlib", "subprocess", "ipaddress", "argparse", "requests"}
    ours = {name for name in loaded if name.startswith("droplan_boot") and "watch" not in name}
    assert ours == {
        "droplan_boot",
        "droplan_boot.firewall",
        "droplan_boot.firewall.nflog",
        "droplan_boot.host",
        "droplan_boot.host.netlink",
    }


def test_what_it_tells_status_reads(watcher: Watcher, runs: Runs, tmp_path: Path) -> None:
    watcher.healing.quarrel = "firewalld"
    watcher.overdue.missed = True
    watcher._tell()
    files = Files(tmp_path, os.getuid())
    (tmp_path / "var/lib/droplan").mkdir(parents=True)
    (tmp_path / "watch.json").rename(tmp_path / "var/lib/droplan/watch.json")
    found = watching.load(files)
    assert (found.quarrel, found.missed) == ("firewalld", True)
    assert found.quarrels(None)
    assert found.quarrels(found.written - 1)
    assert not found.quarrels(found.written + 1), "a refresh ends it, though the watcher has not looked since"


def test_what_is_told_to_end_becomes_no_other_program(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    became: list[str] = []
    monkeypatch.setattr(os, "execve", lambda program, *_: became.append(program))
    watcher.stop = True
    watcher._become_new(time.monotonic())
    assert became == []
    watcher.stop = False
    watcher._become_new(time.monotonic())
    assert became == ["/usr/bin/python3"]
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
