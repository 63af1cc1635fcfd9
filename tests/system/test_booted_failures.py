"""A bootstrap that fails: the Droplet says so, is closed, stays closed over a reboot, and heals by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.bed.booted.container import poll
from tests.bed.booted.droplet import BootedDroplet
from tests.bed.booted.probe import CLOSED, PEERS_ONLY, Answered, Knocking, knock, knock_at_once
from tests.bed.booted.region import Region
from tests.bed.faults import Fault
from tests.bed.hosts import Host
from tests.system.conftest import user_data

# The next try is a minute after the last one ended, which may have waited for an answer for some time.
HEALED_WITHIN = 240
LEFT = (
    "ls /opt/droplan/bootstrap* /opt/droplan/close.py /etc/systemd/system/droplan-*; "
    "nft list tables | grep bootstrap; systemctl list-timers | grep droplan"
)


@dataclass(frozen=True)
class Cause:
    """Why a bootstrap fails.

    Attributes:
        release: what it is tried on.
        arrange: makes it so, before the Droplet is created.
        mend: makes it good.
    """

    release: str
    arrange: Callable[[Region, bytes], None]
    mend: Callable[[Region, bytes], None]


CAUSES = {
    "somebody replaced droplan.pyz": Cause(
        "bookworm",
        lambda region, pyz: _publish(region, b"not what was asked for"),
        lambda region, pyz: _publish(region, pyz),
    ),
    "the API does not answer": Cause(
        "trixie",
        lambda region, pyz: region.do.fault(Fault(service="api", refuse=True)),
        lambda region, pyz: region.do.clear_faults(),
    ),
}


def _publish(region: Region, content: bytes) -> None:
    region.publish("droplan.pyz", content)


@dataclass(frozen=True)
class Story:
    """What was seen of one cause."""

    cloud_init: dict[str, Any]
    console: str
    failed: dict[str, Answered]
    answered_over_a_reboot: int
    healed: dict[str, Answered]
    status: int
    left_of_the_bootstrap: str


def tell(cause: Cause, pyz: bytes) -> Story:
    """Live through it."""
    with Region() as region:
        peer = region.host("peer")
        region.do.add(region.listing(peer))
        url = region.publish("droplan.pyz", pyz)
        cause.arrange(region, pyz)
        pasted = user_data(pyz, url=url, token=region.token, settings="DROPLAN_INTERVAL=1")
        droplet = region.droplet(cause.release, "unlucky", user_data=pasted)
        return _story(region, peer, droplet, lambda: cause.mend(region, pyz))


def _story(region: Region, peer: Host, droplet: BootedDroplet, mend: Callable[[], None]) -> Story:
    def knock_all() -> dict[str, Answered]:
        return knock_at_once(droplet, peer=peer, stranger=region.stranger)

    droplet.boot()
    report = droplet.wait_cloud_init()
    failed = knock_all()
    with Knocking(region.stranger, droplet) as stranger:
        droplet.reboot()
        droplet.wait_cloud_init()
    assert stranger.sent > 100
    mend()
    poll(
        lambda: knock(peer, droplet) == PEERS_ONLY,
        HEALED_WITHIN,
        lambda: f"it does not heal: {droplet.journal()[-4000:]}",
    )
    # cron may have healed it; what is left is then cleared up by the next try that the bootstrap had planned.
    droplet.wait_until(["sh", "-c", "! test -e /opt/droplan/bootstrap.sh"], timeout=HEALED_WITHIN)
    return Story(
        cloud_init=report,
        console=droplet.console(),
        failed=failed,
        answered_over_a_reboot=stranger.answered + stranger.answered6,
        healed=knock_all(),
        status=droplet.run(["/opt/droplan/droplan", "status"], check=False).returncode,
        left_of_the_bootstrap=droplet.run(["sh", "-c", LEFT], check=False).stdout,
    )


@pytest.fixture(scope="module")
def stories(roots: None, pyz: bytes) -> Iterator[dict[str, Story]]:
    """Every cause's story, told at once, each in a region of its own."""
    with ThreadPoolExecutor(len(CAUSES)) as pool:
        told = {name: pool.submit(tell, cause, pyz) for name, cause in CAUSES.items()}
        yield {name: story.result() for name, story in told.items()}


@pytest.fixture(params=CAUSES)
def story(request: pytest.FixtureRequest, stories: dict[str, Story]) -> Story:
    """The story of one cause."""
    return stories[request.param]


def test_cloud_init_says_error(story: Story) -> None:
    assert story.cloud_init["status"] == "error"


def test_the_console_says_it_loudly(story: Story) -> None:
    assert "droplan BOOTSTRAP FAILED on this Droplet" in story.console


def test_nobody_gets_in(story: Story) -> None:
    assert story.failed == {"peer": CLOSED, "stranger": CLOSED}


def test_it_stays_closed_over_a_reboot_from_the_first_packet_on(story: Story) -> None:
    assert story.answered_over_a_reboot == 0


def test_it_heals_by_itself(story: Story) -> None:
    assert story.healed == {"peer": PEERS_ONLY, "stranger": CLOSED}
    assert story.status == 0


def test_nothing_is_left_of_what_only_a_failed_bootstrap_needs(story: Story) -> None:
    # The units of every installation.
    assert story.left_of_the_bootstrap.split() == [
        f"/etc/systemd/system/{name}" for name in ("droplan-restore.service", "droplan-watch.service")
    ]
