"""Uninstall puts Enterprise Linux back: files, rules, services. Packages stay."""

from __future__ import annotations

import pytest

from tests.bed.el.droplet import ElDroplet, changed, in_force
from tests.bed.program import LOG, succeeded
from tests.el.conftest import Make
from tests.el.test_install import FIREWALLD, SAVED, each_state_once, set_up

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


@each_state_once(("centos-7", "almalinux-8", "almalinux-9"), all_of="almalinux-9", at_night="almalinux-8")
def test_uninstall_leaves_files_rules_and_services_as_install_found_them(
    make: Make, release: str, before: str
) -> None:
    """The packages were there already, so that the whole of the file system must be the same."""
    el = make(release)
    el.add(el.release.loader, "cronie")
    el.systemctl("start", "crond")
    set_up(el, FIREWALLD[before])
    tree, rules, units, tables = el.tree(), el.rules(), el.units(*UNITS), tables_of(el)
    el.install()
    assert changed(tree, el.tree())

    succeeded(el.run("uninstall"))

    if FIREWALLD[before].stock:
        assert el.firewalld() == "running"
    assert changed(tree, el.tree()) == [LOG]
    assert f"Kept {LOG}" in el.read(LOG)
    assert in_force(el.rules()) == in_force(rules)
    assert el.units(*UNITS) == units
    assert tables_of(el) == tables


def tables_of(el: ElDroplet) -> set[str]:
    """List nft's tables, without those that iptables-nft makes by being asked and leaves behind empty."""
    listed = el.droplet.run(["nft", "list", "tables"]).stdout.splitlines()
    return set(listed) - {"table ip filter", "table ip6 filter"}


@pytest.mark.parametrize("release", [pytest.param("centos-7", marks=pytest.mark.nightly), "almalinux-9"])
def test_uninstall_leaves_the_packages_that_install_brought_and_nothing_else(make: Make, release: str) -> None:
    """Their services are off, so that their stock rules do not close the Droplet at the next boot."""
    el = make(release)
    before = el.tree()
    el.install()

    succeeded(el.run("uninstall"))

    after = el.tree()
    names = el.droplet.run(["rpm", "-ql", el.release.loader, "cronie"]).stdout.splitlines()
    brought = {
        path for name in names for path in (name, *(name.rsplit("/", n)[0] for n in range(1, name.count("/"))))
    }
    assert set(changed(before, after)) <= {*brought, LOG}
    assert el.units("iptables", "ip6tables") == dict.fromkeys(("iptables", "ip6tables"), "disabled inactive")
    el.droplet.run(["rpm", "--verify", "--nomtime", el.release.loader, "cronie"])
    el.reboot()
    assert in_force(el.rules()) == []


@pytest.mark.parametrize("release", [pytest.param("centos-7", marks=pytest.mark.nightly), "almalinux-9"])
def test_an_owner_who_uses_iptables_services_gets_their_own_file_back(make: Make, release: str) -> None:
    """Byte for byte, comments and all; and the rules stay in force all the while."""
    el = make(release)
    el.add(el.release.loader)
    el.write(SAVED[0], OWN_RULES, 0o600)
    el.systemctl("enable", "--now", "iptables")
    rules = el.rules()
    el.install()
    assert "--dport 443 -j ACCEPT" in el.read(SAVED[0])
    assert el.read(f"{SAVED[0]}.before-droplan") == OWN_RULES

    succeeded(el.run("uninstall"))

    assert el.read(SAVED[0]) == OWN_RULES
    assert not el.exists(f"{SAVED[0]}.before-droplan")
    assert el.units("iptables", "ip6tables") == {"iptables": "enabled active", "ip6tables": "disabled inactive"}
    assert in_force(el.rules()) == in_force(rules)


def test_rules_that_were_added_since_stay_in_the_file_of_an_owner_who_uses_it(make: Make) -> None:
    """Those that the owner saved, that is: what they only tried out, droplan saves for nobody."""
    el = make("almalinux-9")
    el.add(el.release.loader)
    el.write(SAVED[0], OWN_RULES, 0o600)
    el.systemctl("enable", "--now", "iptables")
    el.install()
    el.edit("-A INPUT -p tcp -m tcp --dport 8443 -j ACCEPT")
    el.droplet.run(["sh", "-c", f"iptables-save >{SAVED[0]}"])
    el.edit("-A INPUT -p tcp -m tcp --dport 9443 -j ACCEPT")
    el.refresh()

    succeeded(el.run("uninstall"))

    assert "--dport 8443" in el.read(SAVED[0])
    assert "--dport 9443" not in el.read(SAVED[0])
    assert "droplan" not in el.read(SAVED[0])
    el.droplet.run(["iptables-restore", "--test", SAVED[0]])
