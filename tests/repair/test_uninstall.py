"""Uninstall puts the Droplet back: every file and every rule, whoever else's rules are there."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from tests.bed import Lab
from tests.bed.installed import killed, steps
from tests.bed.picture import Picture, difference, picture
from tests.bed.program import LOG, SAVED, Done, Program, succeeded

# Made by iptables itself, once and for all; and what an uninstall says that it keeps.
LEFT = {"/run/xtables.lock", LOG}

OWN_FOLDER = "/usr/local/share/zsh/site-functions"
"""As zsh-common makes it, empty: droplan puts a file there, and it is not droplan's to remove."""

OWN_RULES = """\
# What the owner saved, with a comment that is to stay
*nat
:PREROUTING ACCEPT [12:3456]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s 172.17.0.0/16 -o eth0 -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [7:420]
:OUTPUT ACCEPT [0:0]
:mine - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -i eth1 -p udp -m udp --dport 5353 -j DROP
-A INPUT -j mine
-A mine -s 192.0.2.1/32 -j DROP
COMMIT
"""
WAYS = {
    "nft": ("nft", {}),
    "legacy": ("legacy", {}),
    "a table of nft": ("nft", {"DROPLAN_BACKEND": "nftables"}),
    "all interfaces and the metadata service": (
        "nft",
        {"PUBLIC": "true", "DROPLAN_ALLOW": "tcp/22", "DROPLAN_LOCK_METADATA": "true"},
    ),
}


class Owned:
    """A Droplet whose owner has rules of their own, in force and saved; droplan's packages are there already."""

    def __init__(self, lab: Lab, settings: dict[str, str]) -> None:
        self.lab = lab
        self.droplet = lab.droplet
        self.program = Program(lab)
        self.settings = settings
        self.droplet.run(["apt-get", "update"])
        self.droplet.run(["apt-get", "install", "-y", "iptables-persistent", "cron"])
        self.droplet.run(["sh", "-c", "rm -f /etc/iptables/rules.v?"])
        self.program.still_cron()
        self.droplet.run(["/usr/sbin/cron"])
        self.droplet.run(["iptables-restore"], input=OWN_RULES)
        saved = self.droplet.path(SAVED[4])
        saved.write_text(OWN_RULES)
        saved.chmod(0o604)
        self.droplet.run(["mkdir", "-p", OWN_FOLDER])
        self.before = self.picture()

    def install(self) -> None:
        self.program.install(**self.settings)

    def uninstall(self) -> Done:
        return succeeded(self.program.download("uninstall"))

    def picture(self) -> Picture:
        return {path: what for path, what in picture(self.lab).items() if path not in LEFT}


@pytest.fixture(scope="module", params=WAYS)
def owned(request: pytest.FixtureRequest) -> Iterator[Owned]:
    variant, settings = WAYS[request.param]
    with Lab(variant) as lab:
        yield Owned(lab, settings)


class TestUninstall:
    def test_every_file_and_every_rule_is_as_it_was(self, owned: Owned) -> None:
        owned.install()
        assert len(difference(owned.before, owned.picture())) > 100
        assert f"Kept {LOG}: remove it when you no longer need it" in owned.uninstall().stdout
        assert difference(owned.before, owned.picture()) == {}

    def test_once_more_it_finds_nothing_to_do(self, owned: Owned) -> None:
        done = succeeded(owned.program.download("uninstall"))
        assert "rules" not in done.stdout
        assert difference(owned.before, owned.picture()) == {}

    def test_after_refreshes_too_and_by_the_installed_program(self, owned: Owned) -> None:
        owned.install()
        owned.program.list_droplets(*owned.lab.peer_droplets[:1])
        owned.program.refresh()
        owned.program.list_droplets(*owned.lab.peer_droplets)
        owned.droplet.run(["/opt/droplan/refresh.sh"])
        succeeded(owned.program.run("uninstall"))
        assert difference(owned.before, owned.picture()) == {}

    def test_counters_of_others_go_on(self, owned: Owned) -> None:
        """Nobody else's rule was written anew: the kernel would have begun to count from 0."""

        def counted() -> int:
            saved = owned.droplet.run(["iptables-save", "-c"]).stdout
            return int(re.findall(r"^\[(\d+):\d+\] -A INPUT -i lo -j ACCEPT$", saved, re.MULTILINE)[0])

        with owned.droplet.inside(lambda: socket.socket(type=socket.SOCK_DGRAM)) as sender:
            sender.sendto(b"x", ("127.0.0.1", 7))
        before = counted()
        assert before > 0
        owned.install()
        owned.uninstall()
        assert counted() >= before


class TestKilled:
    @pytest.mark.parametrize("owned", ["nft"], indirect=True)
    def test_at_any_step_the_next_one_leaves_nothing(self, owned: Owned, stride: int) -> None:
        owned.install()
        # What a process that it started changed is there when it is killed at the next step of its own. It ends by
        # removing what it runs from, file by file: those are alike.
        own = [step for step in steps(owned.program, "uninstall") if step[0] != "vfork"]
        assert len(own) > 8
        every = [*own[::stride], ("unlinkat", 1), ("unlinkat", 100)]
        bad = {}
        for step in every:
            owned.install()
            killed(owned.program, step, "uninstall")
            owned.uninstall()
            if difference(owned.before, owned.picture()):
                bad[step] = difference(owned.before, owned.picture())
        assert bad == {}


class TestSavedRules:
    @pytest.mark.parametrize("owned", ["nft"], indirect=True)
    def test_rules_that_were_never_saved_stay_in_force_and_out_of_the_file(self, owned: Owned) -> None:
        """What is saved is never a dump of what was in force."""
        owned.droplet.run(["iptables", "-A", "mine", "-s", "192.0.2.2/32", "-j", "DROP"])
        before = owned.picture()
        owned.install()
        assert "192.0.2.2" not in owned.program.read(SAVED[4])
        assert f"Put {SAVED[4]} back as it was" in owned.uninstall().stdout
        assert difference(before, owned.picture()) == {}
        owned.droplet.run(["iptables", "-D", "mine", "-s", "192.0.2.2/32", "-j", "DROP"])

    @pytest.mark.parametrize("owned", ["nft"], indirect=True)
    def test_of_rules_that_were_saved_meanwhile_both_are_kept(self, owned: Owned) -> None:
        """What is saved now is not what was saved before: after droplan, nobody can tell which of them is wanted."""
        owned.install()
        owned.droplet.run(["iptables", "-A", "mine", "-s", "192.0.2.2/32", "-j", "DROP"])
        owned.droplet.run(["sh", "-c", f"iptables-save > {SAVED[4]}"])  # what netfilter-persistent does
        said = owned.uninstall().stdout
        kept = f"{SAVED[4]}.before-droplan"
        assert f"({kept} is how it was before droplan)" in said
        assert "-A mine -s 192.0.2.2/32 -j DROP\n" in owned.program.read(SAVED[4])
        assert "droplan-" not in owned.program.read(SAVED[4])
        assert owned.program.read(kept) == OWN_RULES
