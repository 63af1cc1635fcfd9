"""The rules we write are the ones that docs/rules.md shows, and they let in whom they should."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from droplan_boot.firewall import nflog
from droplan_boot.firewall.enforcement import Enforcement
from droplan_boot.firewall.nftables import Nftables
from tests.bed.memory.netfilter import Kernel, Packet, icmp_error
from tests.golden import page
from tests.golden.scenarios import SCENARIOS


def test_the_rules_of_each_scenario_are_as_the_page_shows_them() -> None:
    assert page.PAGE.read_text() == page.render(), "if the change is meant: python -m tests.golden.page"


ALONE, BOTH, WITHOUT_NFT = "guard in nftables alone", "guard in nftables and door", "guard in mangle and door"
BACKENDS = (BOTH, WITHOUT_NFT, ALONE)
PEER, STRANGER = "10.132.0.2", "10.132.0.66"
HERE, CONTAINER = "", "172.17.0.2"
"""Where a packet goes: to the Droplet, or through it."""


@cache
def machine(scenario: str, backend: str) -> Kernel:
    kernel = Kernel()
    door = kernel.backend().guarding() if backend == WITHOUT_NFT else kernel.backend()
    guard = None if backend == WITHOUT_NFT else Nftables(kernel)
    Enforcement(guard, None if backend == ALONE else door).apply(SCENARIOS[scenario].policy)
    return kernel


def comes_in(scenario: str, backend: str, packet: Packet, destination: str = HERE) -> bool:
    out = "" if destination == HERE else "docker0"
    packet = replace(packet, destination=packet.destination or destination, out=out)
    return machine(scenario, backend).receive(packet).verdict == "ACCEPT"


everywhere = pytest.mark.parametrize("backend", BACKENDS)
both_ways = pytest.mark.parametrize("destination", [HERE, CONTAINER], ids=["here", "to a container"])


@everywhere
@both_ways
@pytest.mark.parametrize("interface", ["eth1", "ens5"])
@pytest.mark.parametrize(
    ("packet", "passes"),
    [
        (Packet(PEER), True),
        (Packet(STRANGER), False),
        (Packet(STRANGER, reply=True), True),
        (Packet(STRANGER, related=True), False),
        (icmp_error(STRANGER), True),
        (icmp_error(STRANGER, opened_by_us=True), True),
        (Packet(STRANGER, protocol="icmp", kind=8), False),
    ],
    ids=str,
)
def test_peers_replies_and_errors_come_in_and_connections_that_strangers_opened_end(
    packet: Packet, passes: bool, interface: str, destination: str, backend: str
) -> None:
    assert comes_in("two-interfaces", backend, replace(packet, interface=interface), destination) is passes


@everywhere
@both_ways
def test_other_interfaces_are_not_ours_to_close(destination: str, backend: str) -> None:
    for source in (STRANGER, "fe80::66"):
        assert comes_in("two-peers", backend, Packet(source, "eth0"), destination if "." in source else HERE)


@everywhere
def test_of_ipv6_the_private_interface_takes_only_what_keeps_it_alive(backend: str) -> None:
    packets = [Packet("fe80::66", protocol="ipv6-icmp", kind=kind, destination="::1") for kind in range(256)]
    passing = [packet.kind for packet in packets if comes_in("two-peers", backend, packet)]
    assert passing == [130, 135, 136]
    assert not comes_in("two-peers", backend, Packet("fe80::2", kind=135, destination="::1"))
    assert comes_in("two-peers", backend, replace(icmp_error("fe80::66"), destination="::1"))


@everywhere
@both_ways
@pytest.mark.parametrize(
    ("packet", "passes"),
    [
        (Packet("10.200.4.5", port=1), True),
        (Packet("10.201.0.9", port=1), True),
        (Packet("10.201.0.10", port=1), False),
        (Packet("10.202.0.1", port=5432), True),
        (Packet("10.202.0.1", port=5433), False),
        (Packet("10.202.1.1", port=5432), False),
        (Packet("10.202.0.1", protocol="udp", port=5432), False),
        (Packet(STRANGER, port=22), True),
        (Packet(STRANGER, protocol="udp", port=51820), True),
        (Packet(STRANGER, protocol="udp", port=22), False),
        (Packet(STRANGER, port=22, state="untracked"), True),
    ],
    ids=str,
)
def test_what_the_user_allowed_comes_in_and_no_more(
    packet: Packet, passes: bool, destination: str, backend: str
) -> None:
    assert comes_in("allow-list", backend, packet, destination) is passes


@everywhere
@pytest.mark.parametrize(
    ("asked", "to", "passes"), [(22, ":2222", True), (2222, ":22", False), (22, "172.17.0.2:2222", True)]
)
def test_a_port_is_open_by_the_number_that_the_sender_asked_for(
    asked: int, to: str, passes: bool, backend: str
) -> None:
    kernel = deepcopy(machine("allow-list", backend))
    address, _, port = to.partition(":")
    target = f"DNAT --to-destination {to}" if address else f"REDIRECT --to-ports {port}"
    rule = f"-A PREROUTING -p tcp -m tcp --dport {asked} -j {target}"
    kernel.netfilter.restore("nft", 4, f"*nat\n{rule}\nCOMMIT\n")
    assert (kernel.receive(Packet(STRANGER, port=asked)).verdict == "ACCEPT") is passes


@everywhere
def test_each_family_gets_the_entries_that_are_its_own(backend: str) -> None:
    def passes(packet: Packet) -> bool:
        return comes_in("allow-list", backend, replace(packet, destination="::1"))

    assert passes(Packet("fd00::5", port=1))
    assert not passes(Packet("fd01::5", port=1))
    assert passes(Packet("fd01::5", port=22))
    assert not passes(Packet("fd01::5", protocol="udp", port=51820))  # was allowed for IPv4's everyone


@everywhere
def test_public_closes_the_public_interface_too_with_peers_of_its_own(backend: str) -> None:
    def passes(source: str, interface: str, **other: Any) -> bool:
        return comes_in("public", backend, Packet(source, interface, "::1" if ":" in source else "", **other))

    assert passes("203.0.113.7", "eth0")
    assert not passes("203.0.113.8", "eth0")
    assert passes("203.0.113.8", "eth0", port=443)
    assert not passes("203.0.113.7", "eth1")
    assert not passes(PEER, "eth0")
    assert passes("2604:a880:2:d0::21:1001", "eth0")
    assert not passes("2604:a880:2:d0::21:1002", "eth0")
    assert passes("fe80::1", "eth0", protocol="ipv6-icmp", kind=134)


@pytest.mark.parametrize("backend", [BOTH, WITHOUT_NFT])
def test_a_tree_lets_in_the_same_as_a_list(backend: str) -> None:
    peers = {str(peer) for peer in SCENARIOS["65-peers"].policy.segments[0].peers}
    for number in range(5 * 256):
        source = f"10.132.{number // 256}.{number % 256}"
        assert comes_in("65-peers", backend, Packet(source)) is (source in peers)


class TestAddresses:
    """The private network's range counts on other interfaces as well."""

    @everywhere
    @pytest.mark.parametrize(
        ("packet", "passes"),
        [
            (Packet(STRANGER, "eth9"), False),
            (Packet(PEER, "eth9"), True),
            (Packet(STRANGER, "eth9", reply=True), True),
            (Packet(STRANGER, "br0", CONTAINER), False),
            (Packet("203.0.113.9", "eth0", "10.132.0.1"), False),
            (Packet("203.0.113.9", "eth0", "10.132.0.1", reply=True), True),
            (Packet("203.0.113.9", "eth0"), True),
            (Packet("10.132.0.1", "lo", "10.132.0.1"), True),
            (Packet("172.17.0.2", "docker0", "10.132.0.1"), True),
            (Packet("10.8.0.2", "wg0", "10.132.0.1"), True),
            (Packet("10.132.200.2", "docker0", "10.132.0.1"), False),
        ],
        ids=[
            "the private card under another name",
            "a peer by it",
            "a reply by it",
            "to a guest behind the bridge that the card became part of",
            "the private address asked for over the public link",
            "a reply to it",
            "the public card is not closed",
            "the Droplet itself",
            "a container",
            "a client of a VPN",
            "a container whose network lies within the range: DROPLAN_ALLOW has to name it",
        ],
    )
    def test_what_comes_by_another_interface_is_judged_by_its_address(
        self, packet: Packet, passes: bool, backend: str
    ) -> None:
        assert comes_in("addresses", backend, packet) is passes


@everywhere
def test_only_root_reaches_the_metadata_service_when_it_is_locked(backend: str) -> None:
    service = "169.254.169.254"
    kernel = machine("lock-metadata", backend)

    def reaches(destination: str, owner: int) -> bool:
        return kernel.send(Packet("10.132.0.1", "", destination, owner=owner)).verdict == "ACCEPT"

    assert reaches(service, 0)
    assert not reaches(service, 1000)
    assert reaches("10.132.0.2", 1000)
    assert not comes_in("lock-metadata", backend, Packet("172.17.0.2", "docker0"), service)


@everywhere
def test_what_a_NAT_leads_to_the_metadata_service_is_kept_from_containers_too(backend: str) -> None:  # noqa: N802
    kernel = deepcopy(machine("lock-metadata", backend))
    rule = "-A PREROUTING -d 192.0.2.1/32 -j DNAT --to-destination 169.254.169.254"
    kernel.netfilter.restore("nft", 4, f"*nat\n{rule}\nCOMMIT\n")
    assert kernel.receive(Packet("172.17.0.2", "docker0", "192.0.2.1")).verdict == "REJECT"


@everywhere
@pytest.mark.parametrize("public", [False, True])
def test_what_is_shut_out_is_told_to_the_watcher_and_nothing_else_is(public: bool, backend: str) -> None:
    kernel, interface = machine("public", backend), "eth0" if public else "eth1"
    assert kernel.receive(Packet("203.0.113.8", interface)).logged == (nflog.GROUP,)
    assert kernel.receive(Packet("203.0.113.8", interface, hurried=True)).logged == ()
    assert kernel.receive(Packet("203.0.113.7" if public else PEER, interface)).logged == ()


@everywhere
@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("kind", [131, 132, 133, 143])
def test_what_every_host_tells_its_link_is_told_to_nobody(kind: int, public: bool, backend: str) -> None:
    found = machine("public", backend).receive(
        Packet("fe80::9", "eth0" if public else "eth1", protocol="ipv6-icmp", kind=kind)
    )
    assert found.logged == ()
    assert (found.verdict == "ACCEPT") is (public and kind == 133)  # a router hears who looks for it


def closed(*, nft: bool) -> Kernel:
    """Return a machine where cloud-init/close.py has closed eth1.

    Packets here have no TCP flags, so the rule that asks for them is left out; the lab has older connections.
    """
    kernel, close = Kernel(), page.close_script()

    def without_flags(text: str) -> str:
        return "".join(line for line in text.splitlines(True) if "flags" not in line)

    if nft:
        kernel.netfilter.run_nft(without_flags(close.table_text(["eth1"])))
    else:
        kernel.netfilter.restore("nft", 4, without_flags(close.restore_input(["eth1"], [])))
        kernel.netfilter.restore("nft", 6, without_flags(close.restore_input(["eth1"], close.ALIVE)))
    return kernel


class TestBootstrap:
    """What cloud-init/close.py closes is closed as droplan closes it, and what goes on goes on."""

    @pytest.mark.parametrize("nft", [True, False])
    @both_ways
    @pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp"])
    @pytest.mark.parametrize("interface", ["eth0", "eth1", "ens5"])
    def test_nobody_opens_anything_where_it_is_closed(
        self, interface: str, protocol: str, destination: str, nft: bool
    ) -> None:
        out = "" if destination == HERE else "docker0"
        packet = Packet(PEER, interface, destination, protocol, kind=8, out=out)
        assert (closed(nft=nft).receive(packet).verdict == "DROP") is (interface == "eth1")

    @pytest.mark.parametrize("nft", [True, False])
    @both_ways
    @pytest.mark.parametrize(
        "packet",
        [Packet(STRANGER, reply=True), Packet(STRANGER, related=True), icmp_error(STRANGER)],
        ids=["a reply", "what others opened", "an error"],
    )
    def test_connections_of_either_direction_go_on(self, packet: Packet, destination: str, nft: bool) -> None:
        on = replace(packet, destination=destination, out="" if destination == HERE else "docker0")
        assert closed(nft=nft).receive(on).verdict == "ACCEPT"

    @pytest.mark.parametrize("nft", [True, False])
    def test_the_same_kinds_of_icmpv6_come_in(self, nft: bool) -> None:
        kernel = closed(nft=nft)
        for kind in range(256):
            packet = Packet("fe80::66", protocol="ipv6-icmp", kind=kind, destination="::1")
            accepted = kernel.receive(packet).verdict == "ACCEPT"
            assert accepted is comes_in("no-peers", BOTH, packet), kind
