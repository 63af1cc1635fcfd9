"""A boot that needs nothing but the snapshot, a change of backend after failures, and an end that is one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from droplan_boot import paths
from droplan_boot.errors import EXIT_DONE, EXIT_DRIFT, FirewallError, LockedError, NoAnswerError
from droplan_boot.firewall.nftables import Nftables
from droplan_boot.host.files import Files
from droplan_boot.state import backends, snapshot
from droplan_boot.verbs import install, refresh, restore, standing, uninstall
from droplan_boot.watch.children import REPAIRED
from tests.bed.memory import droplet as memory
from tests.bed.memory.doors import Answer, Script
from tests.bed.memory.droplet import MemoryDroplet
from tests.bed.memory.netfilter import Netfilter, Packet


@pytest.fixture
def installed(files: Files) -> MemoryDroplet:
    made = memory.made(files)
    install.run(made.host())
    return made


def test_a_boot_is_closed_whatever_the_settings_say_and_however_safe_their_file_is(installed: MemoryDroplet) -> None:
    Nftables(installed).remove(None)
    installed.files.write(paths.SETTINGS, b"DROPLAN_SCOP=vpc\nnonsense\n", 0o666)
    restore.run(installed.host(DROPLAN_BACKEND="nonsense"))
    found = snapshot.load(installed.files)
    assert found
    assert Nftables(installed).plan(found.policy) == ()


@pytest.mark.parametrize(("backend", "guard"), [("iptables", False), ("nftables", True), ("auto", True)])
def test_a_boot_uses_the_backend_that_was_used(backend: str, guard: bool, files: Files) -> None:
    droplet = memory.made(files)
    install.run(droplet.host(DROPLAN_BACKEND=backend))
    droplet.put_back(Netfilter())  # a reboot
    rebooted = droplet
    restore.run(rebooted.host())
    assert ("table inet droplan" in rebooted.netfilter.nft.list()) is guard
    assert (":droplan-guard " in rebooted.netfilter.save("nft", 4)) is not guard
    assert (":droplan-peers " in rebooted.netfilter.save("nft", 4)) is (backend != "nftables")


def test_rules_of_an_earlier_backend_are_found_after_failed_runs_in_between(installed: MemoryDroplet) -> None:
    installed.refusal = Answer({"id": "server_error", "message": "no"}, 500)
    with pytest.raises(NoAnswerError):
        refresh.run(installed.host())
    assert json.loads(installed.files.read(paths.REPORT) or b"")["backend"] == "iptables-nft"
    assert backends.load(installed.files) == ("nftables", "iptables-nft")
    installed.refusal = None
    refresh.run(installed.host(DROPLAN_BACKEND="iptables"))
    assert "droplan" not in installed.netfilter.nft.list()
    assert ":droplan-guard " in installed.netfilter.save("nft", 4)
    refresh.run(installed.host(DROPLAN_BACKEND="nftables"))
    assert "droplan" not in installed.netfilter.save("nft", 4)
    assert backends.load(installed.files) == ("nftables",)


class TestCommandsThatAreGone:
    """Somebody removed a package: what its commands wrote binds on, and nothing is left to change it with."""

    GONE: ClassVar = {"nftables": ("nft",), "iptables": ("iptables", "ip6tables")}

    @pytest.fixture(params=GONE)
    def package(self, request: pytest.FixtureRequest, installed: MemoryDroplet) -> str:
        self.back = installed.loses(*self.GONE[request.param])
        return str(request.param)

    def test_a_refresh_shuts_out_who_left_and_fails_for_it_keeps_out_who_came(
        self, package: str, installed: MemoryDroplet
    ) -> None:
        installed.peers = ("10.132.0.2", "10.132.0.4")
        for _ in range(2):
            with pytest.raises(FirewallError, match=f"the package {package} is gone.*: install it again"):
                refresh.run(installed.host())
        went, stayed, came = (
            installed.receive(Packet(f"10.132.0.{n}", destination="10.132.0.1")).verdict for n in (3, 2, 4)
        )
        assert (went, stayed, came) == ("DROP", "ACCEPT", "DROP")
        assert standing.look(installed.host()).exit_code == EXIT_DRIFT

    def test_when_they_are_back_so_is_all_else(self, package: str, installed: MemoryDroplet) -> None:
        installed.peers = ("10.132.0.2", "10.132.0.4")
        with pytest.raises(FirewallError):
            refresh.run(installed.host())
        self.back()
        refresh.run(installed.host())
        assert installed.receive(Packet("10.132.0.4", destination="10.132.0.1")).verdict == "ACCEPT"

    def test_a_reboot_ends_it(self, package: str, installed: MemoryDroplet) -> None:
        installed.put_back(Netfilter())
        restore.run(installed.host())
        installed.peers = ("10.132.0.2", "10.132.0.4")
        refresh.run(installed.host())
        assert installed.receive(Packet("10.132.0.4", destination="10.132.0.1")).verdict == "ACCEPT"
        assert installed.receive(Packet("10.132.0.66", destination="10.132.0.1")).verdict == "DROP"

    def test_an_uninstall_is_not_done(self, package: str, installed: MemoryDroplet) -> None:
        with pytest.raises(FirewallError, match=f"the package {package} is gone"):
            uninstall.run(installed.host())
        self.back()
        uninstall.run(installed.host())
        assert "droplan" not in installed.netfilter.nft.list() + installed.netfilter.save("nft", 4)


def test_what_a_report_of_1_0_0_names_counts_as_used(files: Files) -> None:
    report = {
        "epoch": 1,
        "result": "ok",
        "duration": 1,
        "peers": 1,
        "changed": True,
        "backend": "nftables",
        "error": None,
    }
    files.write(paths.REPORT, json.dumps(report).encode(), 0o644)
    assert backends.load(files) == ("nftables",)


def uninstalled_meanwhile(verb: str, droplet: MemoryDroplet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a verb wait for its lock until droplan is uninstalled."""

    @contextmanager
    def waits(path: Path, wait: float) -> Iterator[None]:
        monkeypatch.undo()
        uninstall.run(droplet.host())
        yield

    monkeypatch.setattr(f"droplan_boot.verbs.{verb}.lock.held", waits)


def test_a_refresh_that_waited_for_an_uninstall_does_nothing(
    installed: MemoryDroplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninstalled_meanwhile("refresh", installed, monkeypatch)
    refresh.run(installed.host())
    assert "droplan" not in installed.netfilter.nft.list() + installed.netfilter.save("nft", 4)
    assert not installed.files.exists(paths.STATE)
    assert not installed.files.exists(paths.RULES)
    assert "uninstalled while this refresh waited" in installed.lines.said[-1]


@pytest.mark.parametrize("links", [False, True], ids=["a refresh", "a repair that asks for the interfaces"])
def test_what_others_undo_is_put_right_while_a_run_waits_for_an_answer(
    links: bool, installed: MemoryDroplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    answer = installed._answer

    def waiting(url: str) -> Script:
        if not asked:
            Nftables(installed).remove(None)
            assert restore.run(installed.host(), repair=True) == REPAIRED
        asked.append(url)
        return answer(url)

    monkeypatch.setattr(installed, "_answer", waiting)
    if links:
        assert restore.run(installed.host(), repair=True, links=True) == EXIT_DONE
    else:
        refresh.run(installed.host())
    assert asked
    assert "table inet droplan" in installed.netfilter.nft.list()


def test_a_repair_that_waited_for_an_uninstall_does_nothing(
    installed: MemoryDroplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninstalled_meanwhile("restore", installed, monkeypatch)
    assert restore.run(installed.host(), repair=True) == EXIT_DONE
    assert "droplan" not in installed.netfilter.nft.list() + installed.netfilter.save("nft", 4)


@pytest.mark.parametrize("held", [True, False], ids=["by a run that ends", "by one that does not"])
def test_status_calls_no_drift_what_another_run_is_about_to_write(
    installed: MemoryDroplet, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    @contextmanager
    def waits(path: Path, wait: float) -> Iterator[None]:
        monkeypatch.undo()
        if not held:
            raise LockedError("held")
        restore.run(installed.host())
        yield

    Nftables(installed).remove(None)
    assert standing.look(installed.host()).exit_code == EXIT_DRIFT
    monkeypatch.setattr("droplan_boot.verbs.standing.lock.held", waits)
    assert (standing.settled(installed.host()).drift == ()) is held


def test_where_nobody_is_at_work_a_drift_is_one(installed: MemoryDroplet) -> None:
    Nftables(installed).remove(None)
    assert standing.settled(installed.host()).exit_code == EXIT_DRIFT


def test_the_package_of_nft_is_installed_and_its_service_left_as_it_is(installed: MemoryDroplet) -> None:
    assert "nftables" in installed.packages
    assert "nftables.service" not in installed.enabled
