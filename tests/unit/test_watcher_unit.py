"""The watcher's unit: put in place, repaired, and taken away."""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import NoReturn

import pytest

from droplan_boot import paths
from droplan_boot.host.files import Files
from droplan_boot.setup import watcher
from droplan_boot.verbs import install, restore, standing, uninstall, watch
from droplan_boot.watch.children import REPAIRED
from tests.bed.memory.doors import Host
from tests.bed.memory.droplet import MemoryDroplet, made


@pytest.fixture
def installed(files: Files) -> MemoryDroplet:
    """Return a Droplet on which droplan is in place, and whose memory is wiped."""
    droplet = made(files)
    install.run(droplet.host())
    droplet.ran.clear()
    droplet.lines.said.clear()
    return droplet


class TestInstall:
    def test_it_is_enabled_and_runs(self, installed: MemoryDroplet) -> None:
        assert installed.files.read(watcher.UNIT.path) == watcher.UNIT.text.encode()
        assert watcher.UNIT.name in installed.enabled & installed.active

    def test_where_no_systemd_runs_there_is_none(self, files: Files) -> None:
        droplet = made(files)
        files.remove_directory(Path("/run/systemd/system"))
        droplet.knows("cron")
        install.run(droplet.host())
        assert not files.exists(watcher.UNIT.path)
        assert not any("droplan-watch" in word for argv in droplet.ran for word in argv)

    @pytest.mark.parametrize("damage", ["unit gone", "unit altered", "disabled", "stopped"])
    def test_what_was_damaged_is_repaired(self, installed: MemoryDroplet, damage: str) -> None:
        if damage == "unit gone":
            installed.files.remove(watcher.UNIT.path)
        elif damage == "unit altered":
            installed.files.write(watcher.UNIT.path, b"[Service]\nExecStart=/bin/true\n", 0o644)
        elif damage == "disabled":
            installed.enabled.discard(watcher.UNIT.name)
        else:
            installed.active.discard(watcher.UNIT.name)
        install.run(installed.host())
        assert installed.files.read(watcher.UNIT.path) == watcher.UNIT.text.encode()
        assert watcher.UNIT.name in installed.enabled & installed.active
        assert ("systemctl", "restart", watcher.UNIT.name) in installed.ran

    @pytest.mark.parametrize("damage", ["disabled", "stopped"])
    def test_status_says_where_it_does_not_run_though_it_should(self, installed: MemoryDroplet, damage: str) -> None:
        assert "unwatched" not in [one.code for one in standing.look(installed.host()).problems]
        assert standing.look(installed.host()).watched
        (installed.enabled if damage == "disabled" else installed.active).discard(watcher.UNIT.name)
        found = standing.look(installed.host())
        assert (found.exit_code, [one.code for one in found.problems]) == (5, ["unwatched"])
        assert f"{watcher.UNIT.name} is {damage}" in found.problems[0].sentence
        assert not found.watched
        install.run(installed.host(DROPLAN_WATCH="false"))
        assert standing.look(installed.host()).problems == ()
        assert not standing.look(installed.host()).watched

    def test_a_setting_takes_it_away_and_brings_it_back(self, installed: MemoryDroplet) -> None:
        install.run(installed.host(DROPLAN_WATCH="false"))
        assert not installed.files.exists(watcher.UNIT.path)
        assert ("systemctl", "stop", watcher.UNIT.name) in installed.ran
        assert ("systemctl", "disable", watcher.UNIT.name) in installed.ran
        install.run(installed.host())
        assert not installed.files.exists(watcher.UNIT.path), "the setting is kept"
        install.run(installed.host(DROPLAN_WATCH=""))
        assert installed.files.exists(watcher.UNIT.path)

    def test_uninstall_ends_it_before_anything_else_goes(self, installed: MemoryDroplet) -> None:
        uninstall.run(installed.host())
        assert not installed.files.exists(watcher.UNIT.path)
        stop = installed.ran.index(("systemctl", "stop", watcher.UNIT.name))
        assert not any("restore" in word for argv in installed.ran[:stop] for word in argv)
        assert not installed.files.exists(paths.STATE)


class TestUnit:
    @staticmethod
    def service() -> dict[str, str]:
        parser = configparser.ConfigParser(strict=True, interpolation=None)
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read_string(watcher.UNIT.text)
        return dict(parser["Service"])

    def test_it_runs_the_verb_and_again_when_it_failed(self) -> None:
        assert self.service()["ExecStart"] == "/opt/droplan/droplan watch"
        assert self.service()["Restart"] == "on-failure"

    def test_everything_is_read_only_but_what_its_children_write(self) -> None:
        service = self.service()
        assert service["ProtectSystem"] == "strict"
        written = [path.lstrip("-") for path in service["ReadWritePaths"].split()]
        needed = [paths.STATE, paths.LOG, paths.LOCK, paths.WRITING, paths.SETTINGS, *watcher_saves()]
        assert all(any(Path(path) in (each, *each.parents) for path in written) for each in needed)
        assert set(written) & {"/", "/etc", "/usr", "/opt", "/var"} == set()

    def test_it_keeps_no_more_power_than_the_firewall_takes(self) -> None:
        assert set(self.service()["CapabilityBoundingSet"].split()) == {
            "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_DAC_OVERRIDE", "CAP_FOWNER",
        }  # fmt: skip


def watcher_saves() -> list[Path]:
    """List the saved rules that a refresh writes where a loader reads them."""
    return [Path("/etc/iptables/rules.v4"), Path("/etc/sysconfig/iptables")]


class TestVerb:
    def test_it_becomes_a_python_with_nothing_in_it(
        self, installed: MemoryDroplet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        became: list[tuple[list[str], dict[str, str]]] = []

        def execve(_path: str, argv: list[str], environment: dict[str, str]) -> NoReturn:
            became.append((argv, environment))
            raise SystemExit

        monkeypatch.setattr(os, "execve", execve)
        with pytest.raises(SystemExit):
            watch.run(installed.host(DO_KEY="dop_v1_secret", DROPLAN_INTERVAL="7"))
        ((argv, environment),) = became
        assert argv[1:3] == ["-I", "-S"]
        assert argv[3].endswith("/droplan_boot/watch/__main__.py")
        assert Path(argv[3]).is_file()
        assert argv[7] == "420"
        assert argv[-1] == "/root/droplan.pyz"
        assert not any("secret" in word for word in (*argv, *environment.values()))

    def test_a_mistake_in_the_settings_does_not_end_it(
        self, installed: MemoryDroplet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def execve(*_arguments: object) -> NoReturn:
            raise SystemExit

        monkeypatch.setattr(os, "execve", execve)
        with pytest.raises(SystemExit):
            watch.run(installed.host(DROPLAN_INTERVAL="never"))
        assert installed.lines.complained[0].startswith("watch: DROPLAN_INTERVAL=never is no number")


class TestRepair:
    def test_it_says_nothing_and_writes_nothing_when_nothing_is_wrong(self, installed: MemoryDroplet) -> None:
        before = installed.everything()
        assert restore.run(installed.host(), repair=True) == 0
        assert installed.everything() == before
        assert installed.lines.said == []

    def test_what_was_flushed_is_put_back_without_asking_anybody(self, installed: MemoryDroplet) -> None:
        for table in installed.tables.values():
            for rules in table.chains.values():
                rules.clear()
        installed.scripts.clear()
        assert restore.run(installed.host(), repair=True) == REPAIRED
        assert installed.lines.said[0] == "Another program had changed our rules"
        assert restore.run(installed.host(), repair=True) == 0

    def test_before_the_first_answer_there_is_nothing_to_repair(self, root: None, host: Host) -> None:
        host.files.directory(paths.STATE)
        assert restore.run(host, repair=True) == 0
