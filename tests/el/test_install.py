"""An installation on each release ends in the state that DESIGN.md asks for, whatever became of firewalld before."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

import pytest

from tests.bed import Reach, probe, probe_all
from tests.bed.el import rpms
from tests.bed.el.droplet import RELEASES, UNPACKED, ElDroplet, changed, in_force
from tests.bed.program import PROTECTED_INPUT, succeeded
from tests.el.conftest import Make

SAVED = ("/etc/sysconfig/iptables", "/etc/sysconfig/ip6tables")
UNFINISHED = "/var/lib/droplan/unfinished"
STOCK = (rpms.TREES / "iptables-services/etc/sysconfig/iptables").read_text()
STOCK_END = {
    "iptables": "-A INPUT -j REJECT --reject-with icmp-host-prohibited",
    "ip6tables": "-A INPUT -j REJECT --reject-with icmp6-adm-prohibited",
}


@dataclasses.dataclass(frozen=True)
class Firewalld:
    """How firewalld was, and what is to be then.

    Args:
        setup: what the owner did: packages to install, calls of systemctl.
        after: how it is to be, enabled and active.
        iptables: how iptables.service is to be.
        stock: whether the package's own rules are to be in force behind ours.
    """

    setup: tuple[str, ...]
    after: str
    iptables: str
    stock: bool


FIREWALLD = {
    "absent": Firewalld((), "absent inactive", "enabled inactive", stock=False),
    "installed, inactive": Firewalld(("install",), "masked inactive", "enabled inactive", stock=False),
    "active": Firewalld(("install", "enable --now firewalld"), "masked inactive", "enabled active", stock=True),
}


def set_up(el: ElDroplet, firewalld: Firewalld) -> None:
    """Bring firewalld into its state."""
    for step in firewalld.setup:
        if step == "install":
            el.add("firewalld")
        else:
            el.systemctl(*step.split())
    if firewalld.stock:
        assert el.firewalld() == "running"
        assert ("firewalld" in el.droplet.run(["nft", "list", "tables"]).stdout) == (el.release.name != "centos-7")


def each_state_once(releases: Iterable[str], all_of: str, at_night: str) -> pytest.MarkDecorator:
    """Each release where firewalld is active, which asks most of it, and one of them in each state; at night, all.

    Args:
        releases: their names.
        all_of: the one that is tried in each state.
        at_night: the one whose tools are those of another, and which tells no commit more.
    """

    def is_of_the_day(release: str, before: str) -> bool:
        return release == all_of or (before == "active" and release != at_night)

    return pytest.mark.parametrize(
        ("release", "before"),
        [
            pytest.param(release, before, marks=[] if is_of_the_day(release, before) else [pytest.mark.nightly])
            for release in releases
            for before in FIREWALLD
        ],
    )


@each_state_once(RELEASES, all_of="centos-7", at_night="almalinux-10")
def test_install_protects_the_droplet_now_and_at_the_next_boot(make: Make, release: str, before: str) -> None:
    """One installation, seen from all sides; the releases without `service` have none here either."""
    given = FIREWALLD[before]
    el = make(release, has_service=release in ("centos-7", "almalinux-8"))
    set_up(el, given)

    el.install()

    # Services
    assert el.units("crond", "iptables", "ip6tables", "firewalld") == {
        "crond": "enabled active",
        "iptables": given.iptables,
        "ip6tables": given.iptables,
        "firewalld": given.after,
    }
    assert el.installed(el.release.loader, "cronie") == [el.release.loader, "cronie"]
    # Rules: ours first; the package's, which end in REJECT, only where firewalld's gave way to them
    for tool, last in STOCK_END.items():
        chain = el.chain("INPUT", tool)
        assert tuple(chain[:3]) == PROTECTED_INPUT
        assert (last in chain) == given.stock
        assert len(chain) > 3 or not given.stock
        assert not any("droplan" in rule for rule in el.chain("FORWARD", tool))
    assert "firewalld" not in el.droplet.run(["nft", "list", "tables"]).stdout
    # Saved
    for path in SAVED:
        assert el.mode(path) == 0o600
        assert PROTECTED_INPUT[1] in el.read(path)
    assert el.read(f"{SAVED[0]}.before-droplan") == STOCK
    assert el.mode(f"{SAVED[0]}.before-droplan") == 0o600
    # Traffic
    reach = probe_all([*el.lab.peers, el.lab.stranger], el.droplet)
    ipv4 = Reach(tcp=True, udp=True, icmp=True)
    assert reach == {"peer-1": ipv4, "peer-2": ipv4, "stranger": Reach()}

    # Again
    tree, rules, calls = el.tree(), el.rules(), len(el.calls())
    again = succeeded(el.download("install", DO_KEY=el.lab.token))
    assert not re.search(": (created|fixed|installed)", again.stdout)
    assert "3 peers in droplan-peers, unchanged" in again.stdout
    assert changed(tree, el.tree()) == []
    assert el.rules() == rules
    assert {call.split()[0] for call in el.calls()[calls:]} <= {"is-enabled", "is-active"}

    # The next boot: iptables.service loads what was saved, before any refresh
    el.lab.do.set_droplets([])
    el.reboot()
    assert in_force(el.rules()) == in_force(rules)
    assert probe(el.lab.stranger, el.droplet).nothing


def test_a_loader_that_its_owner_masked_is_unmasked_and_masked_again(make: Make) -> None:
    """Guides for firewalld have people mask iptables.service."""
    el = make("almalinux-8")
    el.add("iptables-services")
    el.systemctl("mask", "iptables", "ip6tables")

    el.install()
    assert el.units("iptables", "ip6tables") == dict.fromkeys(("iptables", "ip6tables"), "enabled inactive")

    succeeded(el.run("uninstall"))
    assert el.units("iptables", "ip6tables") == dict.fromkeys(("iptables", "ip6tables"), "masked inactive")


def test_services_that_were_disabled_or_stopped_since_are_put_back(make: Make) -> None:
    """By the very next install, which finds all else in place, and which status names as sudo finds it here."""
    el = make("almalinux-9")
    el.install()
    el.systemctl("disable", "iptables", "ip6tables")
    el.systemctl("disable", "--now", "crond")
    told = " ".join(el.run("status").stdout.split())
    assert "`/usr/local/sbin/droplan install`" in told
    assert "`droplan" not in told

    el.install()

    assert el.units("iptables", "crond") == {"iptables": "enabled inactive", "crond": "enabled active"}


def test_without_systemd_the_daemon_of_cron_is_started_by_itself(make: Make) -> None:
    """As in a container."""
    el = make("almalinux-9", systemd=False)

    el.install()

    assert "crond" in el.droplet.run(["sh", "-c", "cat /proc/[0-9]*/comm"]).stdout.splitlines()
    assert tuple(el.chain("INPUT")[:3]) == PROTECTED_INPUT
    assert not el.exists("/run/systemctl.log")


def test_selinux_labels_of_all_that_was_written_are_restored(make: Make) -> None:
    """What is moved into place keeps the label of its directory; /etc/sysconfig/iptables has one of its own."""
    el = make("almalinux-9")
    el.selinux("/etc/cron.d/droplan", "/opt/droplan", "/etc/sysconfig/iptables")

    done = el.install()

    assert "SELinux labels: fixed (was wrong)" in done.stdout
    assert el.read("/etc/wrong-labels") == ""
    again = el.install()
    assert "SELinux labels: unchanged" in again.stdout


def test_a_dry_run_says_the_steps_and_changes_nothing(make: Make) -> None:
    """On a Droplet where firewalld would have to give way."""
    el = make("almalinux-9")
    set_up(el, FIREWALLD["active"])
    tree, others = el.tree(), (el.rules(), el.units("crond", "iptables", "firewalld"))

    done = succeeded(el.download("install", "--dry-run", DO_KEY=el.lab.token))

    assert "packages iptables-nft-services, nftables, cronie: would be installed" in done.stdout
    assert changed(tree, el.tree()) == [UNPACKED]
    assert (el.rules(), el.units("crond", "iptables", "firewalld")) == others


def test_a_killed_firewalld_step_is_finished_by_the_next_install(make: Make) -> None:
    """Killed after firewalld was masked, before it stopped."""
    el = make("almalinux-9")
    set_up(el, FIREWALLD["active"])
    el.write("/var/lib/droplan/firewalld", "enabled active\n", 0o600)
    el.systemctl("mask", "firewalld")

    el.install()

    assert el.units("firewalld", "iptables") == {"firewalld": "masked inactive", "iptables": "enabled active"}
    assert STOCK_END["iptables"] in el.chain("INPUT")
    assert not el.exists(UNFINISHED)
