"""What keeps peers out behind our back, and what lets strangers by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from droplan_boot.host import refusing
from droplan_boot.host.command import Completed
from droplan_boot.host.files import Files
from tests.bed.memory.doors import FakeCommands, Host, ended


class TestFirewalld:
    @pytest.fixture
    def targets(self, commands: FakeCommands) -> dict[str, str]:
        """firewalld with a table of its own; eth1 in zone ``mesh``, anything else in the default zone ``public``."""
        targets = {"mesh": "ACCEPT", "public": "default"}

        def ask(argv: Sequence[str], stdin: str) -> Completed:
            if argv[1].startswith("--get-zone-of-interface"):
                return ended(argv, 0, "mesh\n") if argv[1].endswith("eth1") else ended(argv, 2, "no zone\n")
            if argv[1] == "--get-default-zone":
                return ended(argv, 0, "public\n")
            return ended(argv, 0, targets[argv[2].partition("=")[2]] + "\n")

        commands.knows("nft")
        commands.knows("firewall-cmd", ask)
        return targets

    @pytest.mark.usefixtures("targets")
    def test_a_card_in_a_zone_that_accepts_is_fine_and_one_in_the_default_zone_is_not(self, host: Host) -> None:
        assert list(refusing.zones(host, ["eth1"])) == []
        assert list(refusing.zones(host, ["eth1", "eth2"])) == [("eth2", "public")]

    def test_a_zone_that_drops_is_named(self, host: Host, targets: dict[str, str]) -> None:
        targets["mesh"] = "DROP"
        assert list(refusing.zones(host, ["eth1"])) == [("eth1", "mesh")]

    def test_without_a_table_of_its_own_firewalld_is_not_asked(self, host: Host, commands: FakeCommands) -> None:
        commands.knows("nft", ended(["nft"], 1, "", "Error: No such file or directory"))
        assert list(refusing.zones(host, ["eth1"])) == []
        assert [argv[0] for argv in commands.ran] == ["nft"]

    def test_a_machine_without_nft_has_none(self, host: Host) -> None:
        assert list(refusing.zones(host, ["eth1"])) == []


class TestGuests:
    def card(self, files: Files, path: str, text: str = "") -> None:
        real = Path(files.real(Path("/sys/class/net") / path))
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_text(text)

    def test_children_of_the_card_are_named_and_its_vlans_are_not(self, files: Files) -> None:
        for child, kind in (("mac0", "macvlan"), ("eth1.7", "vlan"), ("ip0", "ipvlan")):
            self.card(files, f"eth1/upper_{child}")
            self.card(files, f"{child}/uevent", f"DEVTYPE={kind}\nINTERFACE={child}\n")
        assert sorted(refusing.guests(files, ["eth1"])) == ["ip0", "mac0"]

    def test_ports_of_the_bridge_are_named_but_for_the_card(self, files: Files) -> None:
        for path in ("br0/brif/eth1", "br0/brif/vnet0", "eth1/device"):
            self.card(files, path)
        assert list(refusing.guests(files, ["br0"])) == ["vnet0"]

    def test_a_bridge_of_the_card_alone_has_no_guests(self, files: Files) -> None:
        self.card(files, "br0/brif/eth1")
        assert list(refusing.guests(files, ["br0"])) == []
