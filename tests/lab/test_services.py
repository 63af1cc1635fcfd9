"""Who reaches which port, shown with packets: by tag, by range, by protocol, in every way to enforce it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from droplan_boot import settings
from droplan_boot.access.allow import Name
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.firewall.enforcement import Enforcement
from droplan_boot.firewall.iptables import Iptables
from droplan_boot.firewall.iptables_restore import RestoreWriter
from droplan_boot.firewall.nftables import Nftables
from droplan_boot.networks import Address
from tests.bed import Lab, connects, probe
from tests.bed.reach import ECHO_PORT
from tests.lab.test_nftables import PATIENCE, OnDroplet


def _iptables(runner: OnDroplet, variant: str, *, alone: bool) -> Iptables:
    tools = {version: f"{'iptables' if version == 4 else 'ip6tables'}-{variant}" for version in (4, 6)}
    save = {version: f"{tool}-save" for version, tool in tools.items()}
    restore = {version: f"{tool}-restore" for version, tool in tools.items()}
    return Iptables(f"iptables-{variant}", runner, save, RestoreWriter(runner, restore, waits=True), alone=alone)


WAYS: dict[str, Callable[[OnDroplet], Enforcement]] = {
    "nftables": lambda runner: Enforcement(Nftables(runner), None),
    "nftables and iptables-nft": lambda runner: Enforcement(Nftables(runner), _iptables(runner, "nft", alone=False)),
    "mangle of iptables-nft": lambda runner: Enforcement(None, _iptables(runner, "nft", alone=True)),
    "mangle of iptables-legacy": lambda runner: Enforcement(None, _iptables(runner, "legacy", alone=True)),
}
NO_RULES = """
nft flush ruleset
for tool in iptables ip6tables; do for table in filter mangle; do
    $tool-legacy -t $table -F; $tool-legacy -t $table -X
done; done
"""
OTHERS = tuple(ipaddress.IPv4Address(0x0A840010 + 7 * one) for one in range(200))


@pytest.fixture(scope="module")
def made() -> Iterator[Lab]:
    with Lab("nft") as lab:
        yield lab


@pytest.fixture
def nft_lab(made: Lab) -> Lab:
    """One lab for all, without any rule."""
    made.droplet.run(["sh", "-ec", NO_RULES])
    return made


@pytest.fixture(params=WAYS)
def enforcement(request: pytest.FixtureRequest, nft_lab: Lab) -> Enforcement:
    return WAYS[request.param](OnDroplet(nft_lab.droplet))


def policy(allow: str, ports: str = "none", peers: tuple[Address, ...] = (), **tags: tuple[Address, ...]) -> Policy:
    wanted = settings.parse({"DROPLAN_ALLOW": allow, "DROPLAN_PEER_PORTS": ports})
    known = tuple((Name("tag", tag), held) for tag, held in tags.items())
    return Policy((Segment(False, ("eth1",), peers, wanted.allow, ports=wanted.peer_ports, known=known),))


def of(*hosts: object) -> tuple[Address, ...]:
    return tuple(ipaddress.ip_address(host.address) for host in hosts)  # type: ignore[attr-defined]


@pytest.mark.parametrize("others", [(), OTHERS], ids=["alone", "among 200"])
def test_a_tag_opens_one_port_and_the_peer_beside_it_gets_nothing(
    enforcement: Enforcement, nft_lab: Lab, others: tuple[Address, ...]
) -> None:
    web, peer = nft_lab.peers
    enforcement.apply(policy(f"tcp/{ECHO_PORT}@tag:web", peers=of(web, peer), web=(*of(web), *others)))
    found = probe(web, nft_lab.droplet, patience=PATIENCE)
    assert (found.tcp, found.udp, found.icmp) == (True, False, False)
    assert probe(peer, nft_lab.droplet, patience=PATIENCE).nothing
    assert probe(nft_lab.stranger, nft_lab.droplet, patience=PATIENCE).nothing


def test_peers_reach_what_they_may_and_replies_pass(enforcement: Enforcement, nft_lab: Lab) -> None:
    peer = nft_lab.peers[0]
    enforcement.apply(policy("", f"udp/{ECHO_PORT},icmp", peers=(*of(peer), *OTHERS)))
    found = probe(peer, nft_lab.droplet, patience=PATIENCE)
    assert (found.tcp, found.udp, found.icmp) == (False, True, True)
    assert connects(nft_lab.droplet, peer, ECHO_PORT)
    assert probe(nft_lab.stranger, nft_lab.droplet, patience=PATIENCE).nothing


def test_a_range_holds_its_ports_and_no_others(enforcement: Enforcement, nft_lab: Lab) -> None:
    peer, other = nft_lab.peers
    allow = f"tcp/1-{ECHO_PORT}@{peer.address},tcp/{ECHO_PORT + 1}-65535@{other.address}"
    enforcement.apply(policy(allow))
    assert connects(peer, nft_lab.droplet, ECHO_PORT)
    assert not connects(other, nft_lab.droplet, ECHO_PORT, patience=PATIENCE)


@pytest.mark.parametrize("lists", [1, 2, 20], ids=["of one list", "of two lists", "of a list each"])
@pytest.mark.parametrize("others", [(), OTHERS], ids=["few", "many"])
def test_each_of_many_services_is_open_to_its_own(
    enforcement: Enforcement, nft_lab: Lab, lists: int, others: tuple[Address, ...]
) -> None:
    one, other = nft_lab.peers
    ports = [ECHO_PORT + 2 * n for n in range(20)]
    entries = [f"tcp/{port}@tag:t{n % lists}" for n, port in enumerate(ports)]
    known = {f"t{n}": (*of(other if n else one), *others[n:]) for n in range(lists)}
    asked = policy(",".join(entries), "none", (), **known)
    enforcement.apply(asked)
    assert enforcement.plan(asked) == ()
    assert connects(one, nft_lab.droplet, ECHO_PORT)
    assert not connects(other, nft_lab.droplet, ECHO_PORT, patience=PATIENCE)
    assert probe(nft_lab.stranger, nft_lab.droplet, patience=PATIENCE).nothing


def test_a_tag_that_moves_to_another_droplet_moves_the_port(enforcement: Enforcement, nft_lab: Lab) -> None:
    one, other = nft_lab.peers
    enforcement.apply(policy(f"tcp/{ECHO_PORT}@tag:web", web=(*of(one), *OTHERS)))
    assert connects(one, nft_lab.droplet, ECHO_PORT)
    enforcement.apply(policy(f"tcp/{ECHO_PORT}@tag:web", web=(*of(other), *OTHERS)))
    assert connects(other, nft_lab.droplet, ECHO_PORT)
    assert not connects(one, nft_lab.droplet, ECHO_PORT, patience=PATIENCE)


@pytest.mark.parametrize("others", [(), OTHERS], ids=["few", "many"])
def test_every_kind_of_service_is_read_back_as_it_was_written(
    enforcement: Enforcement, nft_lab: Lab, others: tuple[Address, ...]
) -> None:
    words = ["tcp/22", "udp/1-65535", "icmp", "proto/47", "proto/6", "proto/1", "proto/58", "proto/132", "proto/200"]
    sources = ["", "@tag:web", "@10.9.0.0/16", "@fd00::/8", "@0.0.0.0/0", "@::/0"]
    web = (
        *others,
        ipaddress.ip_address("fd00::7"),
        *(ipaddress.IPv6Address(7 * one + (1 << 90)) for one in range(9)),
    )
    for source in sources:
        asked = policy(",".join(word + source for word in words), peers=of(*nft_lab.peers), web=web)
        enforcement.apply(asked)
        assert enforcement.plan(asked) == ()
        public = Policy((replace(asked.segments[0], public=True, interfaces=("eth0",)),))
        enforcement.apply(public)
        assert enforcement.plan(public) == ()
    enforcement.remove(None)
