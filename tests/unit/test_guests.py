"""Guests that pass this machine's firewall by, as sysfs shows them."""

from __future__ import annotations

from pathlib import Path

from droplan_boot.host.files import Files
from droplan_boot.host.guests import guests


class TestGuests:
    def card(self, files: Files, path: str, text: str = "") -> None:
        real = Path(files.real(Path("/sys/class/net") / path))
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_text(text)

    def test_children_of_the_card_are_named_and_its_vlans_are_not(self, files: Files) -> None:
        for child, kind in (("mac0", ""), ("eth1.7", "DEVTYPE=vlan\n"), ("br0", "DEVTYPE=bridge\n"), ("ip0", "")):
            self.card(files, f"eth1/upper_{child}")
            self.card(files, f"{child}/uevent", f"{kind}INTERFACE={child}\n")
        assert sorted(guests(files, ["eth1"])) == ["ip0", "mac0"]

    def test_ports_of_the_bridge_are_named_but_for_the_card(self, files: Files) -> None:
        for path in ("br0/brif/eth1", "br0/brif/vnet0", "eth1/device"):
            self.card(files, path)
        assert list(guests(files, ["br0"])) == ["vnet0"]

    def test_a_bridge_of_the_card_alone_has_no_guests(self, files: Files) -> None:
        self.card(files, "br0/brif/eth1")
        assert list(guests(files, ["br0"])) == []
