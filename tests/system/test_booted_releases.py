"""A Droplet's whole life on each Debian release: user data, cron, reboots, an outage at DigitalOcean, uninstall.

For each commit those between the oldest and the newest live the beginning of it, until cron has run, and all of it at
night. They live it at once, stage by stage, since most of the time goes into waiting for cron's next minute. What is
seen on the way is written down; each test then asks one question about it.
"""

from __future__ import annotations

import re
import stat
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.bed.booted.container import poll
from tests.bed.booted.droplet import RELEASES, BootedDroplet
from tests.bed.booted.probe import CLOSED, OPEN, PEERS_ONLY, Answered, Knocking, knock, knock_at_once
from tests.bed.booted.region import Region
from tests.bed.faults import Fault
from tests.bed.hosts import Host
from tests.system.conftest import EACH_RELEASE, asked, user_data

# cron starts the refresh at a minute of its own and each Droplet then sleeps for up to a minute of its own; the third
# minute is for a machine that is busy with other tests.
ONE_INTERVAL = 180
FOLDER = "/opt/droplan"
PROGRAM = f"{FOLDER}/droplan"
SERVICES = ("cron", "netfilter-persistent")
PLACES = (FOLDER, "/etc/droplan", "/var/lib/droplan", "/var/log/droplan.log", "/etc/cron.d/droplan")


@dataclass
class Boot:
    """What was seen of one boot, from before it was switched on to some time after cloud-init had finished."""

    cloud_init: dict[str, Any]
    stranger_knocked: int
    stranger_answered: int
    peer_answered: int
    rules: str
    failed_units: str


@dataclass
class Life:
    """What was seen on one release."""

    droplet: BootedDroplet
    late_peer: Host
    trouble: str = ""
    seen: dict[str, Any] = field(default_factory=dict)


class Observers:
    """The stages of a Droplet's life, in their order; each adds to what was seen."""

    def __init__(self, region: Region, peer: Host) -> None:
        self.region = region
        self.peer = peer

    def first_boot(self, life: Life) -> None:
        life.droplet.boot()
        life.seen["first cloud-init"] = life.droplet.wait_cloud_init()
        life.seen["answered when installed"] = self._knock_all(life)
        life.seen["status"] = life.droplet.run([PROGRAM, "status"], check=False)
        life.seen["late peer before"] = knock(life.late_peer, life.droplet)
        life.seen["readable"] = life.droplet.run(
            [
                "grep",
                "--recursive",
                "--files-with-matches",
                "--no-messages",
                self.region.token,
                "/etc",
                "/opt",
                "/var",
                "/run",
            ],
            check=False,
        ).stdout.split()
        life.seen["modes"] = {name: _mode(life.droplet, name) for name in life.seen["readable"]}

    def a_peer_is_added(self, life: Life) -> None:
        self.region.do.add(self.region.listing(life.late_peer))
        poll(
            lambda: knock(life.late_peer, life.droplet) == PEERS_ONLY,
            ONE_INTERVAL,
            lambda: (
                f"the new peer stays out; {life.droplet.run(['tail', '-n5', '/var/log/droplan.log'], check=False)}"
            ),
        )
        life.seen["late peer after"] = knock(life.late_peer, life.droplet)

    def repair(self, life: Life) -> None:
        life.droplet.run(["systemctl", "stop", "cron"])
        # What cron had started, /opt/droplan/refresh.sh after a sleep, would put back what install is to: it is woken
        # and waited for.
        life.droplet.run(["pkill", "-x", "sleep"], check=False)
        poll(
            lambda: life.droplet.run(["pgrep", "-f", "droplan.refresh"], check=False).returncode == 1,
            120,
            lambda: f"a refresh goes on; {life.droplet.run(['pgrep', '-af', 'droplan'], check=False)}",
        )
        life.droplet.run(["systemctl", "disable", "--quiet", *SERVICES])
        life.droplet.run(["rm", f"{FOLDER}/refresh.sh"])
        life.seen["repair"] = life.droplet.run([PROGRAM, "install"], check=False)
        life.seen["services"] = {
            verb: life.droplet.run(["systemctl", verb, *SERVICES], check=False).stdout.split()
            for verb in ("is-enabled", "is-active")
        }

    def reboot(self, life: Life) -> None:
        life.seen["reboot"] = self._reboot(life)

    def reboot_without_api(self, life: Life) -> None:
        life.seen["reboot without API"] = self._reboot(life)
        life.seen["refresh without API"] = life.droplet.run([PROGRAM, "refresh"], check=False)
        life.seen["answered without API"] = self._knock_all(life)

    def uninstall(self, life: Life) -> None:
        life.seen["uninstall"] = life.droplet.run([PROGRAM, "uninstall"], check=False)
        life.seen["rules after uninstall"] = _rules(life.droplet)
        life.seen["left behind"] = life.droplet.run(["find", *PLACES], check=False).stdout.split()
        life.seen["stranger after uninstall"] = knock(self.region.stranger, life.droplet)
        life.seen["packages"] = life.droplet.run(
            ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ", "iptables-persistent", "cron"]
        ).stdout.split()
        life.droplet.reboot()
        life.seen["cloud-init after uninstall"] = life.droplet.wait_cloud_init()
        life.seen["rules after uninstall and reboot"] = _rules(life.droplet)

    def _knock_all(self, life: Life) -> dict[str, Answered]:
        return knock_at_once(life.droplet, peer=self.peer, stranger=self.region.stranger)

    def _reboot(self, life: Life) -> Boot:
        droplet = life.droplet
        with Knocking(self.region.stranger, droplet) as stranger, Knocking(self.peer, droplet) as peer:
            droplet.reboot()
            report = droplet.wait_cloud_init()
            poll(lambda: peer.answered > 20, 60, lambda: f"a peer stays out; {_rules(droplet)}")
        return Boot(
            cloud_init=report,
            stranger_knocked=stranger.sent,
            stranger_answered=stranger.answered + stranger.answered6,
            peer_answered=peer.answered,
            rules=_rules(droplet),
            failed_units=droplet.run(["systemctl", "--failed", "--no-legend", "--plain"]).stdout,
        )


def _rules(droplet: BootedDroplet) -> str:
    return droplet.run(["sh", "-c", "iptables -S; ip6tables -S"]).stdout


def _mode(droplet: BootedDroplet, path: str) -> int:
    return stat.S_IMODE(int(droplet.run(["stat", "--format=%f", path]).stdout, 16))


def _live(lives: dict[str, Life], stage: Callable[[Life], None]) -> None:
    """Let releases go through a stage at once; one that fails goes no further."""

    def one(life: Life) -> None:
        if not life.trouble:
            try:
                stage(life)
            except Exception:
                life.trouble = f"{stage.__name__}: {traceback.format_exc()}\n{life.droplet.console()[-3000:]}"

    with ThreadPoolExecutor(len(RELEASES)) as pool:
        list(pool.map(one, lives.values()))


@pytest.fixture(scope="module")
def lives(request: pytest.FixtureRequest, roots: None, pyz: bytes) -> Iterator[dict[str, Life]]:
    """Every release's life, seen to its end where that is asked for."""
    with Region() as region:
        url = region.publish("droplan.pyz", pyz)
        peer = region.host("peer")
        region.do.add(region.listing(peer))
        pasted = user_data(pyz, url=url, token=region.token, settings="DROPLAN_INTERVAL=1")
        whole = asked(request, "whole_life")
        lives = {
            release: Life(region.droplet(release, f"on-{release}", user_data=pasted), region.host(f"late-{release}"))
            for release in RELEASES
            if release in whole | asked(request, "life")
        }
        observers = Observers(region, peer)
        _live(lives, observers.first_boot)
        _live(lives, observers.a_peer_is_added)
        going_on = {release: lives[release] for release in lives if release in whole}
        for release in lives.keys() - going_on.keys():
            lives[release].droplet.destroy()
        _live(going_on, observers.repair)
        _live(going_on, observers.reboot)
        region.do.fault(Fault(service="api", refuse=True))
        _live(going_on, observers.reboot_without_api)
        region.do.clear_faults()
        _live(going_on, observers.uninstall)
        yield lives


@pytest.fixture(params=RELEASES)
def life(request: pytest.FixtureRequest, lives: dict[str, Life]) -> Life:
    """One release's life, as far as it has got."""
    found = lives[request.param]
    assert not found.trouble, found.trouble
    return found


@pytest.fixture(params=EACH_RELEASE)
def whole_life(request: pytest.FixtureRequest, lives: dict[str, Life]) -> Life:
    """One that was seen to its end."""
    found = lives[request.param]
    assert not found.trouble, found.trouble
    return found


def test_cloud_init_is_content(life: Life) -> None:
    report = life.seen["first cloud-init"]
    assert (report["status"], report["errors"]) == ("done", [])


def test_a_first_boot_leaves_the_door_open_to_peers_only(life: Life) -> None:
    assert life.seen["answered when installed"] == {"peer": PEERS_ONLY, "stranger": CLOSED}


def test_status_finds_nothing_to_complain_about(life: Life) -> None:
    status = life.seen["status"]
    assert (status.returncode, status.stderr) == (0, ""), status.stdout


def test_no_file_shows_the_token_to_others_than_root(life: Life) -> None:
    assert "/etc/droplan/droplan.env" in life.seen["readable"]
    assert {name: mode for name, mode in life.seen["modes"].items() if mode & 0o077} == {}


def test_cron_lets_a_new_peer_in_without_anyone_touching_the_droplet(life: Life) -> None:
    assert life.seen["late peer before"] == CLOSED
    assert life.seen["late peer after"] == PEERS_ONLY


def test_services_that_somebody_disabled_and_a_file_that_he_removed_are_put_back(whole_life: Life) -> None:
    repair = whole_life.seen["repair"]
    assert (repair.returncode, repair.stderr) == (0, "")
    assert len(re.findall(": (?:created|fixed|installed)", repair.stdout)) == 3, repair.stdout
    assert whole_life.seen["services"]["is-enabled"] == ["enabled"] * 2
    # The loader is not started: that would write what was saved over what others have written since.
    assert whole_life.seen["services"]["is-active"][0] == "active"


@pytest.mark.parametrize("which", ["reboot", "reboot without API"])
class TestReboot:
    def test_no_packet_of_a_strangers_is_answered_from_before_the_boot_on(self, whole_life: Life, which: str) -> None:
        boot = whole_life.seen[which]
        assert boot.stranger_knocked > 100
        assert boot.stranger_answered == 0

    def test_peers_are_let_in_by_the_rules_that_were_saved(self, whole_life: Life, which: str) -> None:
        boot = whole_life.seen[which]
        assert boot.peer_answered > 0
        assert f"-A droplan-peers -s {whole_life.late_peer.address}/32 -j ACCEPT" in boot.rules

    def test_cloud_init_still_reaches_its_metadata(self, whole_life: Life, which: str) -> None:
        report = whole_life.seen[which].cloud_init
        assert (report["status"], report["errors"]) == ("done", [])

    def test_no_unit_fails(self, whole_life: Life, which: str) -> None:
        assert whole_life.seen[which].failed_units == ""


def test_a_refresh_without_the_api_fails_and_changes_nothing(whole_life: Life) -> None:
    assert whole_life.seen["refresh without API"].returncode == 1
    assert whole_life.seen["answered without API"] == {"peer": PEERS_ONLY, "stranger": CLOSED}


class TestUninstall:
    def test_it_says_that_it_is_done(self, whole_life: Life) -> None:
        assert whole_life.seen["uninstall"].returncode == 0, whole_life.seen["uninstall"]

    def test_no_rule_of_ours_is_left_not_even_after_a_reboot(self, whole_life: Life) -> None:
        bare = "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n"
        assert whole_life.seen["rules after uninstall"] == bare * 2
        assert whole_life.seen["rules after uninstall and reboot"] == bare * 2

    def test_everybody_gets_in_again(self, whole_life: Life) -> None:
        assert whole_life.seen["stranger after uninstall"] == OPEN

    def test_no_file_of_ours_is_left_but_the_log_and_that_is_said(self, whole_life: Life) -> None:
        assert whole_life.seen["left behind"] == ["/var/log/droplan.log"]
        assert "Kept /var/log/droplan.log" in whole_life.seen["uninstall"].stdout

    def test_packages_stay(self, whole_life: Life) -> None:
        assert whole_life.seen["packages"] == ["installed", "installed"]

    def test_the_next_boot_does_not_bring_it_back(self, whole_life: Life) -> None:
        report = whole_life.seen["cloud-init after uninstall"]
        assert (report["status"], report["errors"]) == ("done", [])
