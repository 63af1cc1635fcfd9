"""What a run does besides rules: it puts back what runs it, and touches nothing that is as it should be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from droplan_boot import paths
from droplan_boot.errors import NoAnswerError
from droplan_boot.host.files import Files
from droplan_boot.setup import nft_include, persistence, watcher
from droplan_boot.verbs import install, refresh, restore
from tests.bed.memory.droplet import MemoryDroplet, made

WATCHER = watcher.UNIT.name


@pytest.fixture
def droplet(files: Files) -> MemoryDroplet:
    """Return a fresh Droplet."""
    return made(files)


@pytest.fixture
def installed(droplet: MemoryDroplet) -> MemoryDroplet:
    """Return one on which droplan is in place."""
    install.run(droplet.host())
    return droplet


def test_restoring_what_is_there_already_adds_nothing_and_says_so(installed: MemoryDroplet) -> None:
    for table in installed.tables.values():
        table.chains = {"INPUT": [], "FORWARD": [], "OUTPUT": []}
    installed.lines.said.clear()
    restore.run(installed.host(scheduled=False))
    assert "Restored 2 peers from the snapshot" in installed.lines.said
    installed.lines.said.clear()
    restore.run(installed.host(scheduled=False))
    assert installed.lines.said == ["The rules are those of the snapshot already: nothing was added"]
    # On the terminal only: the log has it once a day.
    assert installed.lines.shown[-1] == "2 peers in droplan-peers, unchanged"


@pytest.mark.parametrize("ufw", [True, False])
def test_lists_of_packages_are_fetched_only_where_something_is_to_be_installed(
    droplet: MemoryDroplet, ufw: bool
) -> None:
    if ufw:
        droplet.knows("ufw")
    updated = []
    for _ in range(2):
        droplet.ran.clear()
        install.run(droplet.host())
        updated.append(any("update" in argv for argv in droplet.ran))
    assert updated == [True, False]


class TestKeepingUp:
    @pytest.mark.parametrize(
        ("spoil", "line"),
        [
            (lambda one: one.files.remove(paths.CRON), f"Put {paths.CRON} back (was missing)"),
            (lambda one: one.files.remove(paths.REFRESH), f"Put {paths.REFRESH} back (was missing)"),
            (lambda one: one.enabled.discard("cron"), "Put the service cron back (was disabled)"),
            (lambda one: one.active.discard("cron"), "Put the service cron back (was stopped)"),
            (
                lambda one: one.enabled.discard("netfilter-persistent"),
                "Put the service netfilter-persistent back (was disabled)",
            ),
            (lambda one: one.active.discard(WATCHER), f"Put the service {WATCHER} back (was stopped)"),
            (lambda one: one.enabled.discard(WATCHER), f"Put the service {WATCHER} back (was disabled)"),
            (lambda one: one.files.remove(watcher.UNIT.path), f"Put the service {WATCHER} back (was missing)"),
        ],
        ids=[
            "cron's file",
            "script",
            "cron disabled",
            "cron stopped",
            "loader",
            "watcher stopped",
            "watcher disabled",
            "watcher's unit",
        ],
    )
    def test_a_scheduled_run_puts_back_what_runs_it_and_what_brings_the_rules_back(
        self, installed: MemoryDroplet, spoil: Callable[[MemoryDroplet], object], line: str
    ) -> None:
        right = installed.everything()
        spoil(installed)
        installed.lines.said.clear()
        refresh.run(installed.host(scheduled=False))
        assert line not in installed.lines.said  # a person's refresh is about rules
        refresh.run(installed.host())
        assert line in installed.lines.said
        assert {name: one[1:] for name, one in installed.everything().items() if name.startswith("etc/")} == {
            name: one[1:] for name, one in right.items() if name.startswith("etc/")
        }
        assert {"cron", "netfilter-persistent", WATCHER} <= installed.enabled
        assert {"cron", WATCHER} <= installed.active
        installed.lines.said.clear()
        refresh.run(installed.host())
        assert not any(said.startswith("Put ") for said in installed.lines.said)

    def test_a_run_that_the_watcher_asks_for_puts_nothing_back_which_its_sandbox_would_refuse(
        self, installed: MemoryDroplet
    ) -> None:
        installed.files.remove(paths.CRON)
        installed.enabled.discard("cron")
        refresh.run(installed.host(), asked=True)
        assert not any("back" in said for said in installed.lines.said)

    def test_a_watcher_that_is_not_wanted_stays_off(self, installed: MemoryDroplet) -> None:
        installed.active.discard(WATCHER)
        refresh.run(installed.host(DROPLAN_WATCH="false"))
        assert WATCHER not in installed.active

    def test_without_a_loader_it_is_our_unit(self, droplet: MemoryDroplet) -> None:
        droplet.knows("ufw")
        install.run(droplet.host())
        droplet.files.remove(persistence.UNIT)
        droplet.enabled.discard(persistence.UNIT_NAME)
        refresh.run(droplet.host())
        assert f"Put {persistence.UNIT} back (was missing)" in droplet.lines.said
        assert persistence.UNIT_NAME in droplet.enabled

    def test_an_nftables_conf_that_came_after_install_gets_the_guards_include(self, installed: MemoryDroplet) -> None:
        conf = Path("/etc/nftables.conf")
        installed.files.write(conf, b"flush ruleset\n", 0o644)

        def refreshed() -> tuple[bool, int]:
            installed.files.write(paths.RULES, b"table inet droplan {}", 0o600)  # where nft holds the guard
            installed.lines.said.clear()
            refresh.run(installed.host())
            included = nft_include.INCLUDE.encode() in (installed.files.read(conf) or b"")
            said = f"Put the guard's include back into {conf}, which flushes the ruleset"
            return included, installed.lines.said.count(said)

        assert refreshed() == (False, 0), "nothing loads that file"
        installed.enabled.add(nft_include.SERVICE)
        assert refreshed() == (True, 1)
        assert refreshed() == (True, 0)

    def test_it_does_so_even_where_nobody_answers(self, installed: MemoryDroplet) -> None:
        installed.files.remove(paths.CRON)
        installed.refusal = OSError("Connection refused")
        with pytest.raises(NoAnswerError):
            refresh.run(installed.host())
        assert installed.files.exists(paths.CRON)
