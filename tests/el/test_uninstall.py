"""Uninstall puts Enterprise Linux back: files, rules, services. Packages stay."""

from __future__ import annotations

import pytest

from tests.bed.el.droplet import Machine, changed, in_force
from tests.bed.program import succeeded
from tests.el.conftest import Make
from tests.el.test_install import FIREWALLD, SAVED, set_up

UNITS = ("crond", "iptables", "ip6tables", "firewalld")

OWN_RULES = """\
# What the owner wrote by hand, web server and all
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT
COMMIT
"""


@pytest.mark.parametrize("before", FIREWALLD)
@pytest.mark.parametrize("release", ["centos-7", "almalinux-8", "almalinux-9"])
def test_uninstall_leaves_files_rules_and_services_as_install_found_them(
    make: Make, release: str, before: str
) -> None:
    """The packages were there already, so that the whole of the file system must be the same."""
    machine = make(release)
    machine.add(machine.release.loader, "cronie")
    machine.systemctl("start", "crond")
    set_up(machine, FIREWALLD[before])
    tree, rules, units, tables = machine.tree(), machine.rules(), machine.units(*UNITS), tables_of(machine)
    machine.install()
    assert changed(tree, machine.tree())

    succeeded(machine.run("uninstall"))

    assert changed(tree, machine.tree()) == []
    assert in_force(machine.rules()) == in_force(rules)
    assert machine.units(*UNITS) == units
    assert tables_of(machine) == tables


def tables_of(machine: Machine) -> set[str]:
    """List nft's tables, without those that iptables-nft makes by being asked and leaves behind empty."""
    listed = machine.droplet.run(["nft", "list", "tables"]).stdout.splitlines()
    return set(listed) - {"table ip filter", "table ip6 filter"}


@pytest.mark.parametrize("release", ["centos-7", "almalinux-9"])
def test_uninstall_leaves_the_packages_that_install_brought_and_nothing_else(make: Make, release: str) -> None:
    """Their services are off, so that their stock rules do not close the machine at the next boot."""
    machine = make(release)
    before = machine.tree()
    machine.install()

    succeeded(machine.run("uninstall"))

    after = machine.tree()
    names = machine.droplet.run(["rpm", "-ql", machine.release.loader, "cronie"]).stdout.splitlines()
    brought = {
        path for name in names for path in (name, *(name.rsplit("/", n)[0] for n in range(1, name.count("/"))))
    }
    assert set(changed(before, after)) <= brought
    assert machine.units("iptables", "ip6tables") == dict.fromkeys(("iptables", "ip6tables"), "disabled inactive")
    machine.droplet.run(["rpm", "--verify", "--nomtime", machine.release.loader, "cronie"])
    machine.reboot()
    assert in_force(machine.rules()) == []


@pytest.mark.parametrize("release", ["centos-7", "almalinux-9"])
def test_an_owner_who_uses_iptables_services_gets_their_own_file_back(make: Make, release: str) -> None:
    """Byte for byte, comments and all; and the rules stay in force all the while."""
    machine = make(release)
    machine.add(machine.release.loader)
    machine.write(SAVED[0], OWN_RULES, 0o600)
    machine.systemctl("enable", "--now", "iptables")
    rules = machine.rules()
    machine.install()
    assert "--dport 443 -j ACCEPT" in machine.read(SAVED[0])
    assert machine.read(f"{SAVED[0]}.before-droplan") == OWN_RULES

    succeeded(machine.run("uninstall"))

    assert machine.read(SAVED[0]) == OWN_RULES
    assert not machine.exists(f"{SAVED[0]}.before-droplan")
    assert machine.units("iptables", "ip6tables") == {"iptables": "enabled active", "ip6tables": "disabled inactive"}
    assert in_force(machine.rules()) == in_force(rules)


def test_rules_that_were_added_since_stay_in_the_file_of_an_owner_who_uses_it(make: Make) -> None:
    """They were saved together with ours, and the owner may rely on that by now."""
    machine = make("almalinux-9")
    machine.add(machine.release.loader)
    machine.write(SAVED[0], OWN_RULES, 0o600)
    machine.systemctl("enable", "--now", "iptables")
    machine.install()
    machine.edit("-A INPUT -p tcp -m tcp --dport 8443 -j ACCEPT")
    machine.refresh()

    succeeded(machine.run("uninstall"))

    assert "--dport 8443" in machine.read(SAVED[0])
    assert "droplan" not in machine.read(SAVED[0])
    machine.droplet.run(["iptables-restore", "--test", SAVED[0]])
