"""The rules we write are the ones that docs/rules.md shows, and they let in whom they should."""

from __future__ import annotations

import pytest

from tests.bed.memory.netfilter import Kernel, Packet, Table
from tests.golden import page
from tests.golden.scenarios import SCENARIOS


def test_the_rules_of_each_scenario_are_as_the_page_shows_them() -> None:
    assert page.PAGE.read_text() == page.render(), "if the change is meant: python -m tests.golden.page"


def tables(scenario: str) -> dict[int, Table]:
    kernel = Kernel()
    kernel.backend().apply(SCENARIOS[scenario].policy)
    return kernel.tables


PEER, STRANGER = "10.132.0.2", "10.132.0.66"


@pytest.mark.parametrize("interface", ["eth1", "ens5"])
@pytest.mark.parametrize(
    ("packet", "hook", "verdict"),
    [
        (Packet(PEER), "INPUT", "ACCEPT"),
        (Packet(STRANGER), "INPUT", "DROP"),
        (Packet(STRANGER, reply=True), "INPUT", "ACCEPT"),
        (Packet(STRANGER, related=True), "INPUT", "DROP"),
        (Packet(PEER), "FORWARD", "ACCEPT"),
        (Packet(STRANGER), "FORWARD", "DROP"),
        (Packet(STRANGER, reply=True), "FORWARD", "ACCEPT"),
        (Packet(STRANGER, related=True), "FORWARD", "DROP"),
    ],
    ids=str,
)
def test_peers_and_replies_come_in_and_connections_that_strangers_opened_end(
    packet: Packet, hook: str, verdict: str, interface: str
) -> None:
    on = Packet(packet.source, interface, related=packet.related, reply=packet.reply)
    assert tables("two-interfaces")[4].verdict(on, hook) == verdict


@pytest.mark.parametrize("hook", ["INPUT", "FORWARD"])
def test_other_interfaces_are_not_ours_to_close(hook: str) -> None:
    for version, source in ((4, STRANGER), (6, "fe80::66")):
        assert tables("two-peers")[version].verdict(Packet(source, "eth0"), hook) == "ACCEPT"


def test_of_ipv6_the_private_interface_takes_only_what_finds_neighbours() -> None:
    table = tables("two-peers")[6]
    packets = [Packet("fe80::66", protocol="ipv6-icmp", kind=kind) for kind in range(256)]
    assert [packet.kind for packet in packets if table.verdict(packet) == "ACCEPT"] == [135, 136]


def test_ipv6_is_closed_for_everything_else() -> None:
    table = tables("two-peers")[6]
    assert table.verdict(Packet("fe80::2", protocol="tcp", kind=135)) == "DROP"
    assert table.verdict(Packet("fe80::2"), "FORWARD") == "DROP"


@pytest.mark.parametrize(
    ("packet", "verdict"),
    [
        (Packet("10.200.4.5", port=1), "ACCEPT"),
        (Packet("10.201.0.9", port=1), "ACCEPT"),
        (Packet("10.201.0.10", port=1), "DROP"),
        (Packet("10.202.0.1", port=5432), "ACCEPT"),
        (Packet("10.202.0.1", port=5433), "DROP"),
        (Packet("10.202.1.1", port=5432), "DROP"),
        (Packet("10.202.0.1", protocol="udp", port=5432), "DROP"),
        (Packet(STRANGER, port=22), "ACCEPT"),
        (Packet(STRANGER, protocol="udp", port=51820), "ACCEPT"),
        (Packet(STRANGER, protocol="udp", port=22), "DROP"),
    ],
    ids=str,
)
def test_what_the_user_allowed_comes_in_and_no_more(packet: Packet, verdict: str) -> None:
    assert tables("allow-list")[4].verdict(packet) == verdict
    assert tables("allow-list")[4].verdict(packet, "FORWARD") == verdict


def test_a_published_port_is_open_by_the_number_that_the_sender_asked_for() -> None:
    table = tables("allow-list")[4]
    assert table.verdict(Packet(STRANGER, port=2222, asked_port=22), "FORWARD") == "ACCEPT"
    assert table.verdict(Packet(STRANGER, port=22, asked_port=2222), "FORWARD") == "DROP"


def test_each_family_gets_the_entries_that_are_its_own() -> None:
    table = tables("allow-list")[6]
    assert table.verdict(Packet("fd00::5", port=1)) == "ACCEPT"
    assert table.verdict(Packet("fd01::5", port=1)) == "DROP"
    assert table.verdict(Packet("fd01::5", port=22)) == "ACCEPT"
    assert table.verdict(Packet("fd01::5", protocol="udp", port=51820)) == "DROP"  # was allowed for IPv4's everyone


def test_public_closes_the_public_interface_too_with_peers_of_its_own() -> None:
    found = tables("public")
    assert found[4].verdict(Packet("203.0.113.7", "eth0")) == "ACCEPT"
    assert found[4].verdict(Packet("203.0.113.8", "eth0")) == "DROP"
    assert found[4].verdict(Packet("203.0.113.8", "eth0", port=443)) == "ACCEPT"
    assert found[4].verdict(Packet("203.0.113.7", "eth1")) == "DROP"
    assert found[4].verdict(Packet(PEER, "eth0")) == "DROP"
    assert found[6].verdict(Packet("2604:a880:2:d0::21:1001", "eth0")) == "ACCEPT"
    assert found[6].verdict(Packet("2604:a880:2:d0::21:1002", "eth0")) == "DROP"
    assert found[6].verdict(Packet("fe80::1", "eth0", protocol="ipv6-icmp", kind=134)) == "ACCEPT"


@pytest.mark.parametrize("hook", ["INPUT", "FORWARD"])
def test_a_tree_lets_in_the_same_as_a_list(hook: str) -> None:
    peers = {str(peer) for peer in SCENARIOS["65-peers"].policy.segments[0].peers}
    table = tables("65-peers")[4]
    for number in range(5 * 256):
        source = f"10.132.{number // 256}.{number % 256}"
        assert table.verdict(Packet(source), hook) == ("ACCEPT" if source in peers else "DROP")


def test_only_root_reaches_the_metadata_service_when_it_is_locked() -> None:
    table = tables("lock-metadata")[4]
    service = "169.254.169.254"
    assert table.verdict(Packet("10.132.0.1", "", service, owner=0), "OUTPUT") == "ACCEPT"
    assert table.verdict(Packet("10.132.0.1", "", service, owner=1000), "OUTPUT") == "REJECT"
    assert table.verdict(Packet("10.132.0.1", "", "10.132.0.2", owner=1000), "OUTPUT") == "ACCEPT"
    assert table.verdict(Packet("172.17.0.2", "docker0", service), "FORWARD") == "REJECT"


ANYTHING = [
    Packet(source, interface, protocol=protocol, port=port, related=related, reply=reply, kind=kind)
    for source in (PEER, STRANGER)
    for interface in ("eth0", "eth1", "ens5")
    for protocol, port, kind in (("tcp", 22, 0), ("udp", 53, 0), ("icmp", 0, 8))
    for related, reply in ((False, False), (True, False), (True, True))
]


@pytest.mark.parametrize("packet", ANYTHING, ids=str)
@pytest.mark.parametrize("hook", ["INPUT", "FORWARD"])
def test_what_the_bootstrap_closes_is_closed_as_droplan_would_close_it_to_everyone(packet: Packet, hook: str) -> None:
    table = Table()
    table.restore(page.close_script().restore_input(["eth1"], []))
    assert table.verdict(packet, hook) == tables("no-peers")[4].verdict(packet, hook)


@pytest.mark.parametrize("kind", range(256))
def test_the_bootstrap_lets_in_the_same_kinds_of_icmpv6(kind: int) -> None:
    close = page.close_script()
    table = Table()
    table.restore(close.restore_input(["eth1"], [close.NEIGHBOURS % 135, close.NEIGHBOURS % 136]))
    packet = Packet("fe80::66", protocol="ipv6-icmp", kind=kind)
    assert table.verdict(packet) == tables("no-peers")[6].verdict(packet)
