"""The module's user data combined with somebody else's, while the API is down: each part does its own, and says how.

test_booted_failures.py has the bootstrap alone.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.bed.booted.container import poll
from tests.bed.booted.probe import CLOSED, PEERS_ONLY, Answered, knock, knock_at_once
from tests.bed.booted.region import Region
from tests.bed.faults import Fault
from tests.bed.terraform import tf

THEIRS = """\
#cloud-config
write_files:
- {path: /etc/motd, content: hello}
runcmd:
- touch /root/theirs-ran
- exit 0
"""
# The next try is a minute after the last one ended, which may have waited for an answer for some time.
HEALED_WITHIN = 240


@dataclass(frozen=True)
class Story:
    """What was seen of the Droplet."""

    cloud_init: dict[str, Any]
    motd: str
    theirs_ran: bool
    failed: dict[str, Answered]
    status_when_failed: subprocess.CompletedProcess[str]
    healed: dict[str, Answered]
    status_when_healed: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def story(roots: None, pyz: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Boot while the API is down, see how things stand, and wait until it has healed after the API came back."""
    with Region() as region:
        peer = region.host("peer")
        region.do.add(region.listing(peer))
        combined = rendered(
            tmp_path_factory.mktemp("module"),
            do_key=region.token,
            droplan_url=region.publish("droplan.pyz", pyz),
            droplan_sha256=hashlib.sha256(pyz).hexdigest(),
            interval="1",
            extra_user_data=THEIRS,
        )
        droplet = region.droplet("bookworm", "unlucky", user_data=combined)

        def knock_all() -> dict[str, Answered]:
            return knock_at_once(droplet, peer=peer, stranger=region.stranger)

        region.do.fault(Fault(service="api", refuse=True))
        droplet.boot()
        report = droplet.wait_cloud_init()
        failed, status_when_failed = knock_all(), droplet.run(["/opt/droplan/droplan", "status"], check=False)
        region.do.clear_faults()
        poll(
            lambda: knock(peer, droplet) == PEERS_ONLY,
            HEALED_WITHIN,
            lambda: f"it does not heal: {droplet.journal()[-4000:]}",
        )
        droplet.wait_until(["test", "!", "-e", "/opt/droplan/bootstrap.sh"], timeout=HEALED_WITHIN)
        yield Story(
            cloud_init=report,
            motd=droplet.path("/etc/motd").read_text(),
            theirs_ran=droplet.path("/root/theirs-ran").exists(),
            failed=failed,
            status_when_failed=status_when_failed,
            healed=knock_all(),
            status_when_healed=droplet.run(["/opt/droplan/droplan", "status"], check=False),
        )


def rendered(folder: Path, **variables: str) -> str:
    """Render user data with the module."""
    module = tf.Terraform(tf.copy_sources(folder), variables)
    module.run("init")
    module.run("apply", "-auto-approve")
    return module.run("output", "-raw", "user_data")


def test_the_other_part_does_its_own(story: Story) -> None:
    assert story.motd == "hello"
    assert story.theirs_ran


def test_cloud_init_says_error_although_the_other_part_succeeds(story: Story) -> None:
    assert story.cloud_init["status"] == "error"


def test_nobody_gets_in(story: Story) -> None:
    assert story.failed == {"peer": CLOSED, "stranger": CLOSED}


def test_droplan_status_says_that_the_bootstrap_failed(story: Story) -> None:
    assert story.status_when_failed.returncode == 5, "the rules are right: closed to all; but droplan is blind"
    assert "the bootstrap failed" in story.status_when_failed.stdout


def test_it_heals_when_the_api_answers_again(story: Story) -> None:
    assert story.healed == {"peer": PEERS_ONLY, "stranger": CLOSED}
    assert story.status_when_healed.returncode == 0, story.status_when_healed.stdout
