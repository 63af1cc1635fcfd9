"""Boots that others have spoilt: whatever became of loaders, saved files, settings and cards, no boot is open.

A stranger knocks from before each boot on, and a peer until he is in; each scenario is lived through two reboots.
User data installs once a release, and the disk that it leaves is what each scenario's Droplet begins with. What is
seen is written down; the tests then ask.
"""

from __future__ import annotations

import json
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.bed.booted.container import poll
from tests.bed.booted.droplet import BootedDroplet
from tests.bed.booted.probe import CLOSED, PEERS_ONLY, Answered, Knocking, knock, knock_at_once
from tests.bed.booted.region import Region
from tests.bed.hosts import Host
from tests.system.conftest import asked, user_data

PROGRAM = "/opt/droplan/droplan"
QUIET = {"DEBIAN_FRONTEND": "noninteractive"}
# Neither cron nor the watcher is to repair what the test looks at.
QUIETLY = "DROPLAN_INTERVAL=60 DROPLAN_WATCH=false"


# The kernel's word on the firmware, which a container does not have: droplan reads it before there is a network.
FIRMWARE = """\
[Unit]
DefaultDependencies=no
Before=droplan-restore.service systemd-udevd.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'rm -rf /run/class; cp -a /sys/class /run/class || :; \\
  mkdir -p /run/class/dmi; rm -rf /run/class/dmi/id; \\
  mkdir /run/class/dmi/id; echo DigitalOcean >/run/class/dmi/id/sys_vendor; \\
  echo 999888777 >/run/class/dmi/id/product_serial; mount --bind /run/class /sys/class'
[Install]
WantedBy=sysinit.target
"""

# What becomes of the private card before ours looks for it, as by udev on a machine.
CARD = """\
[Unit]
DefaultDependencies=no
Before=droplan-restore.service network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/card
[Install]
WantedBy=sysinit.target
"""


@dataclass(frozen=True)
class Boot:
    """What was seen of one boot, from before it was switched on to after cloud-init had finished."""

    stranger_knocked: int
    stranger_answered: int
    stranger_answered6: int
    peer: Answered
    stranger: Answered
    restored: str


@dataclass
class Story:
    """What was seen of one scenario."""

    boots: list[Boot] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    trouble: str = ""


@dataclass(frozen=True)
class Teller:
    """What a scenario has at hand."""

    region: Region
    peer: Host
    pyz: bytes
    url: str
    story: Story

    def droplet(self, release: str, image: Path | None = None) -> BootedDroplet:
        """Boot a Droplet on which droplan is installed, by user data if no image has it."""
        pasted = user_data(self.pyz, url=self.url, token=self.region.token, settings=QUIETLY)
        droplet = self.region.droplet(release, "web-1", user_data=pasted, image=image)
        droplet.boot()
        droplet.wait_cloud_init()
        poll(lambda: knock(self.peer, droplet) == PEERS_ONLY, 60, lambda: rules(droplet))
        return droplet

    def reboot(self, droplet: BootedDroplet, *, peer_comes: bool = True) -> None:
        """Reboot while both knock."""
        with Knocking(self.region.stranger, droplet) as stranger:
            droplet.reboot()
            droplet.wait_cloud_init()
            if peer_comes:
                poll(lambda: knock(self.peer, droplet) == PEERS_ONLY, 60, lambda: rules(droplet))
        self.story.boots.append(
            Boot(
                stranger.sent,
                stranger.answered,
                stranger.answered6,
                **knock_at_once(droplet, peer=self.peer, stranger=self.region.stranger),
                restored=droplet.journal("--unit=droplan-restore.service"),
            )
        )


def rules(droplet: BootedDroplet) -> str:
    return droplet.run(["sh", "-c", "nft list ruleset; systemctl --failed; tail -n5 /var/log/droplan.log"]).stdout


def spoilt(harm: str, teller: Teller, droplet: BootedDroplet) -> None:
    """Do harm, and boot twice."""
    droplet.run(["sh", "-ec", harm], env=QUIET)
    teller.reboot(droplet)
    teller.reboot(droplet)


HARMS = {
    "ufw is installed after us": (
        "apt-get -qq update; apt-get -qq install ufw; ufw allow 22/tcp; ufw --force enable"
    ),
    "iptables-persistent is purged": "apt-get -qq purge iptables-persistent netfilter-persistent",
    "the loader is masked and the saved files are somebody else's": (
        "systemctl mask netfilter-persistent; rm /etc/iptables/rules.v6; "
        "printf '*filter\\n:INPUT ACCEPT [0:0]\\n-A INPUT -j ACCEPT\\nCOMMIT\\n' >/etc/iptables/rules.v4"
    ),
    "the loader loads somebody else's rules": (
        "rm /etc/iptables/rules.v6; "
        "printf '*filter\\n:INPUT ACCEPT [0:0]\\n-A INPUT -j ACCEPT\\nCOMMIT\\n' >/etc/iptables/rules.v4"
    ),
    "the loader is disabled, cron too, and the saved files are gone": (
        "systemctl disable netfilter-persistent cron; rm /etc/iptables/rules.v4 /etc/iptables/rules.v6"
    ),
    "a typo is in droplan.env, which all may read": (
        "echo DROPLAN_SCOPE=regoin >>/etc/droplan/droplan.env; chmod 0644 /etc/droplan/droplan.env"
    ),
    "nftables.service flushes the ruleset": (
        "printf '#!/usr/sbin/nft -f\\nflush ruleset\\ntable inet theirs { }\\n' >/etc/nftables.conf; "
        f"systemctl -q enable nftables; {PROGRAM} install; grep -q droplan /etc/nftables.conf"
    ),
}


CARDS = {
    "its private card has another name": ("mesh0", "ip link set eth1 name mesh0"),
    "its private card is part of a bridge": (
        "br0",
        """\
ip link add br0 address $(cat /sys/class/net/eth1/address) type bridge forward_delay 0 mcast_snooping 0
ip link set eth1 master br0 up""",
    ),
}


def recarded(name: str, change: str, teller: Teller, droplet: BootedDroplet) -> None:
    """Have the private address on another card from the next boot on, and boot twice."""
    droplet.path("/usr/local/sbin/card").write_text(f"#!/bin/sh -e\n{change}\n")
    droplet.path("/usr/local/sbin/card").chmod(0o755)
    droplet.path("/etc/systemd/system/card.service").write_text(CARD)
    droplet.run(["systemctl", "enable", "card"])
    # cloud-init would name the card as its metadata has it, before each boot's network.
    droplet.path("/etc/cloud/cloud.cfg.d/98-network.cfg").write_text("network: {config: disabled}\n")
    droplet.run(["sh", "-ec", f"sed -i s/eth1/{name}/ $(grep -rl eth1 /etc/network)"])
    teller.reboot(droplet)
    teller.reboot(droplet)
    teller.story.notes["address"] = droplet.run(["ip", "-brief", "-4", "address", "show", "dev", name]).stdout


# Debian's firewalld is to start before the network and after D-Bus, which waits for cloud-init, which waits for the
# network: at each boot systemd leaves one of them out, another each time, the network too; with us or without.
OUT_OF_THE_CIRCLE = """\
sed /^Before=sysinit.target/d /lib/systemd/system/cloud-init.service >/etc/systemd/system/cloud-init.service
grep -q ^Before= /etc/systemd/system/cloud-init.service"""


def firewalld(teller: Teller, droplet: BootedDroplet) -> None:
    """Enable firewalld beside us."""
    droplet.run(["sh", "-ec", "apt-get -qq update; apt-get -qq install firewalld"], env=QUIET)
    droplet.run(["systemctl", "enable", "firewalld"])
    droplet.run(["sh", "-ec", OUT_OF_THE_CIRCLE])
    teller.reboot(droplet)
    teller.reboot(droplet)
    teller.story.notes["firewalld"] = droplet.run(["systemctl", "is-active", "firewalld"], check=False).stdout.strip()


def image(teller: Teller, droplet: BootedDroplet) -> None:
    """Boot a Droplet's disk as another Droplet, with DigitalOcean's API away."""
    number = str(droplet.droplet.id)
    saved = droplet.path("/etc/iptables/rules.v4").read_text()
    teller.story.notes["saved"] = saved
    other = droplet.path("/usr/sbin/dmidecode").read_text().replace(number, "999888777")
    droplet.path("/usr/sbin/dmidecode").write_text(other)
    droplet.path("/etc/systemd/system/firmware.service").write_text(FIRMWARE)
    droplet.run(["systemctl", "enable", "firmware"])
    settings = droplet.path("/etc/droplan/droplan.env")
    settings.write_text(settings.read_text().replace(teller.region.token, "dop_v1_" + "0" * 64))
    teller.reboot(droplet, peer_comes=False)
    teller.reboot(droplet, peer_comes=False)
    teller.story.notes["told"] = droplet.run(["cat", "/sys/class/dmi/id/product_serial"]).stdout.strip()


def at_reboot(teller: Teller, droplet: BootedDroplet) -> None:
    """A peer comes while the Droplet is down: the refresh at boot lets it in, although cron's turn is far away."""
    late = teller.region.host("late-peer")
    droplet.reboot(while_off=lambda: teller.region.do.add(teller.region.listing(late)))
    droplet.wait_cloud_init()
    poll(lambda: knock(late, droplet) == PEERS_ONLY, 120, lambda: rules(droplet))
    report = json.loads(droplet.run(["cat", "/var/lib/droplan/status.json"]).stdout)
    teller.story.notes["result"] = report["result"]
    teller.story.notes["log"] = droplet.run(["cat", "/var/log/droplan.log"]).stdout


SCENARIOS: dict[str, Callable[[Teller, BootedDroplet], None]] = {
    **{name: partial(spoilt, harm) for name, harm in HARMS.items()},
    **{name: partial(recarded, *how) for name, how in CARDS.items()},
    "firewalld is enabled": firewalld,
    "its image is another Droplet": image,
    "a peer comes while it is down": at_reboot,
}
SPOILT = (*HARMS, "firewalld is enabled")
NIGHT = "trixie"  # which tells the same once more
# What no loader of saved rules can be trusted with is told by the two that are left: one is gone, one loads others'.
AT_NIGHT = (
    "the loader is masked and the saved files are somebody else's",
    "the loader is disabled, cron too, and the saved files are gone",
    "its private card is part of a bridge",
)
OF_THEIR_OWN = {"firewalld is enabled": ("furnished",)}
PAIRS = [
    (name, release)
    for name in SCENARIOS
    for release in OF_THEIR_OWN.get(name, ("bookworm", NIGHT) if name in (*HARMS, *CARDS) else ("bookworm",))
]


def begin(region: Region, pyz: bytes, story: Story) -> Teller:
    """Furnish a region, each time alike."""
    peer = region.host("peer")
    region.do.add(region.listing(peer))
    return Teller(region, peer, pyz, region.publish("droplan.pyz", pyz), story)


def installed(release: str, pyz: bytes, folder: Path) -> Path:
    """Have user data install droplan, and keep the disk."""
    with Region() as region:
        droplet = begin(region, pyz, Story()).droplet(release)
        droplet.power_off()
        droplet.image(folder)
    return folder


def tell(name: str, release: str, pyz: bytes, disk: Future[Path] | None) -> Story:
    """Live through a scenario, in a region of its own."""
    story = Story()
    try:
        with Region() as region:
            teller = begin(region, pyz, story)
            SCENARIOS[name](teller, teller.droplet(release, disk.result() if disk else None))
    except Exception:
        story.trouble = traceback.format_exc()
    return story


@pytest.fixture(scope="module")
def stories(
    request: pytest.FixtureRequest, roots: None, pyz: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], Story]]:
    """The stories that somebody asks about, five at a time."""
    which = asked(request, "which")
    wanted = [pair for pair in PAIRS if pair in which]
    releases = Counter(release for _, release in wanted)
    with ThreadPoolExecutor(5) as pool:
        disks = {
            release: pool.submit(installed, release, pyz, tmp_path_factory.mktemp(release))
            for release, stories in releases.items()
            if stories > 1
        }
        told = {pair: pool.submit(tell, *pair, pyz, disks.get(pair[1])) for pair in wanted}
        yield {pair: story.result() for pair, story in told.items()}


@pytest.fixture
def story(which: tuple[str, str], stories: dict[tuple[str, str], Story]) -> Story:
    """One of them."""
    assert not stories[which].trouble, stories[which].trouble
    return stories[which]


def pairs(*names: str) -> pytest.MarkDecorator:
    chosen = [pair for pair in PAIRS if pair[0] in names]
    marks = [[pytest.mark.nightly] if release == NIGHT or name in AT_NIGHT else [] for name, release in chosen]
    return pytest.mark.parametrize(
        "which", [pytest.param(pair, marks=mark, id=" on ".join(pair)) for pair, mark in zip(chosen, marks)]
    )


@pairs(*SPOILT)
def test_no_packet_of_a_strangers_is_answered_in_two_boots_and_the_peer_is_in(story: Story) -> None:
    assert len(story.boots) == 2
    for boot in story.boots:
        assert boot.stranger_knocked > 100
        answered = boot.stranger_answered + boot.stranger_answered6
        assert (answered, boot.peer) == (0, PEERS_ONLY), boot.restored


@pairs(*CARDS)
def test_the_guard_knows_the_private_network_on_any_card_and_the_next_run_knows_the_card(story: Story) -> None:
    assert "10.132.0." in story.notes["address"]
    for boot in story.boots:
        assert boot.stranger_knocked > 100
        assert (boot.stranger_answered, boot.stranger, boot.peer) == (0, CLOSED, PEERS_ONLY), boot.restored
    # By its link-local addresses a card is not known, until the run that the first boot began with looked for it.
    assert story.boots[1].stranger_answered6 == 0, story.boots[1].restored


@pairs("firewalld is enabled")
def test_firewalld_runs_beside_us(story: Story) -> None:
    assert story.notes["firewalld"] == "active"


@pairs("its image is another Droplet")
def test_an_image_that_boots_elsewhere_is_closed_to_all_whatever_the_saved_files_load(story: Story) -> None:
    assert "droplan-peers -s" in story.notes["saved"], "they name the peer"
    assert story.notes["told"] == "999888777"
    for boot in story.boots:
        assert boot.stranger_knocked > 100
        answered = boot.stranger_answered + boot.stranger_answered6
        assert (answered, boot.peer) == (0, CLOSED), boot.restored


@pairs("a peer comes while it is down")
def test_the_refresh_at_boot_waits_for_the_network_and_lets_him_in(story: Story) -> None:
    assert story.notes["result"] == "ok"
    assert "refresh: " not in story.notes["log"], story.notes["log"]
