"""firewalld itself on Enterprise Linux: how it gives way to iptables.service, and what it does where it stays."""

from __future__ import annotations

import re

import pytest

from tests.bed import Reach, probe
from tests.bed.el.droplet import ElDroplet
from tests.bed.program import PROTECTED_INPUT, succeeded
from tests.el.conftest import Make
from tests.el.test_install import FIREWALLD, SAVED, set_up

FLUSHES = (
    "firewall-cmd -q --reload",
    "firewall-cmd -q --complete-reload",
    "systemctl restart firewalld",
    "systemctl stop firewalld",
    "systemctl start firewalld",
)


def test_it_is_masked_for_good_until_uninstall_gives_it_back_with_what_it_lets_in(make: Make) -> None:
    """It does not start by hand nor at the next boot; afterwards it is the owner's again, settings and all."""
    el = make("almalinux-9")
    set_up(el, FIREWALLD["active"])
    el.droplet.run(["firewall-cmd", "-q", "--permanent", "--add-service=https"])
    el.droplet.run(["firewall-cmd", "-q", "--reload"])

    el.install()
    assert el.firewalld() == "not running"
    assert el.droplet.run(["systemctl", "start", "firewalld"], check=False).returncode != 0
    el.reboot()
    assert el.firewalld() == "not running"
    assert tuple(el.chain("INPUT")[:3]) == PROTECTED_INPUT

    succeeded(el.run("uninstall"))
    assert el.firewalld() == "running"
    assert "https" in el.droplet.run(["firewall-cmd", "--list-services"]).stdout.split()


@pytest.fixture
def staying(make: Make) -> ElDroplet:
    """droplan beside firewalld, which stays where repositories lack iptables-services: nothing loads saved rules."""
    el = make("almalinux-9", repository="no-loader")
    set_up(el, FIREWALLD["active"])
    el.install()
    return el


def test_where_it_stays_our_own_unit_is_at_boot_and_status_tells_how_peers_are_let_in(staying: ElDroplet) -> None:
    """The card in zone `trusted` lets everybody in, as far as firewalld goes; the guard stands before that."""
    peer, stranger = staying.lab.peers[0], staying.lab.stranger
    assert staying.firewalld() == "running"
    assert staying.units("droplan-restore", "crond", "firewalld") == {
        "droplan-restore": "enabled inactive",
        "crond": "enabled active",
        "firewalld": "enabled active",
    }
    assert not staying.exists(SAVED[0])
    assert staying.status()["saved_by"] == "droplan-restore.service"
    assert not probe(peer, staying.droplet).tcp
    assert probe(stranger, staying.droplet).nothing
    assert staying.run("status").returncode == 5
    (refused,) = (one for one in staying.status()["problems"] if one["code"] == "firewalld-refuses")

    staying.droplet.run(["sh", "-ec", remedy(refused["remedy"])])
    assert "eth1" in staying.droplet.run(["firewall-cmd", "--zone=trusted", "--list-interfaces"]).stdout.split()
    assert probe(stranger, staying.droplet).nothing  # although firewalld has flushed the door
    staying.refresh()

    assert not {"firewalld-refuses", "drift"} & set(staying.problems())
    assert probe(peer, staying.droplet) == Reach(tcp=True, udp=True, icmp=True)
    assert probe(stranger, staying.droplet).nothing


def test_whatever_it_flushes_no_stranger_gets_in_and_the_next_run_has_peers_in_again(staying: ElDroplet) -> None:
    """It takes the door with it each time, and leaves the guard, which is no table of its own."""
    peer, stranger = staying.lab.peers[0], staying.lab.stranger
    staying.droplet.run(["firewall-cmd", "-q", "--permanent", "--zone=trusted", "--change-interface=eth1"])
    for event in FLUSHES:
        staying.droplet.run(event.split())
        assert staying.firewalld() == ("not running" if "stop" in event else "running"), event
        assert probe(stranger, staying.droplet).nothing, event
        assert tuple(staying.chain("INPUT")[:3]) != PROTECTED_INPUT, event

        staying.refresh()
        assert tuple(staying.chain("INPUT")[:3]) == PROTECTED_INPUT, event
        assert probe(peer, staying.droplet) == Reach(tcp=True, udp=True, icmp=True), event
        assert probe(stranger, staying.droplet).nothing, event


def remedy(text: str) -> str:
    """Take the command out of what status says to do."""
    (command,) = re.findall(r"`([^`]*)`", text)
    return str(command)
