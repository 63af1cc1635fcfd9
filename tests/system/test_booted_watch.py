"""The watcher as systemd runs it, in its sandbox: it lives, heals, lets a new peer in, and comes back when killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.bed.booted.droplet import BootedDroplet
from tests.bed.booted.region import Region
from tests.bed.control import Request
from tests.system.conftest import EACH_RELEASE, asked, user_data

PROGRAM = "/opt/droplan/droplan"
UNIT = "droplan-watch.service"
STATUS = "/var/lib/droplan/status.json"
# So long that cron has no turn while the test looks.
SETTINGS = "DROPLAN_INTERVAL=60"


@dataclass
class Life:
    """What was seen on one release."""

    seen: dict[str, Any] = field(default_factory=dict)


def live(region: Region, release: str, pyz: bytes) -> Life:
    """Boot a Droplet, do this and that to it, and write down what is seen."""
    life = Life()
    seen = life.seen
    url = region.publish("droplan.pyz", pyz)
    droplet = region.droplet(
        release, f"watched-{release}", user_data=user_data(pyz, url=url, token=region.token, settings=SETTINGS)
    )
    droplet.boot()
    droplet.wait_cloud_init()
    seen["active"] = says(droplet, "systemctl", "is-active", UNIT)
    seen["enabled"] = says(droplet, "systemctl", "is-enabled", UNIT)
    time.sleep(3)
    seen["after a flush"] = healed(droplet, ["nft", "flush", "ruleset"], ["iptables", "-F", "INPUT"])
    old = says(droplet, "systemctl", "show", "-p", "MainPID", "--value", UNIT)
    droplet.run(["kill", "-9", old])
    seen["again"] = comes(
        lambda: says(droplet, "systemctl", "show", "-p", "MainPID", "--value", UNIT) not in (old, "0")
    )
    time.sleep(3)
    seen["healed by the new one"] = healed(droplet, ["iptables", "-F", "INPUT"])
    before = requests(region, droplet)
    copy_knocks(droplet)
    seen["looked up"] = comes(lambda: knock(region, droplet) and len(requests(region, droplet)) > len(before))
    seen["told"] = comes(lambda: "tcp/22" in says(droplet, PROGRAM, "blocked"))
    comes(lambda: not children(droplet))
    seen["log"] = droplet.run(["cat", "/var/log/droplan.log"], check=False).stdout
    seen["journal"] = droplet.journal("-u", UNIT)
    seen["pss"] = droplet.run(
        ["sh", "-c", f"grep ^Pss: /proc/$(systemctl show -p MainPID --value {UNIT})/smaps_rollup"]
    ).stdout
    seen["quarrel"] = comes(lambda: flushed(droplet) and "quarrel" in problems(droplet))
    droplet.run([PROGRAM, "refresh"])
    seen["over"] = comes(lambda: "quarrel" not in problems(droplet))
    # Each minute from here on, and the last time was 50 s ago: in 70 s cron is a minute late.
    every_minute = "systemctl stop cron; sed -i 's/^DROPLAN_INTERVAL=.*/DROPLAN_INTERVAL=1/' /etc/droplan/droplan.env"
    droplet.run(["sh", "-ec", f"{every_minute}; touch -d '-50 sec' {STATUS}; systemctl restart {UNIT}"])
    # status itself takes a good part of a second's work.
    seen["missed"] = comes(lambda: "cron-missed" in problems(droplet), 240, pause=3.0)
    droplet.run(["systemctl", "disable", "--quiet", "--now", UNIT])
    seen["problems without it"] = problems(droplet)
    droplet.run(["/opt/droplan/refresh.sh"])
    seen["put back"] = [says(droplet, "systemctl", verb, UNIT) for verb in ("is-active", "is-enabled")]
    droplet.run([PROGRAM, "uninstall"])
    seen["uninstalled"] = says(droplet, "systemctl", "is-active", UNIT)
    seen["left"] = droplet.run(
        ["sh", "-c", "ls -d /var/lib/droplan /etc/systemd/system/droplan-* /etc/systemd/system/*/droplan-*"],
        check=False,
    ).stdout
    droplet.destroy()
    return life


def says(droplet: BootedDroplet, *argv: str) -> str:
    return droplet.run(list(argv), check=False).stdout.strip()


def children(droplet: BootedDroplet) -> list[str]:
    """List what the watcher has started and what has not ended, such as a refresh."""
    return says(droplet, "sh", "-c", f"pgrep -P $(systemctl show -p MainPID --value {UNIT})").split()


def healed(droplet: BootedDroplet, *damages: list[str]) -> list[bool]:
    """Damage the rules, and see whether they are right again, each time."""
    found = []
    for damage in damages:
        droplet.run(damage)
        found.append(comes(lambda: droplet.run([PROGRAM, "status"], check=False).returncode != 3))
        time.sleep(2)
    return found


def flushed(droplet: BootedDroplet) -> bool:
    droplet.run(["iptables", "-F", "INPUT"])
    time.sleep(1)
    return True


def problems(droplet: BootedDroplet) -> list[str]:
    """List what status finds wrong, by its codes."""
    said = droplet.run([PROGRAM, "status", "--json"], check=False).stdout
    return [one["code"] for one in json.loads(said)["problems"]]


def comes(holds: Callable[[], bool], patience: float = 60.0, pause: float = 0.2) -> bool:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(pause)
    return False


def requests(region: Region, droplet: BootedDroplet) -> list[Request]:
    return [each for each in region.do.requests("api") if each.client == droplet.public.ipv4]


def copy_knocks(droplet: BootedDroplet) -> None:
    """Have what the stranger sends copied to the watcher, where the guard does not do so itself."""
    rules = (
        "table inet copies { chain shut { type filter hook prerouting priority -171; "
        'iifname "eth1" ct state new log prefix "droplan-drop-private" group 4710; }; }'
    )
    droplet.run(["sh", "-c", f"echo '{rules}' | nft -f -"])


def knock(region: Region, droplet: BootedDroplet) -> bool:
    region.stranger.run(["sh", "-c", f"timeout 1 bash -c '</dev/tcp/{droplet.address}/22' || true"], check=False)
    return True


@pytest.fixture(scope="module")
def lives(request: pytest.FixtureRequest, roots: None, pyz: bytes) -> Iterator[dict[str, Life]]:
    with Region() as region, ThreadPoolExecutor() as pool:
        made = {release: pool.submit(live, region, release, pyz) for release in asked(request, "release")}
        yield {release: each.result() for release, each in made.items()}


@pytest.mark.parametrize("release", EACH_RELEASE)
class TestWatched:
    def test_its_unit_runs_and_will_at_the_next_boot(self, release: str, lives: dict[str, Life]) -> None:
        assert (lives[release].seen["active"], lives[release].seen["enabled"]) == ("active", "enabled")

    def test_what_others_flush_is_put_back_from_within_the_sandbox(
        self, release: str, lives: dict[str, Life]
    ) -> None:
        assert all(lives[release].seen["after a flush"]), lives[release].seen

    def test_killed_it_comes_back_and_heals_again(self, release: str, lives: dict[str, Life]) -> None:
        assert lives[release].seen["again"]
        assert all(lives[release].seen["healed by the new one"]), lives[release].seen

    def test_a_stranger_is_looked_up_by_a_refresh_that_succeeds_in_the_sandbox(
        self, release: str, lives: dict[str, Life]
    ) -> None:
        seen = lives[release].seen
        assert seen["looked up"], seen
        assert "refresh: " not in seen["log"], seen["log"]
        assert seen["told"], seen

    def test_it_is_small(self, release: str, lives: dict[str, Life]) -> None:
        assert int(lives[release].seen["pss"].split()[1]) <= 12 * 1024

    def test_status_names_whom_it_quarrels_with_until_a_refresh(self, release: str, lives: dict[str, Life]) -> None:
        assert (lives[release].seen["quarrel"], lives[release].seen["over"]) == (True, True)

    def test_status_tells_that_it_runs_what_cron_missed(self, release: str, lives: dict[str, Life]) -> None:
        assert lives[release].seen["missed"]

    def test_status_tells_when_it_does_not_run(self, release: str, lives: dict[str, Life]) -> None:
        assert "unwatched" in lives[release].seen["problems without it"]

    def test_the_schedule_puts_it_back(self, release: str, lives: dict[str, Life]) -> None:
        assert lives[release].seen["put back"] == ["active", "enabled"]

    def test_its_own_runs_do_not_try_what_its_sandbox_refuses(self, release: str, lives: dict[str, Life]) -> None:
        assert "cannot be put back" not in lives[release].seen["log"]

    def test_uninstalled_nothing_of_it_is_left(self, release: str, lives: dict[str, Life]) -> None:
        seen = lives[release].seen
        assert (seen["uninstalled"], seen["left"]) == ("inactive", "")
