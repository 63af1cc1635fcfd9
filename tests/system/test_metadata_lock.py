"""DROPLAN_LOCK_METADATA: only root asks the metadata service, which shows the token; the real cloud-init still does.

Each backend is tried on a booted Droplet of its own, both at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.bed.booted.droplet import BootedDroplet
from tests.bed.booted.region import Region
from tests.system.conftest import user_data

PROGRAM = "/opt/droplan/droplan"
URL = "http://169.254.169.254/metadata/v1.json"
ASK = ["curl", "--silent", "--max-time", "3", URL]
NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
# What another program does that sets up a firewall of its own.
WIPE = {
    "iptables": ["iptables", "--flush", "OUTPUT"],
    "nftables": ["nft", "flush", "chain", "inet", "droplan", "output"],
}
RELEASES = {"iptables": "bookworm", "nftables": "trixie"}


@dataclass(frozen=True)
class Look:
    """Who of the Droplet's processes is shown the token."""

    root: bool
    nobody: bool


LOCKED = Look(root=True, nobody=False)
UNLOCKED = Look(root=True, nobody=True)


@dataclass(frozen=True)
class Story:
    """What was seen with one backend."""

    cloud_init: dict[str, Any]
    installed: Look
    cloud_init_after_reboot: dict[str, Any]
    cloud_init_asked_after_reboot: bool
    datasource: str
    rebooted: Look
    wiped: Look
    status_when_wiped: int
    repaired: Look
    status_when_repaired: int
    agent: dict[str, bool]
    uninstalled: Look


def look(region: Region, droplet: BootedDroplet) -> Look:
    """Ask as root and as nobody."""
    return Look(
        root=region.token in droplet.run(ASK, check=False).stdout,
        nobody=region.token in droplet.run([*NOBODY, *ASK], check=False).stdout,
    )


def tell(region: Region, backend: str, pasted: str) -> Story:
    """Live through it with one backend."""
    droplet = region.droplet(RELEASES[backend], f"on-{backend}", user_data=pasted)

    def seen() -> Look:
        return look(region, droplet)

    droplet.boot()
    first = droplet.wait_cloud_init()
    installed = seen()
    asked_before = len(cloud_init_requests(region, droplet))
    # cloud-init remembers what it was told at first boot; now it has to ask again.
    droplet.run(["rm", "/var/lib/cloud/instance/obj.pkl"])
    droplet.reboot()
    second = droplet.wait_cloud_init()
    asked = len(cloud_init_requests(region, droplet)) > asked_before
    rebooted = seen()
    droplet.run(WIPE[backend])
    wiped, status_when_wiped = seen(), status(droplet)
    droplet.run([PROGRAM, "refresh"])
    repaired, status_when_repaired = seen(), status(droplet)
    datasource = droplet.run(["cloud-id"]).stdout.strip()
    agent = meet_the_agent(region, droplet)
    droplet.run([PROGRAM, "uninstall"])
    return Story(
        cloud_init=first,
        installed=installed,
        cloud_init_after_reboot=second,
        cloud_init_asked_after_reboot=asked,
        datasource=datasource,
        rebooted=rebooted,
        wiped=wiped,
        status_when_wiped=status_when_wiped,
        repaired=repaired,
        status_when_repaired=status_when_repaired,
        agent=agent,
        uninstalled=seen(),
    )


def meet_the_agent(region: Region, droplet: BootedDroplet) -> dict[str, bool]:
    """Install do-agent as far as the lock sees it, a unit and its user, and see who is answered before and after."""
    droplet.run(["useradd", "--system", "do-agent"])
    unit = "[Service]\nUser=do-agent\nExecStart=/bin/true\n"
    droplet.run(["tee", "/usr/lib/systemd/system/do-agent.service"], input=unit)
    ask = ["setpriv", "--reuid=do-agent", "--regid=do-agent", "--clear-groups", *ASK]

    def answered() -> bool:
        return region.token in droplet.run(ask, check=False).stdout

    before = answered()
    droplet.run([PROGRAM, "refresh"])
    return {
        "before the next refresh": before,
        "after it": answered(),
        "nobody": look(region, droplet).nobody,
        "sound": status(droplet) == 0,
    }


def cloud_init_requests(region: Region, droplet: BootedDroplet) -> list[str]:
    """Return what cloud-init asked the metadata service for, from either of the addresses that it has in turn."""
    number = droplet.public.ipv4.rpartition(".")[2]
    return [
        request.target
        for request in region.do.requests("metadata")
        if request.headers.get("User-Agent", "").startswith("Cloud-Init/") and request.client.endswith(f".{number}")
    ]


def status(droplet: BootedDroplet) -> int:
    """Return the exit code of `droplan status`."""
    return droplet.run([PROGRAM, "status"], check=False).returncode


@pytest.fixture(scope="module")
def stories(roots: None, pyz: bytes) -> Iterator[dict[str, Story]]:
    """Every backend's story, told at once. Neither cron nor a watcher repairs what the test looks at."""
    with Region() as region, ThreadPoolExecutor(len(RELEASES)) as pool:
        url = region.publish("droplan.pyz", pyz)
        told = {}
        for backend in RELEASES:
            settings = f"DROPLAN_LOCK_METADATA=true DROPLAN_BACKEND={backend} DROPLAN_INTERVAL=60 DROPLAN_WATCH=false"
            pasted = user_data(pyz, url=url, token=region.token, settings=settings)
            told[backend] = pool.submit(tell, region, backend, pasted)
        yield {backend: story.result() for backend, story in told.items()}


@pytest.fixture(params=RELEASES)
def story(request: pytest.FixtureRequest, stories: dict[str, Story]) -> Story:
    """One backend's story."""
    return stories[request.param]


def test_only_root_is_shown_the_token(story: Story) -> None:
    assert story.cloud_init["errors"] == []
    assert story.installed == LOCKED


def test_it_stays_so_after_a_reboot(story: Story) -> None:
    assert story.rebooted == LOCKED


def test_cloud_init_goes_on_reading_the_metadata_service_after_a_reboot(story: Story) -> None:
    report = story.cloud_init_after_reboot
    assert (report["status"], report["errors"]) == ("done", [])
    assert story.cloud_init_asked_after_reboot
    assert story.datasource == "digitalocean"


def test_status_reports_that_the_rule_is_gone_and_a_refresh_puts_it_back(story: Story) -> None:
    assert (story.wiped, story.status_when_wiped) == (UNLOCKED, 3)
    assert (story.repaired, story.status_when_repaired) == (LOCKED, 0)


def test_digitaloceans_agent_is_let_through_from_the_refresh_after_its_installation_on(story: Story) -> None:
    assert story.agent == {"before the next refresh": False, "after it": True, "nobody": False, "sound": True}


def test_uninstalling_unlocks_it(story: Story) -> None:
    assert story.uninstalled == UNLOCKED
