"""The whole life of Droplets as DigitalOcean furnishes them: user data, cron, reboot, uninstall.

One is as an Ubuntu Droplet: netplan and systemd-networkd, ufw (inactive), needrestart, unattended-upgrades, and
vendor data that runs apt while user data is at work. The other is a Private Droplet: one card, eth0, which is the
private one, and a NAT gateway as its way out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.bed.booted.container import poll
from tests.bed.booted.droplet import BootedDroplet
from tests.bed.booted.probe import CLOSED, OPEN, PEERS_ONLY, Answered, Knocking, knock, knock_at_once
from tests.bed.booted.region import Region
from tests.bed.hosts import Host
from tests.system.conftest import user_data

PROGRAM = "/opt/droplan/droplan"
DROPLETS = {"furnished": "eth1", "private": "eth0"}
ONE_INTERVAL = 200
# It holds apt's locks when user data begins, and for some time after.
VENDOR_DATA = """\
#cloud-config
bootcmd:
  - [cloud-init-per, once, vendor-apt, sh, -c, "(apt-get -q update; apt-get -q -y install nftables; python3 -c 'import
     fcntl, time; lock = open(\\"/var/lib/dpkg/lock-frontend\\", \\"w\\"); fcntl.lockf(lock, fcntl.LOCK_EX);
     time.sleep(15)'; touch /var/tmp/vendor-apt-done) </dev/null >/var/tmp/vendor-apt.log 2>&1 &"]
"""


@dataclass
class Life:
    """What was seen."""

    cloud_init: dict[str, Any]
    furniture: str
    vendor: bool
    installed: dict[str, Answered]
    status: dict[str, Any]
    log: str
    late_peer: Answered
    rebooted: dict[str, Answered]
    cloud_init_after_reboot: dict[str, Any]
    stranger_knocked: int
    stranger_answered: int
    failed_units: str
    status_after_reboot: dict[str, Any]
    uninstalled: dict[str, Answered]
    rules: str


def live(region: Region, droplet: BootedDroplet, peer: Host, late: Host) -> Life:
    """Live through it on one Droplet."""

    def answered() -> dict[str, Answered]:
        return knock_at_once(droplet, peer=peer, stranger=region.stranger)

    def status() -> dict[str, Any]:
        return dict(json.loads(droplet.run([PROGRAM, "status", "--json"], check=False).stdout))

    droplet.boot()
    cloud_init = droplet.wait_cloud_init()
    furniture = droplet.run(
        [
            "sh",
            "-c",
            "ls /etc/netplan; systemctl is-active systemd-networkd; ufw status; which needrestart; ip -br link",
        ],
        check=False,
    ).stdout
    vendor = droplet.run(["test", "-e", "/var/tmp/vendor-apt-done"], check=False).returncode == 0
    installed, first = answered(), status()
    region.do.add(region.listing(late))
    poll(
        lambda: knock(late, droplet) == PEERS_ONLY,
        ONE_INTERVAL,
        lambda: (
            f"the new peer stays out of {droplet.name}; {droplet.run(['tail', '/var/log/droplan.log'], check=False)}"
        ),
    )
    log = droplet.run(["cat", "/var/log/droplan.log"]).stdout
    late_peer = knock(late, droplet)
    with Knocking(region.stranger, droplet) as stranger:
        droplet.reboot()
        second = droplet.wait_cloud_init()
    poll(
        lambda: knock(peer, droplet) == PEERS_ONLY,
        60,
        lambda: f"{peer.name} stays out of {droplet.name} after the reboot: {answered()}",
    )
    rebooted, after = answered(), status()
    failed = droplet.run(["systemctl", "--failed", "--no-legend", "--plain"]).stdout
    droplet.run([PROGRAM, "uninstall"])
    return Life(
        cloud_init=cloud_init,
        furniture=furniture,
        vendor=vendor,
        installed=installed,
        status=first,
        log=log,
        late_peer=late_peer,
        rebooted=rebooted,
        cloud_init_after_reboot=second,
        stranger_knocked=stranger.sent,
        stranger_answered=stranger.answered + stranger.answered6,
        failed_units=failed,
        status_after_reboot=after,
        uninstalled=answered(),
        rules=droplet.run(["sh", "-c", "iptables-save; ip6tables-save"]).stdout,
    )


@pytest.fixture(scope="module")
def lives(roots: None, pyz: bytes) -> Iterator[dict[str, Life]]:
    """Both lives, lived at once."""
    with Region() as region, ThreadPoolExecutor(2) as pool:
        url = region.publish("droplan.pyz", pyz)
        pasted = user_data(pyz, url=url, token=region.token, settings="DROPLAN_INTERVAL=1")
        peer, late = region.host("peer"), {name: region.host(f"late-{name}") for name in DROPLETS}
        region.do.add(region.listing(peer))
        droplets = {
            "furnished": region.droplet("furnished", "furnished", user_data=pasted, vendor_data=VENDOR_DATA),
            "private": region.private_droplet("bookworm", "private", user_data=pasted),
        }
        told = {name: pool.submit(live, region, one, peer, late[name]) for name, one in droplets.items()}
        yield {name: life.result() for name, life in told.items()}


@pytest.fixture(params=DROPLETS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def life(name: str, lives: dict[str, Life]) -> Life:
    return lives[name]


def test_the_droplets_are_furnished_as_they_should_be(lives: dict[str, Life]) -> None:
    furnished = lives["furnished"].furniture
    for words in ("50-cloud-init.yaml", "active", "Status: inactive", "/usr/sbin/needrestart", "eth1"):
        assert words in furnished
    assert lives["furnished"].vendor
    assert "eth0" in lives["private"].furniture
    assert "eth1" not in lives["private"].furniture


def test_user_data_closes_the_private_card_to_all_but_peers(name: str, life: Life) -> None:
    assert (life.cloud_init["status"], life.cloud_init["errors"]) == ("done", [])
    assert life.installed == {"peer": PEERS_ONLY, "stranger": CLOSED}
    assert life.status["interfaces"] == [DROPLETS[name]]


def test_status_finds_nothing_wrong_before_and_after_a_reboot(life: Life) -> None:
    for status in (life.status, life.status_after_reboot):
        assert (status["exit_code"], status["problems"]) == (0, [])


def test_cron_lets_a_new_peer_in(life: Life) -> None:
    assert life.late_peer == PEERS_ONLY
    assert re.search(r"Added \d peers? to droplan-peers: .*late-", life.log)


def test_no_packet_of_a_strangers_is_answered_from_before_the_reboot_on(life: Life) -> None:
    assert life.stranger_knocked > 100
    assert life.stranger_answered == 0
    assert life.rebooted == {"peer": PEERS_ONLY, "stranger": CLOSED}
    assert life.cloud_init_after_reboot["errors"] == []
    assert life.failed_units == ""


def test_uninstalling_opens_it_and_leaves_no_rule_of_ours(life: Life) -> None:
    assert life.uninstalled["stranger"] == OPEN
    assert "droplan" not in life.rules
