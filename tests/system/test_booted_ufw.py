"""droplan beside ufw, the real package: ufw stays and works, and its open ports stay closed to strangers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.bed.booted.container import poll
from tests.bed.booted.droplet import BootedDroplet
from tests.bed.booted.probe import CLOSED, PEERS_ONLY, Answered, Knocking, knock_at_once
from tests.bed.booted.region import Region
from tests.bed.cache import CHECKOUT
from tests.bed.hosts import Host
from tests.system.conftest import EACH_RELEASE, asked

PROGRAM = "/opt/droplan/droplan"
# Everyone may reach SSH, says the user; ufw itself lets everyone ping.
UFW = "apt-get -qq update && apt-get -qq install ufw && ufw allow 22/tcp && ufw --force enable"
# As the README tells a person to.
PIPED = (
    "curl -fsSL https://droplan.nyc3.digitaloceanspaces.com/bootstrap.py | python3 - --url {url} --sha256 {sha256}"
)
FIRST_RULES = [
    "-A INPUT -i eth1 -m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j ACCEPT",
    "-A INPUT -i eth1 -j droplan-peers",
    "-A INPUT -i eth1 -j DROP",
]


@dataclass(frozen=True)
class Look:
    """How things stood at one moment."""

    stranger: Answered
    peer: Answered
    ufw: str
    ufw_package: str
    rules: str

    @property
    def first_rules(self) -> list[str]:
        """The first rules that a packet meets."""
        return [line for line in self.rules.splitlines() if line.startswith("-A INPUT")][:3]


@dataclass(frozen=True)
class Story:
    """What was seen on one release."""

    before: Look
    installed: Look
    stranger_answered: int
    rebooted: Look
    reloaded: Look
    refreshed: Look
    disabled: Look
    enabled: Look
    uninstalled: Look


def look(region: Region, peer: Host, droplet: BootedDroplet) -> Look:
    """See how things stand."""
    return Look(
        **knock_at_once(droplet, stranger=region.stranger, peer=peer),
        ufw=droplet.run(["ufw", "status"]).stdout.splitlines()[0],
        ufw_package=droplet.run(["dpkg-query", "--show", "--showformat", "${db:Status-Status}", "ufw"]).stdout,
        rules=droplet.run(["sh", "-c", "iptables -S; ip6tables -S"]).stdout,
    )


def tell(region: Region, peer: Host, droplet: BootedDroplet, install: str) -> Story:
    """Live through it on one release."""

    def seen() -> Look:
        return look(region, peer, droplet)

    droplet.boot()
    droplet.wait_cloud_init()
    droplet.run(["sh", "-c", UFW], env={"DEBIAN_FRONTEND": "noninteractive"})
    before = seen()
    droplet.run(["sh", "-c", install], env={"DO_KEY": region.token})
    installed = seen()
    with Knocking(region.stranger, droplet) as stranger, Knocking(peer, droplet) as friend:
        droplet.reboot()
        droplet.wait_cloud_init()
        poll(lambda: friend.answered > 20, 60, lambda: f"{peer.name} stays out of {droplet.name}: {seen()}")
    assert stranger.sent > 100
    rebooted = seen()
    droplet.run(["ufw", "reload"])
    reloaded = seen()
    droplet.run([PROGRAM, "refresh"])
    refreshed = seen()
    droplet.run(["ufw", "disable"])
    droplet.run([PROGRAM, "refresh"])
    disabled = seen()
    droplet.run(["ufw", "--force", "enable"])
    droplet.run([PROGRAM, "refresh"])
    enabled = seen()
    droplet.run([PROGRAM, "uninstall"])
    answered = stranger.answered + stranger.answered6
    return Story(before, installed, answered, rebooted, reloaded, refreshed, disabled, enabled, seen())


@pytest.fixture(scope="module")
def stories(request: pytest.FixtureRequest, roots: None, pyz: bytes) -> Iterator[dict[str, Story]]:
    """Each release's story, all told at once."""
    with Region() as region, ThreadPoolExecutor() as pool:
        region.publish("bootstrap.py", (CHECKOUT / "cloud-init/bootstrap.py").read_bytes())
        url = region.publish("droplan.pyz", pyz)
        install = PIPED.format(url=url, sha256=hashlib.sha256(pyz).hexdigest())
        peer = region.host("peer")
        region.do.add(region.listing(peer))
        told = {
            release: pool.submit(tell, region, peer, region.droplet(release, f"ufw-{release}"), install)
            for release in asked(request, "story")
        }
        yield {release: story.result() for release, story in told.items()}


@pytest.fixture(params=EACH_RELEASE)
def story(request: pytest.FixtureRequest, stories: dict[str, Story]) -> Story:
    """One release's story."""
    return stories[request.param]


MOMENTS = ("installed", "rebooted", "reloaded", "refreshed", "enabled")


def test_ufw_alone_lets_the_stranger_in(story: Story) -> None:
    assert story.before.stranger.ssh
    assert story.before.stranger.ping


@pytest.mark.parametrize("moment", MOMENTS)
class TestBeside:
    def test_ufw_stays_installed_and_active(self, story: Story, moment: str) -> None:
        seen = getattr(story, moment)
        assert (seen.ufw_package, seen.ufw) == ("installed", "Status: active")

    def test_our_rules_come_first(self, story: Story, moment: str) -> None:
        assert getattr(story, moment).first_rules == FIRST_RULES

    def test_peers_get_in_and_the_stranger_does_not(self, story: Story, moment: str) -> None:
        seen = getattr(story, moment)
        assert (seen.peer, seen.stranger) == (PEERS_ONLY, CLOSED)


def test_without_ufw_the_interface_is_closed_as_before(story: Story) -> None:
    assert story.disabled.ufw == "Status: inactive"
    assert story.disabled.first_rules == FIRST_RULES
    assert (story.disabled.peer, story.disabled.stranger) == (PEERS_ONLY, CLOSED)


def test_no_packet_of_a_strangers_is_answered_from_before_the_reboot_on(story: Story) -> None:
    assert story.stranger_answered == 0


def test_uninstall_leaves_ufw_as_it_was(story: Story) -> None:
    assert story.uninstalled == story.before
