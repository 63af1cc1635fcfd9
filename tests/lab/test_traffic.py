"""Who reaches the Droplet, before and after droplan, and while it refreshes; with both variants of iptables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tests.bed import PUBLISHED_PORT, Connection, Flows, Host, Lab, Reach, connects, fleet, probe, probe_all
from tests.bed.account import ListedDroplet
from tests.bed.program import PROTECTED_INPUT, SAVED, Program, scattered
from tests.bed.reach import ECHO_PORT

IPV4 = Reach(tcp=True, udp=True, icmp=True)
"""All of IPv4 and nothing of IPv6, which nobody needs in a VPC."""

OTHER_VPC = "11111111-dc84-11e8-981e-3cfdfeaae000"


def closed(source: Host, target: Host, *, link: str = "eth1") -> bool:
    return probe(source, target, link=link, patience=0.7).nothing


@pytest.fixture(scope="module", params=["nft", "legacy"])
def installed(request: pytest.FixtureRequest) -> Iterator[Program]:
    with Lab(request.param) as lab:
        lab.publish_port()
        program = Program(lab)
        program.install_for_many()
        yield program


@pytest.fixture
def lab(program: Program) -> Lab:
    return program.lab


class TestInstall:
    """Two live peers, one that is off, and a stranger."""

    @pytest.fixture(params=["nft", "legacy"])
    def fresh(self, request: pytest.FixtureRequest) -> Iterator[Lab]:
        with Lab(request.param) as lab:
            lab.publish_port()
            yield lab

    def test_peers_reach_the_droplet_and_the_stranger_no_longer_does(self, fresh: Lab) -> None:
        everybody = [*fresh.peers, fresh.stranger]
        before = probe_all(everybody, fresh.droplet)
        assert all(reach.everything for reach in before.values()), before
        assert all(connects(host, fresh.droplet, PUBLISHED_PORT) for host in everybody)

        Program(fresh).install()

        assert probe_all(everybody, fresh.droplet) == {"peer-1": IPV4, "peer-2": IPV4, "stranger": Reach()}
        published = {host.name: connects(host, fresh.droplet, PUBLISHED_PORT) for host in everybody}
        assert published == {"peer-1": True, "peer-2": True, "stranger": False}

    def test_the_droplet_still_reaches_everybody(self, lab: Lab) -> None:
        for other in (*lab.peers, lab.stranger):
            assert probe(lab.droplet, other).everything, other.name

    def test_the_public_interface_stays_open(self, lab: Lab) -> None:
        assert probe(lab.stranger, lab.droplet, link="eth0").everything

    def test_the_rules_survive_a_reboot(self, fresh: Lab) -> None:
        lab, program = fresh, Program(fresh)
        program.install()
        before = program.filters()
        lab.droplet.reboot()
        assert not any("droplan" in rule for rule in program.filters())
        # What netfilter-persistent.service runs before the network is up, and so without DigitalOcean.
        lab.droplet.run(["/usr/sbin/netfilter-persistent", "start"])
        assert program.filters() == before
        assert closed(lab.stranger, lab.droplet)
        assert probe(lab.peers[0], lab.droplet) == IPV4


class TestPeersComeAndGo:
    def test_a_removed_peer_loses_its_live_connections_at_the_next_refresh(self, program: Program, lab: Lab) -> None:
        leaving, staying = lab.peers
        with (
            Connection(leaving, lab.droplet) as lost,
            Connection(leaving, lab.droplet, port=PUBLISHED_PORT) as lost_container,
            Connection(staying, lab.droplet) as kept,
            Connection(staying, lab.droplet, port=PUBLISHED_PORT) as kept_container,
        ):
            connections = (lost, lost_container, kept, kept_container)
            assert all(connection.echoes() for connection in connections)
            lab.do.remove(lab.peer_droplets[0])
            program.refresh()
            assert [connection.echoes(patience=0.7) for connection in connections] == [False, False, True, True]
        assert closed(leaving, lab.droplet)

    def test_what_the_droplet_itself_opened_goes_on(self, program: Program, lab: Lab) -> None:
        with Connection(lab.droplet, lab.peers[0]) as own, Connection(lab.droplet, lab.stranger) as to_stranger:
            lab.do.remove(lab.peer_droplets[0])
            program.refresh()
            assert own.echoes()
            assert to_stranger.echoes()

    def test_a_new_peer_gets_in_at_the_next_refresh(self, program: Program, lab: Lab) -> None:
        assert closed(lab.stranger, lab.droplet)
        lab.do.add(ListedDroplet(77, "new", lab.stranger.address))
        done = program.refresh()
        assert "Added 1 peer to droplan-peers: " in done.stdout
        assert probe(lab.stranger, lab.droplet) == IPV4
        assert connects(lab.stranger, lab.droplet, PUBLISHED_PORT)

    def test_a_peer_keeps_its_place_when_it_is_among_thousands(self, program: Program, lab: Lab) -> None:
        program.list_droplets(*fleet(1000), *lab.peer_droplets)
        program.refresh()
        assert probe(lab.peers[0], lab.droplet) == IPV4
        assert connects(lab.peers[0], lab.droplet, PUBLISHED_PORT)
        assert closed(lab.stranger, lab.droplet)
        assert not connects(lab.stranger, lab.droplet, PUBLISHED_PORT, patience=0.7)
        assert probe(lab.droplet, lab.stranger).everything


class TestWhileItRefreshes:
    """1,000 peers, continuous refreshes that all write rules, and packets of which every one is a new flow."""

    # Few Droplets come and go (single rules change), then a third of them (the chains are written anew).
    CHURN = (10, 20, 30, 330, 40, 660, 50, 0)

    def test_no_packet_of_a_peer_is_lost_and_none_of_the_strangers_passes(self, program: Program, lab: Lab) -> None:
        others = scattered(1000)
        program.list_droplets(*others, *lab.peer_droplets)
        program.refresh()
        changed = []
        with Flows(lab.peers[0], lab.droplet) as peer, Flows(lab.stranger, lab.droplet) as stranger:
            for gone in self.CHURN:
                program.list_droplets(*others[gone:], *lab.peer_droplets)
                program.refresh()
                changed.append(program.report()["changed"])
        assert changed == [True] * len(self.CHURN)
        assert peer.sent > 100
        assert peer.lost == 0
        assert stranger.sent > 100
        assert stranger.received == 0


class TestSettings:
    def test_public_closes_the_public_interface_too(self, program: Program, lab: Lab) -> None:
        done = program.refresh(PUBLIC="true")
        assert "to droplan-peers-public: " in done.stdout
        assert probe(lab.peers[0], lab.droplet, link="eth0").everything
        assert closed(lab.stranger, lab.droplet, link="eth0")
        assert probe(lab.droplet, lab.stranger, link="eth0").everything
        assert not connects(lab.stranger, lab.droplet, PUBLISHED_PORT, patience=0.7)
        program.refresh(PUBLIC="true")  # the API and the metadata service are still within reach
        program.refresh()
        assert probe(lab.stranger, lab.droplet, link="eth0").everything
        assert program.chain("INPUT") == list(PROTECTED_INPUT)

    @pytest.mark.parametrize(
        ("allow", "reach", "published"),
        [
            pytest.param("{stranger}/32", IPV4, True, id="an address"),
            pytest.param("10.99.0.0/16 10.132.0.4/31", IPV4, True, id="a network, by space"),
            pytest.param("fe80::/10", Reach(tcp6=True, udp6=True, icmp6=True), False, id="an IPv6 network"),
            pytest.param("tcp/{echo}@{stranger}/32", Reach(tcp=True), False, id="a port for an address"),
            pytest.param("tcp/{echo}@10.99.0.0/16", Reach(), False, id="a port for somebody else"),
            pytest.param("udp/{echo}", Reach(udp=True, udp6=True), False, id="a port for everybody"),
            pytest.param("tcp/{echo},udp/{echo}", Reach(tcp=True, udp=True, tcp6=True, udp6=True), False, id="two"),
            pytest.param("tcp/{published}", Reach(), True, id="a published port"),
            pytest.param("tcp/{published}@{stranger}/32", Reach(), True, id="a published port for an address"),
            pytest.param("tcp/80", Reach(), False, id="the container's own port is not the published one"),
        ],
    )
    def test_allow_lets_in_what_it_names_and_no_more(
        self, program: Program, lab: Lab, allow: str, reach: Reach, published: bool
    ) -> None:
        values = {"stranger": lab.stranger.address, "echo": ECHO_PORT, "published": PUBLISHED_PORT}
        program.refresh(DROPLAN_ALLOW=allow.format(**values))
        assert probe(lab.stranger, lab.droplet) == reach
        assert connects(lab.stranger, lab.droplet, PUBLISHED_PORT) == published
        assert probe(lab.peers[0], lab.droplet).tcp

    def test_only_droplets_with_the_tag_are_peers(self, program: Program, lab: Lab) -> None:
        tagged, other = (dataclasses.replace(each, tags=(tag,)) for each, tag in zip(lab.peer_droplets, "ab"))
        lab.do.set_droplets([dataclasses.replace(lab.own_droplet, tags=()), tagged, other])
        program.refresh(DO_TAG="a")
        assert probe(lab.peers[0], lab.droplet) == IPV4
        assert closed(lab.peers[1], lab.droplet)

    @pytest.mark.parametrize(
        ("scope", "status", "inside"),
        [
            pytest.param("region", "ACTIVE", ["peer-1", "peer-2"], id="region: whichever VPC they are in"),
            pytest.param("vpc", "ACTIVE", ["peer-1", "stranger"], id="vpc: our own and the peered one, any region"),
            pytest.param("vpc", "PROVISIONING", ["peer-1"], id="vpc: a peering counts once it is active"),
            pytest.param("account", "ACTIVE", ["peer-1", "peer-2", "stranger"], id="account: all of them"),
        ],
    )
    def test_the_scope_says_whose_droplets_are_peers(
        self, program: Program, lab: Lab, scope: str, status: str, inside: list[str]
    ) -> None:
        near, apart, _ = lab.peer_droplets
        lab.do.set_droplets(
            [
                lab.own_droplet,
                near,
                dataclasses.replace(apart, vpc="22222222-dc84-11e8-981e-3cfdfeaae000"),
                ListedDroplet(78, "far", lab.stranger.address, region="sfo3", vpc=OTHER_VPC),
            ]
        )
        peering = {"id": "p", "name": "p", "vpc_ids": [lab.own_droplet.vpc, OTHER_VPC], "status": status}
        lab.do.set_peerings([peering])
        program.refresh(DROPLAN_SCOPE=scope)
        hosts = (*lab.peers, lab.stranger)
        assert [host.name for host in hosts if probe(host, lab.droplet).tcp] == inside


def test_what_is_saved_is_our_part_of_what_is_in_force(program: Program) -> None:
    saved = [line for path in SAVED.values() for line in program.read(path).splitlines() if line.startswith("-A ")]
    ours = [line for line in program.rules().splitlines() if "eth1" in line or line.startswith("-A droplan-")]
    assert sorted(saved) == sorted(line for line in ours if line.startswith("-A ")), "tables are saved in any order"
