"""DROPLAN_MODE=observe: who would be shut out is told, and nobody is shut out or let in by it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from droplan_boot import paths
from droplan_boot.access import policy as policies
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.errors import NoAnswerError, RefusedError
from droplan_boot.firewall import nflog, ruleset
from droplan_boot.firewall.enforcement import Enforcement
from droplan_boot.firewall.nftables import Nftables
from droplan_boot.host.files import Files
from droplan_boot.state import report, snapshot
from droplan_boot.verbs import check, install, refresh, restore, standing, status, uninstall
from tests.bed.memory.doors import Answer
from tests.bed.memory.droplet import PLUGIN, MemoryDroplet, made
from tests.bed.memory.netfilter import Kernel, Packet
from tests.golden import page
from tests.golden.scenarios import SCENARIOS
from tests.unit.test_install import V4

PEER, STRANGER = "10.132.0.2", "10.132.0.66"
ALONE, BOTH, WITHOUT_NFT = "guard in nftables alone", "guard in nftables and door", "guard in mangle and door"
everywhere = pytest.mark.parametrize("backend", [BOTH, WITHOUT_NFT, ALONE])


def enforcement(kernel: Kernel, backend: str) -> Enforcement:
    door = kernel.backend().guarding() if backend == WITHOUT_NFT else kernel.backend()
    return Enforcement(None if backend == WITHOUT_NFT else Nftables(kernel), None if backend == ALONE else door)


def told(droplet: MemoryDroplet, start: str) -> list[str]:
    return [line for line in droplet.lines.said if line.startswith(start)]


@pytest.fixture
def droplet(files: Files) -> MemoryDroplet:
    return made(files)


@pytest.fixture
def observing(droplet: MemoryDroplet) -> MemoryDroplet:
    """Return a Droplet where droplan observes, and has noted a stranger and a peer."""
    install.run(droplet.host(DROPLAN_MODE="observe"))
    droplet.lines.said.clear()
    noted = [
        {
            "source": source,
            "packets": 3,
            "first": 1.0,
            "last": 2.0,
            "interface": "eth1",
            "public": False,
            "observed": True,
            "services": [{"service": service, "packets": 3, "first": 1.0, "last": 2.0}],
        }
        for source, service in ((STRANGER, "tcp/5432"), (PEER, "tcp/22"), ("10.132.0.67", "proto/47"))
    ]
    document = {"schema": 1, "sampled": True, "total": 9, "sources": noted}
    droplet.files.write(paths.BLOCKED, json.dumps(document).encode(), 0o644)
    return droplet


def comes_in(droplet: Kernel, source: str) -> bool:
    return droplet.receive(Packet(source)).verdict == "ACCEPT"


class TestRules:
    @everywhere
    @pytest.mark.parametrize("scenario", SCENARIOS)
    def test_no_scenario_shuts_anybody_out_and_the_same_are_told(self, scenario: str, backend: str) -> None:
        enforced, observed = Kernel(), Kernel()
        asked = SCENARIOS[scenario].policy
        enforcement(enforced, backend).apply(replace(asked, observe=False))
        enforcement(observed, backend).apply(replace(asked, observe=True, metadata=""))
        refused = 0
        for source in (PEER, STRANGER, "203.0.113.7", "203.0.113.8", "fe80::66", "2604:a880:2:d0::21:1002"):
            for interface in ("eth0", "eth1"):
                packet = Packet(source, interface, "::1" if ":" in source else "")
                here, there = observed.receive(packet), enforced.receive(packet)
                assert here.verdict == "ACCEPT"
                assert here.logged == there.logged
                assert bool(there.logged) is (there.verdict == "DROP")
                refused += there.verdict == "DROP"
        assert refused

    @everywhere
    def test_what_the_host_refuses_it_goes_on_refusing_peers_too(self, backend: str) -> None:
        kernel = Kernel()
        kernel.netfilter.restore(
            "nft", 4, f"*filter\n-A INPUT -s {STRANGER}/32 -j DROP\n-A INPUT -j REJECT\nCOMMIT\n"
        )
        enforcement(kernel, backend).apply(SCENARIOS["observe"].policy)
        assert kernel.receive(Packet(STRANGER)).verdict == "DROP"
        assert kernel.receive(Packet(PEER)).verdict == "REJECT"

    @everywhere
    def test_a_drop_of_the_hosts_that_reads_like_ours_stays(self, backend: str) -> None:
        kernel = Kernel()
        kernel.netfilter.restore("nft", 4, "*filter\n-A INPUT -i eth1 -j DROP\nCOMMIT\n")
        made = enforcement(kernel, backend)
        made.apply(SCENARIOS["observe"].policy)
        made.remove(SCENARIOS["observe"].policy)
        assert kernel.receive(Packet(PEER)).verdict == "DROP"

    @everywhere
    def test_there_and_back_leaves_what_each_asks(self, backend: str) -> None:
        kernel = Kernel()
        made = enforcement(kernel, backend)
        enforced, observed = SCENARIOS["two-peers"].policy, SCENARIOS["observe"].policy
        for asked in (enforced, observed, enforced):
            assert made.apply(asked)
            assert made.plan(asked) == ()
            assert not made.apply(asked)
            assert (kernel.receive(Packet(STRANGER)).verdict == "ACCEPT") is asked.observe
            assert kernel.receive(Packet(PEER)).verdict == "ACCEPT"

    def test_there_is_no_door(self) -> None:
        assert "droplan" not in page.door(SCENARIOS["observe"].policy)[4]
        found = ruleset.build(SCENARIOS["observe"].policy, 4, alone=True)
        assert (found.heads, found.chains) == ({}, {})

    def test_what_is_told_says_that_it_passed(self) -> None:
        for rules in (page.guard(SCENARIOS["observe"].policy), page.mangled(SCENARIOS["observe"].policy)):
            assert nflog.prefix(public=False, observe=True) in rules
            assert nflog.prefix(public=False) not in rules

    def test_the_snapshot_keeps_it(self) -> None:
        asked = SCENARIOS["observe"].policy
        assert policies.from_json(json.loads(json.dumps(policies.to_json(asked)))) == asked
        assert not policies.from_json({**policies.to_json(asked), "observe": "no"}).observe

    def test_a_snapshot_of_a_later_droplans_that_observed_closes_nothing(self, files: Files) -> None:
        files.directory(paths.STATE)
        later = {"version": 99, "policy": {"segments": [{"public": False, "interfaces": ["eth7"]}], "observe": True}}
        files.write(paths.SNAPSHOT, json.dumps(later).encode(), 0o600)
        assert snapshot.closed(files) == Policy((Segment(False, ("eth7",), ()),), observe=True)


class TestInstall:
    def test_it_is_stored_and_everybody_passes(self, observing: MemoryDroplet) -> None:
        assert "DROPLAN_MODE=observe\n" in (observing.files.read(paths.SETTINGS) or b"").decode()
        assert comes_in(observing, STRANGER)
        assert "droplan" not in observing.tables[4].save()
        refresh.run(observing.host())
        assert comes_in(observing, STRANGER)

    def test_the_metadata_service_is_not_locked(self, droplet: MemoryDroplet) -> None:
        install.run(droplet.host(DROPLAN_MODE="observe", DROPLAN_LOCK_METADATA="true"))
        found = snapshot.load(droplet.files)
        assert found
        assert (found.policy.metadata, found.policy.observe) == ("", True)

    def test_nothing_of_the_hosts_is_loaded_or_enabled_that_was_not(self, observing: MemoryDroplet) -> None:
        assert "iptables-persistent" not in observing.packages
        assert "netfilter-persistent" not in observing.enabled
        assert not observing.files.exists(V4)

    def test_a_loaders_file_of_the_hosts_stays_byte_for_byte(self, droplet: MemoryDroplet) -> None:
        for path in (PLUGIN, V4):
            droplet.files.real(path).parent.mkdir(parents=True, exist_ok=True)
        droplet.files.real(PLUGIN).touch()
        theirs = b"*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"
        droplet.files.real(V4).write_bytes(theirs)
        install.run(droplet.host(DROPLAN_MODE="observe"))
        assert droplet.files.read(V4) == theirs
        assert sorted(droplet.files.real(V4).parent.iterdir()) == [droplet.files.real(V4)]

    def test_saved_rules_of_ours_are_taken_out_of_the_loaders_file(self, droplet: MemoryDroplet) -> None:
        install.run(droplet.host())
        assert b"droplan-peers" in (droplet.files.read(V4) or b"")
        install.run(droplet.host(DROPLAN_MODE="observe"))
        assert b"droplan" not in (droplet.files.read(V4) or b"")
        assert comes_in(droplet, STRANGER)

    def test_without_an_answer_nothing_is_closed_whatever_fail_closed_says(self, droplet: MemoryDroplet) -> None:
        droplet.refusal = Answer({}, 500)
        with pytest.raises(NoAnswerError):
            install.run(droplet.host(DROPLAN_MODE="observe", DROPLAN_FAIL_CLOSED="true"))
        assert comes_in(droplet, STRANGER)
        assert not droplet.files.exists(paths.SNAPSHOT)

    @pytest.mark.parametrize("remembered", [False, True])
    def test_a_bootstrap_that_failed_closes_nothing(self, remembered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        close = page.close_script()
        monkeypatch.setattr(close, "settings", lambda: {"DROPLAN_MODE": "observe", "DROPLAN_FAIL_CLOSED": "true"})
        monkeypatch.setattr(close, "run", lambda *_words: pytest.fail("nothing is to be run"))
        assert close.close(remembered) == (
            0,
            "The private interface is OPEN, as DROPLAN_MODE is observe.",
        )

    def test_a_boot_observes_again(self, observing: MemoryDroplet) -> None:
        restore.run(observing.host())
        assert told(observing, "Restored: droplan only observes")
        assert comes_in(observing, STRANGER)

    def test_nobody_is_refused_for_what_cuts_nobody(
        self, droplet: MemoryDroplet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lone = droplet.host(scheduled=False, DO_TAG="nobodys")
        with pytest.raises(RefusedError):
            install.run(lone)
        install.run(droplet.host(scheduled=False, DO_TAG="nobodys", DROPLAN_MODE="observe"))


class TestWhatIsSaid:
    def test_status_begins_with_it_and_exits_5(self, observing: MemoryDroplet) -> None:
        found = standing.look(observing.host())
        assert (status.verdict(found)[0], found.exit_code, found.mode) == ("OBSERVING", 5, "observe")
        assert "door          none while droplan only observes" in status.render(found, 2e9)

    @pytest.mark.parametrize(("mode", "asked"), [("observe", False), ("enforce", True)])
    def test_without_systemd_no_loader_is_asked_for_that_an_install_would_not_bring(
        self, mode: str, asked: bool, droplet: MemoryDroplet
    ) -> None:
        install.run(droplet.host(DROPLAN_MODE=mode))
        droplet.files.remove_tree(Path("/run/systemd/system"))
        droplet.packages.discard("iptables-persistent")
        droplet.files.remove(PLUGIN)
        codes = {one.code for one in standing.look(droplet.host()).problems}
        assert ("no-loader" in codes) is asked

    def test_check_warns(self, observing: MemoryDroplet, capsys: pytest.CaptureFixture[str]) -> None:
        assert check.run(observing.host()) == 1
        assert capsys.readouterr().out.startswith("DROPLAN WARNING - only observing")

    def test_metrics_name_it(self, observing: MemoryDroplet) -> None:
        lines = (observing.files.read(paths.METRICS) or b"").decode().splitlines()
        assert 'droplan_mode{mode="observe"} 1' in lines
        assert 'droplan_mode{mode="enforce"} 0' in lines

    def test_an_uninstall_opens_nothing(self, observing: MemoryDroplet) -> None:
        uninstall.run(observing.host(), dry_run=True)
        assert told(observing, "Would open") == [
            "Would open nothing: droplan only observes, and everybody comes in already"
        ]

    def test_it_says_so_once(self, observing: MemoryDroplet) -> None:
        refresh.run(observing.host())
        assert not told(observing, "Observing")


class TestGoingToEnforce:
    def connected(self, droplet: MemoryDroplet) -> None:
        place = droplet.files.real(Path("/proc/net"))
        place.mkdir(parents=True, exist_ok=True)
        (place / "nf_conntrack").write_text(
            f"ipv4 2 tcp 6 99 ESTABLISHED src={STRANGER} dst=10.132.0.1 sport=999 dport=6379 src=10.132.0.1 dst=x\n"
        )

    def test_it_first_says_whom_it_cuts(self, observing: MemoryDroplet) -> None:
        self.connected(observing)
        install.run(observing.host(DROPLAN_MODE="enforce"))
        assert observing.lines.said[0].startswith("From now on strangers are shut out")
        assert told(observing, "Will cut") == [f"Will cut 1 connection from {STRANGER} to tcp/6379"]
        shut = told(observing, "Will shut out")
        assert [line.split(",")[0] for line in shut] == [f"Will shut out {STRANGER}", "Will shut out 10.132.0.67"]
        assert shut[0].endswith("from tcp/5432")
        assert observing.lines.said.index(shut[0]) < next(
            number for number, line in enumerate(observing.lines.said) if line.startswith("settings ")
        )
        assert not comes_in(observing, STRANGER)
        assert comes_in(observing, PEER)
        found = report.load(observing.files)
        assert found
        assert found.mode == "enforce"

    def test_whoever_is_allowed_by_now_is_not_named(self, observing: MemoryDroplet) -> None:
        install.run(observing.host(DROPLAN_MODE="enforce", DROPLAN_ALLOW=f"tcp/5432@{STRANGER},10.132.0.67"))
        assert told(observing, "Will shut out") == ["Will shut out nobody who was noted while droplan observed"]

    def test_a_refresh_after_the_settings_were_edited_says_it_too(self, observing: MemoryDroplet) -> None:
        text = (observing.files.read(paths.SETTINGS) or b"").replace(b"DROPLAN_MODE=observe\n", b"")
        observing.files.write(paths.SETTINGS, text, 0o600)
        refresh.run(observing.host())
        assert told(observing, "Will shut out")
        assert not comes_in(observing, STRANGER)

    def test_a_dry_run_tells_the_same_and_changes_nothing(self, observing: MemoryDroplet) -> None:
        self.connected(observing)
        install.run(observing.host(DROPLAN_MODE="enforce"), dry_run=True)
        assert told(observing, "Would close eth1 to everyone but 2 peers")
        assert told(observing, "Would cut") == [f"Would cut 1 connection from {STRANGER} to tcp/6379"]
        assert told(observing, f"Would shut out {STRANGER}")
        assert comes_in(observing, STRANGER)

    def test_a_dry_run_of_observing_cuts_nobody(self, droplet: MemoryDroplet) -> None:
        self.connected(droplet)
        install.run(droplet.host(DROPLAN_MODE="observe"), dry_run=True)
        assert told(droplet, "Would shut out") == ["Would shut out nobody on eth1, and note who would be"]
        assert told(droplet, "Would cut") == ["Would cut no connection that exists now"]
