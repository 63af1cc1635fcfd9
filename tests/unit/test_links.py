"""Finding this Droplet's interfaces on this machine: by MAC, then by address, never by a name."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from droplan_boot.errors import DroplanError
from droplan_boot.flow import learn
from droplan_boot.host import dmi, links
from droplan_boot.host.files import Files
from droplan_boot.host.links import Link, resolve
from droplan_boot.sources.own import Interface
from tests.bed.memory.doors import FakeCommands, Host

MAC, OTHER = "04:01:2a:0f:2a:02", "04:01:2a:0f:2a:01"
WANTED = Interface(MAC, (ipaddress.ip_address("10.132.0.5"),))
LO = Link("lo", "00:00:00:00:00:00", enslaved=False)


@pytest.mark.parametrize(
    ("what", "there", "addresses", "name"),
    [
        ("the MAC decides", [LO, Link("eth0", OTHER, False), Link("eth1", MAC, False)], None, "eth1"),
        ("whatever its name", [LO, Link("eth1", OTHER, False), Link("ens4", MAC, False)], None, "ens4"),
        ("and although another has the address", [Link("eth1", MAC, False)], None, "eth1"),
        (
            "a bridge has its port's MAC and the address",
            [Link("br0", MAC, False), Link("eth1", MAC, True)],
            {"br0": {"10.132.0.5"}, "eth1": set()},
            "br0",
        ),
        (
            "a bridge may have a MAC of its own",
            [Link("br0", "02:00:00:00:00:01", False), Link("eth1", MAC, True)],
            {"br0": {"10.132.0.5"}, "eth1": set()},
            "br0",
        ),
        (
            "an address that was left on a bridge's port counts for nothing",
            [Link("br0", MAC, False), Link("eth1", MAC, True)],
            {"br0": {"10.132.0.5"}, "eth1": {"10.132.0.5"}},
            "br0",
        ),
        (
            "a bond and its ports share the MAC of the first port, which may be another card's",
            [Link("bond0", OTHER, False), Link("eth0", OTHER, True), Link("eth1", OTHER, True)],
            {"bond0": {"10.132.0.5"}, "eth0": set(), "eth1": set()},
            "bond0",
        ),
        (
            "ports of a bond may keep their MACs",
            [Link("bond0", OTHER, False), Link("eth1", MAC, True), Link("eth2", OTHER, True)],
            {"bond0": {"10.132.0.5"}, "eth1": set(), "eth2": set()},
            "bond0",
        ),
        (
            "VLANs share the MAC, and the address tells them apart",
            [Link("eth1", MAC, False), Link("eth1.7", MAC, False)],
            {"eth1": {"10.132.0.5"}, "eth1.7": {"192.168.7.1"}},
            "eth1",
        ),
        (
            "VLANs share the MAC, the address is on the VLAN",
            [Link("eth1", MAC, False), Link("eth1.7", MAC, False)],
            {"eth1": set(), "eth1.7": {"10.132.0.5"}},
            "eth1.7",
        ),
        (
            "two have the address, one of them the MAC",
            [Link("eth1", MAC, False), Link("eth1.7", MAC, False), Link("dummy0", OTHER, False)],
            {"eth1": {"10.132.0.5"}, "dummy0": {"10.132.0.5"}},
            "eth1",
        ),
        ("no MAC matches, the address does", [Link("eth1", OTHER, False)], {"eth1": {"10.132.0.5"}}, "eth1"),
        ("a port without a bridge's address is better than none", [Link("eth1", MAC, True)], {"eth1": set()}, "eth1"),
        ("nothing matches", [LO, Link("eth1", OTHER, False)], {"eth1": {"10.0.0.1"}}, None),
        ("two share the MAC, none has the address", [Link("a", MAC, False), Link("b", MAC, False)], {}, None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_interface_is_found(
    what: str, there: list[Link], addresses: dict[str, set[str]] | None, name: str | None
) -> None:
    def look() -> dict[str, set[str]]:
        assert addresses is not None, "the MAC decides: addresses are not asked for"
        return addresses

    assert resolve(WANTED.mac, WANTED.addresses, there, look) == name


def test_without_a_mac_only_the_address_counts() -> None:
    unnamed = Interface("", WANTED.addresses)
    there = [Link("tun0", "", False), Link("eth1", MAC, False)]
    assert resolve(unnamed.mac, unnamed.addresses, there, lambda: {"eth1": {"10.132.0.5"}}) == "eth1"


def sysfs(files: Files, *there: Link) -> None:
    """Write a /sys/class/net."""
    for link in there:
        place = files.real(Path("/sys/class/net")) / link.name
        place.mkdir(parents=True)
        (place / "address").write_text(f"{link.mac.upper()}\n")
        if link.enslaved:
            (place / "master").symlink_to("../br0")


def test_links_are_read_from_sysfs_and_what_is_no_link_is_passed_over(files: Files) -> None:
    there = (Link("br0", MAC, False), Link("eth0", OTHER, False), Link("eth1", MAC, True))
    sysfs(files, *there)
    files.real(Path("/sys/class/net/bonding_masters")).write_text("bond0\n")
    assert links.links(files) == there


class TestNames:
    @pytest.fixture(autouse=True)
    def here(self, files: Files) -> None:
        sysfs(files, LO, Link("eth0", OTHER, False), Link("eth1", "06:00:00:00:00:01", False))

    def test_addresses_are_asked_of_ip_when_macs_do_not_decide(self, host: Host, commands: FakeCommands) -> None:
        shown = """\
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
3: eth1    inet 10.132.0.5/16 brd 10.132.255.255 scope global eth1\\       valid_lft forever preferred_lft forever
3: eth1    inet6 fe80::1/64 scope link \\       valid_lft forever preferred_lft forever
"""
        commands.knows("ip", shown)
        assert learn.names(host, (WANTED,), "private") == ("eth1",)

    def test_each_name_comes_once(self, host: Host, commands: FakeCommands) -> None:
        assert learn.names(host, (Interface(OTHER, ()), Interface(OTHER, ())), "private") == ("eth0",)
        assert commands.ran == []

    @pytest.mark.parametrize(("kind", "advice"), [("private", "add it to a VPC"), ("public", "unset PUBLIC")])
    def test_a_droplet_without_such_an_interface_is_told_what_to_do(self, kind: str, advice: str, host: Host) -> None:
        with pytest.raises(DroplanError, match=f"this Droplet has no {kind} interface: {advice}"):
            learn.names(host, (), kind)

    def test_one_that_this_machine_lacks_is_named(self, host: Host, commands: FakeCommands) -> None:
        commands.knows("ip", "")
        with pytest.raises(DroplanError, match=f"has the MAC {MAC} or an address .*: bring it up"):
            learn.names(host, (WANTED,), "private")

    @pytest.mark.parametrize("shown", ["", "\n\n", "no addresses at all", "3: eth1 inet", "3: eth1 inet / x"])
    def test_whatever_ip_prints_there_is_no_traceback(self, shown: str, host: Host, commands: FakeCommands) -> None:
        commands.knows("ip", shown)
        with pytest.raises(DroplanError):
            learn.names(host, (WANTED,), "private")


class TestFurtherCards:
    """Interfaces that the metadata service does not describe, and that are in the private network all the same."""

    NETWORKS = (ipaddress.ip_network("10.132.0.0/16"),)
    SHOWN = """\
1: lo    inet 127.0.0.1/8 scope host lo
2: eth0    inet 10.132.9.9/16 scope global eth0
3: eth1    inet 10.132.0.5/16 scope global eth1
4: eth2    inet 10.132.0.50/16 scope global eth2
4: eth2    inet6 fe80::2/64 scope link
5: docker0    inet 172.17.0.1/16 scope global docker0
"""

    @pytest.fixture(autouse=True)
    def here(self, files: Files) -> None:
        names = ("eth0", "eth1", "eth2", "docker0", "veth1")
        sysfs(files, LO, *(Link(name, "06:00:00:00:00:01", False) for name in names))

    def test_one_with_an_address_in_the_private_range_is_private_too(
        self, host: Host, commands: FakeCommands
    ) -> None:
        commands.knows("ip", self.SHOWN)
        assert learn.further(host, self.NETWORKS, ("eth1", "eth0")) == ("eth2",)

    def test_nobody_is_asked_where_all_are_known(self, host: Host, commands: FakeCommands) -> None:
        known = ("eth0", "eth1", "eth2", "docker0", "veth1")
        assert learn.further(host, self.NETWORKS, known) == ()
        assert learn.further(host, (), ("eth1",)) == ()
        assert commands.ran == []


@pytest.mark.parametrize(
    ("vendor", "serial", "number"),
    [
        ("DigitalOcean\n", "2756294\n", 2756294),
        ("QEMU\n", "2756294\n", None),
        ("DigitalOcean\n", "not a number\n", None),
        ("DigitalOcean\n", "9" * 5000, None),
        ("DigitalOcean\n", None, None),
        (None, None, None),
    ],
)
def test_offline_the_number_is_read_from_dmi(
    vendor: str | None, serial: str | None, number: int | None, files: Files
) -> None:
    place = files.real(Path("/sys/class/dmi/id"))
    place.mkdir(parents=True)
    for name, text in (("sys_vendor", vendor), ("product_serial", serial)):
        if text is not None:
            (place / name).write_text(text)
    assert dmi.droplet_id(files) == number
