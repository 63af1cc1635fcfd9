"""The bed is what it says it is: what it would not show, no test in it would."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed import ca
from tests.bed.booted.droplet import BootedDroplet
from tests.bed.booted.probe import CLOSED, OPEN, Knocking, knock
from tests.bed.booted.region import Region
from tests.bed.droplet import API_ADDRESS

DROP = "iptables -I INPUT -i eth1 -j DROP; ip6tables -I INPUT -i eth1 -j DROP"


@pytest.fixture(scope="module")
def region() -> Iterator[Region]:
    """An empty region."""
    with Region() as made:
        yield made


@pytest.fixture(scope="module")
def droplet(roots: None, region: Region) -> BootedDroplet:
    """A Droplet with iptables and without rules, booted once."""
    packages = "#cloud-config\nruncmd: [apt-get -qq update && apt-get -qq install iptables && touch /root/ran]\n"
    made = region.droplet("bookworm", "plain", user_data=packages)
    made.boot()
    made.wait_cloud_init()
    return made


def test_cloud_init_reads_its_user_data_from_the_metadata_service(droplet: BootedDroplet) -> None:
    assert droplet.path("/root/ran").exists()
    assert droplet.run(["cloud-id"]).stdout.strip() == "digitalocean"
    assert droplet.run(["hostname"]).stdout.strip() == "plain"


def test_every_unit_starts(droplet: BootedDroplet) -> None:
    assert droplet.run(["systemctl", "is-system-running", "--wait"]).stdout.strip() == "running"


def test_who_asks_for_a_container_is_told_there_is_none(droplet: BootedDroplet) -> None:
    assert droplet.run(["systemd-detect-virt", "--container"], check=False).stdout.strip() == "none"
    assert "container=" not in droplet.run(["cat", "/proc/1/environ"]).stdout


def test_knocking_sees_a_door_that_is_open_while_it_boots(region: Region, droplet: BootedDroplet) -> None:
    with Knocking(region.stranger, droplet) as knocking:
        droplet.reboot()
        droplet.wait_cloud_init()
    assert knocking.answered > 20
    assert knocking.answered6 > 20
    assert knock(region.stranger, droplet) == OPEN


def test_rules_do_not_outlive_a_reboot_by_themselves(region: Region, droplet: BootedDroplet) -> None:
    droplet.run(["sh", "-c", DROP])
    assert knock(region.stranger, droplet, patience=0.5) == CLOSED
    droplet.reboot()
    droplet.wait_cloud_init()
    assert knock(region.stranger, droplet) == OPEN


def test_files_outlive_a_power_cut(droplet: BootedDroplet) -> None:
    droplet.run(["sh", "-c", "echo kept >/root/file"])
    droplet.power_cut()
    assert droplet.path("/root/file").read_text() == "kept\n"
    droplet.boot()
    droplet.wait_cloud_init()
    assert droplet.run(["cat", "/root/file"]).stdout == "kept\n"


def test_two_droplets_reach_each_other(region: Region, droplet: BootedDroplet) -> None:
    second = region.droplet("bookworm", "second")
    second.boot()
    second.wait_cloud_init()
    assert droplet.run(["ping", "-c1", "-W2", second.address]).returncode == 0
    second.power_off()


def test_a_droplet_created_through_the_api_boots_with_the_user_data_it_was_created_with(
    roots: None, region: Region
) -> None:
    request = {
        "name": "created",
        "region": "nyc3",
        "size": "s-1vcpu-1gb",
        "image": "debian-13-x64",
        "user_data": "#cloud-config\nruncmd: [touch /root/created]\n",
    }
    posted = region.host("laptop").run(
        [
            *("curl", "-sS", "--fail", "--cacert", str(ca.certificates().authority)),
            *("--resolve", f"{ca.API_HOST}:443:{API_ADDRESS}", "--header", f"Authorization: Bearer {region.token}"),
            *("--json", json.dumps(request), f"https://{ca.API_HOST}/v2/droplets"),
        ]
    )
    droplet = region.created("trixie", json.loads(posted.stdout)["droplet"]["id"])
    droplet.boot()
    assert droplet.wait_cloud_init()["errors"] == []
    assert droplet.path("/root/created").exists()
    assert droplet.run(["hostname"]).stdout == "created\n"
    assert knock(region.stranger, droplet) == OPEN


def test_nothing_is_left_of_a_region(roots: None) -> None:
    before, cgroups = _traces(), _cgroups()
    with Region() as region:
        region.droplet("bookworm", "passing").boot()
        made = {name for name in _cgroups() - cgroups if _is_ours(int(name.rpartition("-")[2]))}
        assert made
    assert _traces() == before
    assert not made & _cgroups()


def _traces() -> dict[str, str]:
    """What a container could leave on this machine, but for cgroups: other parts of the tests have some meanwhile."""
    return {
        "links": subprocess.run(["ip", "-oneline", "link"], capture_output=True, text=True, check=True).stdout,
        "mounts": Path("/proc/self/mounts").read_text(),
    }


def _cgroups() -> set[str]:
    return {name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names if name.startswith("droplan-")}


def _is_ours(process: int) -> bool:
    """Whether a process descends from this one."""
    while process not in (0, os.getpid()):
        try:
            stat = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            return False
        process = int(stat.rpartition(")")[2].split()[1])
    return process != 0
