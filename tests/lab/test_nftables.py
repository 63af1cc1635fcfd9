"""The nftables backend in a real kernel: who gets through, what is written, what is left alone."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from droplan_boot.access.allow import Allow
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.access.services import Service
from droplan_boot.errors import CommandError
from droplan_boot.firewall.backend import drift
from droplan_boot.firewall.nftables import Nftables
from droplan_boot.host.command import Completed
from tests.bed import PUBLISHED_PORT, Connection, Flows, Host, Lab, connects, probe
from tests.bed.reach import ECHO_PORT
from tests.bed.world import METADATA_ADDRESS

PATIENCE = 2.0
METADATA = [
    "curl",
    "--silent",
    "--max-time",
    "3",
    "--output",
    "/dev/null",
    f"http://{METADATA_ADDRESS}/metadata/v1.json",
]


class OnDroplet:
    """Runs the backend's commands on the lab's Droplet, and keeps what was written."""

    def __init__(self, droplet: Host) -> None:
        self._droplet = droplet
        self.scripts: list[str] = []

    def which(self, name: str) -> Path | None:
        return Path("/usr/sbin") / name

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        timeout: float = 60,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Completed:
        done = self._droplet.run(argv, input=stdin, check=False, timeout=timeout)
        completed = Completed(tuple(argv), done.returncode, done.stdout, done.stderr)
        if stdin:
            self.scripts.append(stdin)
        if check and done.returncode:
            raise CommandError(completed.complaint())
        return completed


class Firewall:
    """The Droplet's rules: the backend under test, and nft to look behind it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.runner = OnDroplet(lab.droplet)
        self.backend = Nftables(self.runner)

    def admit(self, *peers: Host | str, allow: Sequence[Allow] = (), metadata: str = "") -> bool:
        addresses = sorted(ipaddress.ip_address(peer if isinstance(peer, str) else peer.address) for peer in peers)
        return self.backend.apply(Policy((Segment(False, ("eth1",), tuple(addresses), tuple(allow)),), metadata))

    def listed(self) -> str:
        """Everything, with handles: what is written again gets a new one."""
        return self.lab.droplet.run(["nft", "-a", "list", "ruleset"]).stdout


@pytest.fixture
def firewall(nft_lab: Lab) -> Firewall:
    return Firewall(nft_lab)


class TestWhoGetsThrough:
    def test_peers_do_and_the_stranger_does_not(self, firewall: Firewall) -> None:
        lab = firewall.lab
        assert firewall.admit(*lab.peers)
        for peer in lab.peers:
            found = probe(peer, lab.droplet, patience=PATIENCE)
            assert (found.tcp, found.udp, found.icmp) == (True, True, True)
        assert probe(lab.stranger, lab.droplet, patience=PATIENCE).nothing

    def test_nobody_does_by_ipv6_on_the_private_network(self, firewall: Firewall) -> None:
        lab = firewall.lab
        firewall.admit(*lab.peers)
        found = probe(lab.peers[0], lab.droplet, patience=PATIENCE)
        assert (found.tcp6, found.udp6, found.icmp6) == (False, False, False)

    def test_what_the_droplet_opens_is_answered_by_everybody(self, firewall: Firewall) -> None:
        firewall.admit()
        assert probe(firewall.lab.droplet, firewall.lab.stranger).everything

    def test_the_public_interface_stays_open_unless_it_is_guarded(self, firewall: Firewall) -> None:
        firewall.admit()
        assert probe(firewall.lab.stranger, firewall.lab.droplet, link="eth0").everything

    def test_a_guarded_public_interface_takes_peers_of_both_versions(self, firewall: Firewall) -> None:
        lab = firewall.lab
        ours = [address.split("/")[0] for address in lab.peers[0].public.addresses]
        peers = tuple(ipaddress.ip_address(address) for address in ours)
        firewall.backend.apply(Policy((Segment(True, ("eth0",), peers),)))
        assert probe(lab.peers[0], lab.droplet, link="eth0").everything
        assert probe(lab.stranger, lab.droplet, link="eth0", patience=PATIENCE).nothing

    def test_an_allowed_network_does(self, firewall: Firewall) -> None:
        lab = firewall.lab
        firewall.admit(allow=[Allow(ipaddress.ip_network(f"{lab.stranger.address}/32"))])
        assert connects(lab.stranger, lab.droplet, ECHO_PORT)
        assert not connects(lab.peers[0], lab.droplet, ECHO_PORT, patience=PATIENCE)

    def test_an_allowed_service_does_and_the_rest_of_its_sender_does_not(self, firewall: Firewall) -> None:
        lab = firewall.lab
        firewall.admit(allow=[Allow(ipaddress.ip_network("0.0.0.0/0"), Service("tcp", ECHO_PORT, ECHO_PORT))])
        found = probe(lab.stranger, lab.droplet, patience=PATIENCE)
        assert (found.tcp, found.udp, found.icmp, found.tcp6) == (True, False, False, False)

    def test_a_removed_peers_live_connection_ends(self, firewall: Firewall) -> None:
        staying, leaving = firewall.lab.peers
        firewall.admit(staying, leaving)
        with Connection(staying, firewall.lab.droplet) as kept, Connection(leaving, firewall.lab.droplet) as cut:
            assert kept.echoes()
            assert cut.echoes()
            firewall.admit(staying)
            assert kept.echoes()
            assert not cut.echoes(patience=PATIENCE)


class TestContainers:
    def test_a_published_port_is_open_to_peers_only(self, firewall: Firewall) -> None:
        lab = firewall.lab
        lab.publish_port()
        assert connects(lab.stranger, lab.droplet, PUBLISHED_PORT)
        firewall.admit(lab.peers[0])
        assert connects(lab.peers[0], lab.droplet, PUBLISHED_PORT)
        assert not connects(lab.stranger, lab.droplet, PUBLISHED_PORT, patience=PATIENCE)

    def test_a_published_port_is_allowed_by_the_port_that_the_sender_asks_for(self, firewall: Firewall) -> None:
        lab = firewall.lab
        lab.publish_port()
        firewall.admit(allow=[Allow(None, Service("tcp", PUBLISHED_PORT, PUBLISHED_PORT))])
        assert connects(lab.stranger, lab.droplet, PUBLISHED_PORT)

    def test_a_peer_still_has_to_pass_the_rules_of_others(self, firewall: Firewall) -> None:
        lab = firewall.lab
        lab.publish_port()
        lab.droplet.run(["iptables", "-A", "FORWARD", "-i", "eth1", "-p", "tcp", "-j", "DROP"])
        firewall.admit(lab.peers[0])
        assert not connects(lab.peers[0], lab.droplet, PUBLISHED_PORT, patience=PATIENCE)


class TestMetadataService:
    def test_only_root_reaches_it(self, firewall: Firewall) -> None:
        droplet = firewall.lab.droplet
        somebody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *METADATA]
        assert droplet.run(somebody, check=False).returncode == 0
        firewall.admit(metadata=METADATA_ADDRESS)
        assert droplet.run(METADATA, check=False).returncode == 0
        assert droplet.run(somebody, check=False).returncode == 7  # refused at once, no time-out

    def test_containers_do_not(self, firewall: Firewall) -> None:
        lab = firewall.lab
        lab.publish_port()
        assert lab.container
        lab.droplet.run(["iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "172.17.0.0/16", "-j", "MASQUERADE"])
        assert lab.container.run(METADATA, check=False).returncode == 0
        firewall.admit(metadata=METADATA_ADDRESS)
        assert lab.container.run(METADATA, check=False).returncode == 7


class TestWriting:
    def test_an_unchanged_policy_writes_nothing(self, firewall: Firewall) -> None:
        firewall.admit(*firewall.lab.peers)
        before = firewall.listed()
        assert firewall.admit(*firewall.lab.peers) is False
        assert firewall.listed() == before
        assert len(firewall.runner.scripts) == 1

    def test_a_peer_more_or_less_touches_no_rule(self, firewall: Firewall) -> None:
        one, other = firewall.lab.peers
        many = [f"10.132.7.{last}" for last in range(1, 250, 2)]
        firewall.admit(one, *many)
        rules = _without_elements(firewall.listed())
        assert firewall.admit(one, other, *many[1:])
        assert _without_elements(firewall.listed()) == rules
        assert connects(other, firewall.lab.droplet, ECHO_PORT)

    def test_it_is_whole_again_after_a_flush(self, firewall: Firewall) -> None:
        firewall.admit(firewall.lab.peers[0])
        firewall.lab.droplet.run(["nft", "flush", "ruleset"])
        assert connects(firewall.lab.stranger, firewall.lab.droplet, ECHO_PORT)
        assert firewall.admit(firewall.lab.peers[0])
        assert not connects(firewall.lab.stranger, firewall.lab.droplet, ECHO_PORT, patience=PATIENCE)

    def test_a_foreign_rule_in_our_table_goes(self, firewall: Firewall) -> None:
        firewall.admit()
        firewall.lab.droplet.run(["nft", "insert", "rule", "inet", "droplan", "droplan-private", "accept"])
        assert connects(firewall.lab.stranger, firewall.lab.droplet, ECHO_PORT)
        assert drift(firewall.backend, Policy((Segment(False, ("eth1",), ()),))) == (
            "chain droplan-private is altered",
        )
        firewall.admit()
        assert not connects(firewall.lab.stranger, firewall.lab.droplet, ECHO_PORT, patience=PATIENCE)

    def test_ten_thousand_peers_are_read_back_exactly(self, firewall: Firewall) -> None:
        peers = [str(ipaddress.ip_address(0x0A000001 + 1543 * number)) for number in range(10_000)]
        assert firewall.admit(*peers)
        assert firewall.admit(*peers) is False

    def test_an_interval_grows_shrinks_and_splits(self, firewall: Firewall) -> None:
        for last in ([2, 3], [2, 3, 4], [2, 4], [2, 3, 4, 5], [3, 4], [4]):
            firewall.admit(*(f"10.132.7.{number}" for number in last))
            wanted = tuple(ipaddress.ip_address(f"10.132.7.{number}") for number in last)
            assert drift(firewall.backend, Policy((Segment(False, ("eth1",), wanted),))) == ()


class TestUnderTraffic:
    def test_thirty_refreshes_with_churn_lose_nothing_and_let_nothing_in(self, firewall: Firewall) -> None:
        lab = firewall.lab
        firewall.admit(*lab.peers)
        with Flows(lab.peers[0], lab.droplet) as peer, Flows(lab.stranger, lab.droplet) as stranger:
            for turn in range(30):
                # The peer's neighbour comes and goes; every third time a hundred others, every fifth time the rules
                # change.
                beside = [str(ipaddress.ip_address(lab.peers[0].address) + 1)] * (turn % 2)
                others = [f"10.132.{100 + turn}.{last}" for last in range(1, 200, 2)] if turn % 3 == 0 else []
                services = [Allow(None, Service("tcp", 22, 22))] if turn % 5 == 0 else []
                firewall.admit(lab.peers[0], *beside, *others, allow=services)
        assert {script.split()[0] for script in firewall.runner.scripts[1:]} >= {"delete", "add"}
        assert any("flush chain" in script for script in firewall.runner.scripts[1:])
        assert not any(script.startswith("add table") for script in firewall.runner.scripts[1:])
        assert min(peer.sent, stranger.sent) > 30
        assert (peer.lost, stranger.received) == (0, 0)


class TestOthers:
    def test_their_rules_and_counters_stay(self, firewall: Firewall) -> None:
        droplet = firewall.lab.droplet
        droplet.run(["iptables", "-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "ACCEPT"])
        droplet.run(["ip6tables", "-A", "FORWARD", "-j", "DROP"])
        droplet.run(
            ["nft", "-f", "-"], input="table inet theirs {\n chain c {\n counter packets 7 bytes 700\n }\n}\n"
        )
        before = firewall.listed()
        firewall.admit(*firewall.lab.peers)
        firewall.admit(firewall.lab.peers[0])
        firewall.backend.remove(None)
        assert firewall.listed() == before

    def test_nothing_is_left_after_removal(self, firewall: Firewall) -> None:
        firewall.admit(*firewall.lab.peers, metadata=METADATA_ADDRESS)
        assert firewall.backend.remove(None) is True
        assert firewall.listed() == ""
        assert firewall.backend.remove(None) is False
        assert probe(firewall.lab.stranger, firewall.lab.droplet).everything


def _without_elements(listed: str) -> list[str]:
    """Drop the lines that only list addresses."""
    inside = False
    kept = []
    for line in listed.splitlines():
        inside = inside or "elements = {" in line
        if not inside:
            kept.append(line)
        inside = inside and "}" not in line
    return kept
