"""Installing packages: what is missing, unattended, and nothing of the user's removed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from droplan_boot.errors import CommandError, DroplanError
from droplan_boot.host.command import Completed
from droplan_boot.host.packages import Apt, Dnf, manager
from tests.bed.memory.doors import Clock, FakeCommands, Host, ended


class TestApt:
    def test_missing_is_what_dpkg_does_not_call_installed(self, commands: FakeCommands) -> None:
        commands.knows(
            "dpkg-query",
            Completed(("dpkg-query",), 1, "cron installed\niptables-persistent config-files\n", "no packages found"),
        )
        assert Apt(commands, Clock()).missing(["iptables-persistent", "cron", "nftables"]) == (
            "iptables-persistent",
            "nftables",
        )

    def test_it_asks_nothing_keeps_files_waits_for_locks_and_removes_nothing(self, commands: FakeCommands) -> None:
        commands.knows("debconf-set-selections")
        commands.knows("apt-get")
        Apt(commands, Clock()).install(["iptables-persistent", "cron"])
        assert commands.ran[0] == ("debconf-set-selections",)
        argv, environment = " ".join(commands.ran[1]), commands.environments[1]
        assert argv.endswith(" install --no-remove iptables-persistent cron")
        assert " -y " in argv
        assert "-o DPkg::Lock::Timeout=300" in argv
        assert "-o Dpkg::Options::=--force-confold" in argv
        assert environment["DEBIAN_FRONTEND"] == "noninteractive"
        assert environment["NEEDRESTART_SUSPEND"] == "1"

    def test_rules_are_not_saved_by_the_package_itself(self, commands: FakeCommands) -> None:
        answers: list[str] = []

        def preseed(argv: Sequence[str], stdin: str) -> str:
            answers.append(stdin)
            return ""

        commands.knows("debconf-set-selections", preseed)
        commands.knows("apt-get")
        Apt(commands, Clock()).install(["iptables-persistent"])
        assert "iptables-persistent/autosave_v4 boolean false" in answers[0]
        assert "iptables-persistent/autosave_v6 boolean false" in answers[0]

    @pytest.mark.parametrize(
        ("status", "said", "offered"),
        [
            (0, "Inst iptables-persistent (1.0.20)\nConf iptables-persistent\n", True),
            (0, "Remv ufw [0.36.2]\nInst iptables-persistent (1.0.20)\n", False),
            (100, "E: Unable to locate package iptables-persistent\n", False),
        ],
    )
    def test_a_package_that_takes_another_away_is_not_on_offer(
        self, status: int, said: str, offered: bool, commands: FakeCommands
    ) -> None:
        commands.knows("apt-get", Completed(("apt-get",), status, said, ""))
        assert Apt(commands, Clock()).offers("iptables-persistent") is offered
        assert "--simulate" in commands.ran[0]

    def test_an_installation_that_was_cut_off_is_finished_first(self, commands: FakeCommands) -> None:
        left = [100, 0]

        def install(argv: Sequence[str], stdin: str) -> Completed:
            return ended(argv, left.pop(0), stderr="E: dpkg was interrupted, you must run 'dpkg --configure -a'")

        commands.knows("debconf-set-selections")
        commands.knows("apt-get", install)
        commands.knows("dpkg")
        Apt(commands, Clock()).install(["cron"])
        assert [argv[0] for argv in commands.ran] == ["debconf-set-selections", "apt-get", "dpkg", "apt-get"]
        assert "--configure" in commands.ran[2]

    def test_whoever_holds_the_lock_of_the_lists_is_waited_for(self, commands: FakeCommands) -> None:
        left = [100, 100, 0]

        def update(argv: Sequence[str], stdin: str) -> Completed:
            return ended(argv, left.pop(0), stderr="E: Could not get lock /var/lib/apt/lists/lock")

        commands.knows("apt-get", update)
        clock = Clock()
        Apt(commands, clock).update()
        assert left == []
        assert clock.slept == [5.0, 5.0]

    def test_but_not_for_ever(self, commands: FakeCommands) -> None:
        commands.knows("apt-get", Completed(("apt-get",), 100, "", "E: Could not get lock /var/lib/apt/lists/lock"))
        clock = Clock()
        Apt(commands, clock).update()
        assert sum(clock.slept) == 300

    def test_lists_that_cannot_be_had_may_still_do(self, commands: FakeCommands) -> None:
        commands.knows("apt-get", Completed(("apt-get",), 100, "", "E: Failed to fetch"))
        Apt(commands, Clock()).update()
        assert len(commands.ran) == 1

    def test_what_fails_is_told_in_apts_own_words(self, commands: FakeCommands) -> None:
        commands.knows("debconf-set-selections")
        commands.knows(
            "apt-get", Completed(("apt-get",), 100, "", "E: Packages need to be removed but remove is disabled.")
        )
        with pytest.raises(CommandError, match="remove is disabled"):
            Apt(commands, Clock()).install(["iptables-persistent"])


class TestDnf:
    @pytest.mark.parametrize("command", ["dnf", "dnf5", "yum"])
    def test_it_is_called_by_the_name_that_is_there(self, command: str, commands: FakeCommands) -> None:
        commands.knows(command)
        Dnf(commands).install(["cronie"])
        assert commands.ran == [(command, "-y", "install", "cronie")]

    def test_a_capability_counts_as_well_as_a_name(self, commands: FakeCommands) -> None:
        commands.knows("rpm", lambda argv, stdin: ended(argv, 0 if argv[-1] == "cronie" else 1))
        assert Dnf(commands).missing(["iptables-services", "cronie"]) == ("iptables-services",)
        assert "--whatprovides" in commands.ran[0]

    @pytest.mark.parametrize(
        ("status", "stderr", "offered"),
        [
            (0, "", True),
            (1, "Error: No matching Packages to list\n", False),  # yum 3, dnf
            (1, "No matching packages to list\n", False),  # dnf5
            (1, "Errors during downloading metadata for repository 'baseos':\n", None),
            (1, "Error: Failed to download metadata for repo 'baseos': Cannot download repomd.xml\n", None),
            (1, "Cannot find a valid baseurl for repo: base/7/x86_64\n", None),
            (1, "Ignoring repositories: baseos\nError: No matching Packages to list\n", None),
            (1, "", None),
        ],
    )
    def test_a_mirror_that_cannot_be_reached_is_not_a_package_that_is_not_offered(
        self, status: int, stderr: str, offered: bool | None, commands: FakeCommands
    ) -> None:
        commands.knows("dnf", Completed(("dnf",), status, "", stderr))
        if offered is None:
            with pytest.raises(CommandError, match="whether iptables-services is on offer cannot be told"):
                Dnf(commands).offers("iptables-services")
        else:
            assert Dnf(commands).offers("iptables-services") is offered

    def test_without_any_it_says_what_to_do(self, commands: FakeCommands) -> None:
        with pytest.raises(DroplanError, match="neither dnf nor yum is here"):
            Dnf(commands).install(["cronie"])


def test_each_family_has_its_own(host: Host) -> None:
    assert isinstance(manager("debian", host), Apt)
    assert isinstance(manager("el", host), Dnf)
