"""A Droplet's first day on Debian's own kernel, in a machine: modules load, and rules are back before the network.

The other booted Droplets share the kernel of the machine that the tests run on, where all modules may be loaded
already, and others are not to be had: a bond. What is seen is written down; the tests then ask. It takes seven
minutes, and half an hour on two cores that others keep busy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.bed.booted.container import poll
from tests.bed.booted.machine import KNOCKS, PATIENCE, Machine
from tests.bed.booted.probe import CLOSED, OPEN, PEERS_ONLY, Answered, Knocking, knock
from tests.bed.booted.region import Region
from tests.bed.faults import Fault
from tests.bed.hosts import Host
from tests.system.conftest import user_data

pytestmark = pytest.mark.nightly

# Neither cron nor the watcher is to repair what the test looks at.
QUIETLY = "DROPLAN_INTERVAL=60 DROPLAN_WATCH=false"
BEFORE = "/root/modules-before"
# Before anything of ours ran.
NOTED = f"bootcmd: [cp /proc/modules {BEFORE}]\n"
# The guard's, what notes a packet for the watcher, and what the door's rules are made of.
MODULES = {"nf_tables", "nf_conntrack", "nft_ct", "nft_log", "nfnetlink_log", "nft_compat"}
# As an admin makes one who moves the address to it. With the card's MAC, which udev would not give it, it has the
# card's link-local address too, and who knocks goes on at once.
BONDED = """
ip link add bond0 address {mac} type bond mode active-backup miimon 100
ip link set eth1 down
ip address flush dev eth1
ip link set eth1 master bond0
ip link set bond0 up
ip address add {address} dev bond0
"""


@dataclass
class Day:
    """What was seen."""

    seen: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def day(kernel_root: None, pyz: bytes) -> Iterator[Day]:
    """The first boot, with droplan's installation in user data; then a reboot while the API is away."""
    seen: dict[str, Any] = {}
    with Region() as region:
        peer = region.host("peer")
        region.do.add(region.listing(peer))
        url = region.publish("droplan.pyz", pyz)
        pasted = user_data(pyz, url=url, token=region.token, settings=QUIETLY)
        machine = region.machine("own-kernel", user_data=pasted + NOTED)
        with Knocking(region.stranger, machine, interval=KNOCKS) as stranger:
            machine.boot()
            seen["cloud-init"] = machine.wait_cloud_init(timeout=PATIENCE)
        seen["answered before it was installed"] = stranger.answered
        seen["kernel"] = says(machine, "uname", "-r")
        seen["cards"] = says(machine, "ls", "/sys/class/net").split()
        seen["modules before"] = modules(machine, BEFORE)
        seen["modules"] = modules(machine, "/proc/modules")
        seen["status"] = machine.run(["droplan", "status"], check=False)
        seen["answered when installed"] = answered(machine, peer, region.stranger)

        region.do.fault(Fault(service="api", refuse=True))
        knockers = [Knocking(each, machine, interval=KNOCKS) for each in (region.stranger, peer)]
        with knockers[0] as stranger, knockers[1] as friend:
            machine.reboot()
            seen["cloud-init again"] = machine.wait_cloud_init(timeout=PATIENCE)
            poll(lambda: friend.answered > 20, 60, machine.console)
        seen["stranger"] = (stranger.sent > 100, stranger.answered, stranger.answered6)
        seen["answered after the reboot"] = answered(machine, peer, region.stranger)
        seen["modules after the reboot"] = modules(machine, "/proc/modules")
        seen["restored"] = machine.journal("--unit=droplan-restore.service")
        seen["restored at"] = when(machine, "droplan-restore.service", "ActiveEnterTimestampMonotonic")
        seen["network at"] = when(machine, "networking.service", "InactiveExitTimestampMonotonic")
        seen["failed"] = says(machine, "systemctl", "--failed", "--no-legend", "--plain")
        seen.update(bonded(machine, peer, region.stranger))
        region.do.clear_faults()
        machine.run(["droplan", "refresh"])
        seen["refreshed with a bond"] = answered(machine, peer, region.stranger)
        seen["rules with a bond"] = says(machine, "nft", "list", "chain", "inet", "droplan", "prerouting")

        region.do.fault(Fault(service="api", refuse=True))
        machine.run(["systemctl", "disable", "droplan-restore.service", "netfilter-persistent.service"])
        with Knocking(region.stranger, machine, interval=KNOCKS) as stranger:
            machine.reboot()
            poll(lambda: stranger.answered + stranger.answered6 > 0, PATIENCE, machine.console)
        seen["answered without our unit"] = stranger.answered + stranger.answered6
        yield Day(seen)


def bonded(machine: Machine, peer: Host, stranger: Host) -> dict[str, Any]:
    """Make the private card part of a bond while a stranger knocks; then see what it is without the guard."""
    seen: dict[str, Any] = {}
    address = next(one for one in machine.private.addresses if ":" not in one)
    script = BONDED.format(mac=machine.private.mac, address=address)
    with Knocking(stranger, machine, interval=KNOCKS) as knocking:
        machine.run(["sh", "-ec", script])
        poll(lambda: knock(peer, machine, patience=10).ssh, 120, machine.console)
    seen["bond"] = says(machine, "cat", "/sys/class/net/bond0/bonding/slaves")
    seen["bonded"] = (knocking.sent > 20, knocking.answered)
    seen["answered by a bond"] = knock(stranger, machine, patience=5)
    table = machine.run(["nft", "list", "table", "inet", "droplan"]).stdout
    machine.run(["nft", "delete", "table", "inet", "droplan"])
    seen["answered by a bond without the guard"] = knock(stranger, machine, patience=10)
    machine.run(["nft", "-f", "-"], input=table)
    return seen


def says(machine: Machine, *argv: str) -> str:
    return machine.run(list(argv)).stdout.strip()


def modules(machine: Machine, listed: str) -> set[str]:
    return {line.split()[0] for line in says(machine, "cat", listed).splitlines()}


def when(machine: Machine, unit: str, event: str) -> int:
    return int(says(machine, "systemctl", "show", "--value", "--property", event, unit))


def answered(machine: Machine, peer: Host, stranger: Host) -> dict[str, Answered]:
    poll(lambda: knock(peer, machine, patience=10) == PEERS_ONLY, 60, machine.console)
    return {"peer": PEERS_ONLY, "stranger": knock(stranger, machine, patience=5)}


def test_it_is_debians_kernel_and_had_none_of_the_modules(day: Day) -> None:
    assert "-cloud-amd64" in day.seen["kernel"]
    assert MODULES & day.seen["modules before"] == set()


def test_cloud_init_is_content_and_the_cards_are_named(day: Day) -> None:
    report = day.seen["cloud-init"]
    assert (report["status"], report["errors"]) == ("done", [])
    assert {"eth0", "eth1"} <= set(day.seen["cards"])


def test_installing_loads_the_modules_and_status_is_content(day: Day) -> None:
    assert day.seen["modules"] >= MODULES
    status = day.seen["status"]
    assert (status.returncode, status.stderr) == (0, ""), status.stdout


def test_who_knocked_before_droplan_came_was_answered_and_then_peers_only(day: Day) -> None:
    assert day.seen["answered before it was installed"] > 0, "so knocking sees a door that is open"
    assert day.seen["answered when installed"] == {"peer": PEERS_ONLY, "stranger": CLOSED}


class TestReboot:
    def test_no_packet_of_a_strangers_is_answered_from_before_the_boot_on(self, day: Day) -> None:
        assert day.seen["stranger"] == (True, 0, 0), day.seen["restored"]

    def test_it_is_our_unit_that_shuts_them_out(self, day: Day) -> None:
        assert day.seen["answered without our unit"] > 0, "so knocking sees a boot that is open"

    def test_peers_are_let_in_without_the_api(self, day: Day) -> None:
        assert day.seen["answered after the reboot"] == {"peer": PEERS_ONLY, "stranger": CLOSED}

    def test_our_unit_loads_the_modules_and_has_the_rules_back_before_the_network_is_up(self, day: Day) -> None:
        assert "Restored 1 peer from the snapshot" in day.seen["restored"]
        assert day.seen["modules after the reboot"] >= MODULES
        assert 0 < day.seen["restored at"] <= day.seen["network at"], day.seen["restored"]

    def test_no_unit_fails(self, day: Day) -> None:
        assert day.seen["failed"] == ""
        assert day.seen["cloud-init again"]["errors"] == []


class TestBond:
    """eth1 becomes part of a bond: its packets bear the bond's name, which no rule knows."""

    def test_it_is_one(self, day: Day) -> None:
        assert day.seen["bond"] == "eth1"

    def test_no_packet_of_a_strangers_by_ipv4_is_answered_from_the_moment_on(self, day: Day) -> None:
        assert day.seen["bonded"] == (True, 0)
        # Link-local addresses tell nothing of the network that they are in, and the guard knew the card by its name.
        assert replace(day.seen["answered by a bond"], ping6=False) == CLOSED

    def test_it_is_the_guard_that_shuts_them_out(self, day: Day) -> None:
        assert day.seen["answered by a bond without the guard"] == OPEN

    def test_the_next_refresh_knows_it_by_name(self, day: Day) -> None:
        assert day.seen["refreshed with a bond"] == {"peer": PEERS_ONLY, "stranger": CLOSED}
        assert "bond0" in day.seen["rules with a bond"]
