"""What the policy says is what packets meet: the verdict beside a walk over the rules of every way to enforce it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from droplan_boot.access import verdict
from droplan_boot.access.allow import Allow, Name
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.access.services import Service
from droplan_boot.firewall import opened, tree
from droplan_boot.firewall.enforcement import Enforcement
from droplan_boot.firewall.nftables import Nftables
from droplan_boot.networks import Address
from tests.bed.memory.netfilter import Kernel
from tests.bed.memory.packet import Packet

WAYS: dict[str, Callable[[Kernel], Enforcement]] = {
    "guard in nftables": lambda kernel: Enforcement(Nftables(kernel), None),
    "guard in nftables, door in iptables": lambda kernel: Enforcement(Nftables(kernel), kernel.backend()),
    "guard in mangle, door in iptables": lambda kernel: Enforcement(None, kernel.backend().guarding()),
}
NAMES = (Name("tag", "web"), Name("droplet", "db-1"), Name("tag", "nobody"))
PORTS = (1, 22, 23, 5432, 8000, 8050, 8100, 65535)


def addresses(most: int) -> st.SearchStrategy[tuple[Address, ...]]:
    """Draw addresses of a fleet: in runs and apart, IPv4 and a few IPv6."""
    numbers = st.integers(0, 500) | st.integers(0, 4).map(lambda one: one * 65536)
    ipv4 = numbers.map(lambda one: ipaddress.IPv4Address(0x0A840010 + one))
    ipv6 = numbers.map(lambda one: ipaddress.IPv6Address((0xFD << 120) + 16 + one))
    return st.lists(ipv4 | ipv4 | ipv6, unique=True, max_size=most).map(tuple)


RANGE = st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)).map(sorted)
SERVICE = st.builds(lambda protocol, ports: Service(protocol, *ports), st.sampled_from(["tcp", "udp"]), RANGE) | (
    st.sampled_from([Service("icmp"), Service("tcp"), Service("47")])
)
NETWORK = st.sampled_from(
    [
        ipaddress.ip_network(one)
        for one in ("10.132.0.0/27", "10.132.0.21", "0.0.0.0/0", "fd00::/123", "fd00::12", "::/0")
    ]
)
TCP = RANGE.map(lambda ports: Service("tcp", *ports))
NARROW = NETWORK.filter(lambda one: bool(one.prefixlen))
ENTRY = st.builds(Allow, st.none() | NETWORK | st.sampled_from(NAMES), SERVICE) | st.builds(
    Allow, NARROW | st.sampled_from(NAMES)
)
SEGMENT = st.builds(
    Segment,
    st.just(False),
    st.just(("eth1",)),
    addresses(30),
    st.lists(ENTRY, max_size=5).map(tuple),
    ports=st.none()
    | (st.lists(SERVICE, max_size=3, unique=True) | st.lists(TCP, min_size=8, max_size=14, unique=True)).map(tuple),
    known=st.tuples(addresses(30), addresses(3)).map(lambda held: tuple(zip(NAMES, held))),
)
# More services of a protocol than are asked one after the other, of neighbours and of ports apart, by few lists.
SCATTERED = st.builds(
    Segment,
    st.just(False),
    st.just(("eth1",)),
    addresses(9),
    st.lists(
        st.builds(
            lambda name, first, more: Allow(name, Service("tcp", first, first + more)),
            st.sampled_from([*NAMES, None]),
            st.integers(1, 60),
            st.integers(0, 2),
        ),
        min_size=9,
        max_size=30,
    ).map(tuple),
    ports=st.lists(st.integers(1, 60), max_size=20, unique=True).map(
        lambda ports: tuple(Service("tcp", one, one) for one in ports)
    ),
    known=st.tuples(addresses(30), addresses(9)).map(lambda held: tuple(zip(NAMES, held))),
)


def judged(policy: Segment) -> list[Address]:
    """Choose whom to ask about: members, their neighbours, and others."""
    members = {*policy.peers, *(one for _, held in policy.known for one in held)}
    near = {type(one)(int(one) + step) for one in sorted(members, key=str)[:8] for step in (-1, 0, 1)}
    others = {
        ipaddress.ip_address(one) for one in ("10.132.0.1", "10.132.0.31", "10.132.0.32", "10.9.9.9", "fd00::1f")
    }
    return sorted(near | others, key=str)


def packets(source: Address) -> list[tuple[Packet, tuple[str, int | None]]]:
    """Make packets of every kind, each with what the verdict calls it."""
    ping = "icmp" if source.version == 4 else "ipv6-icmp"
    made: list[tuple[Packet, tuple[str, int | None]]] = [
        (Packet(str(source), protocol=protocol, port=port), (protocol, port))
        for protocol in ("tcp", "udp")
        for port in (1, 22, 24, 8000, 8051, 65535)
    ]
    made.append((Packet(str(source), protocol=ping, port=0, kind=8 if source.version == 4 else 128), ("icmp", None)))
    made.append((Packet(str(source), protocol="gre", port=0), ("47", None)))
    return made


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SEGMENT)
def test_a_packet_meets_what_the_policy_says(way: str, policy: Segment) -> None:
    kernel = Kernel()
    assert WAYS[way](kernel).apply(Policy((policy,)))
    for source in judged(policy):
        for packet, (protocol, port) in packets(source):
            said = verdict.judge(policy, source, protocol, port)
            met = kernel.receive(packet)
            assert (met.verdict == "ACCEPT") == said.accept, (said, str(met), packet)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SCATTERED)
def test_of_many_services_each_is_open_to_those_that_the_policy_says(way: str, policy: Segment) -> None:
    kernel = Kernel()
    WAYS[way](kernel).apply(Policy((policy,)))
    for source in judged(policy)[::8]:
        for port in (*range(64), 65535):
            said = verdict.judge(policy, source, "tcp", port)
            met = kernel.receive(Packet(str(source), protocol="tcp", port=port))
            assert (met.verdict == "ACCEPT") == said.accept, (said, str(met), port)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SEGMENT, SEGMENT | SCATTERED)
def test_from_any_policy_to_any_other_and_then_nothing_is_left_to_do(
    way: str, before: Segment, after: Segment
) -> None:
    kernel = Kernel()
    enforcement = WAYS[way](kernel)
    enforcement.apply(Policy((before,)))
    enforcement.apply(Policy((after,)))
    assert enforcement.plan(Policy((after,))) == ()
    assert not enforcement.apply(Policy((after,)))


@pytest.mark.parametrize("way", WAYS)
def test_who_may_send_anything_reaches_a_service_that_many_others_may(way: str) -> None:
    peer = ipaddress.IPv4Address("10.133.0.9")
    others = tuple(ipaddress.IPv4Address(0x0A840010 + one) for one in range(0, 90, 3))
    entry = Allow(NAMES[0], Service("tcp", 22, 22))
    kernel = Kernel()
    WAYS[way](kernel).apply(Policy((Segment(False, ("eth1",), (peer,), (entry,), known=((NAMES[0], others),)),)))
    met = {
        (str(who), port): kernel.receive(Packet(str(who), port=port)).verdict
        for who in (peer, others[9])
        for port in (22, 23)
    }
    assert met == {
        (str(peer), 22): "ACCEPT",
        (str(peer), 23): "ACCEPT",
        (str(others[9]), 22): "ACCEPT",
        (str(others[9]), 23): "DROP",
    }


def fleet(size: int) -> tuple[Address, ...]:
    return tuple(ipaddress.IPv4Address(0x0A840010 + 7 * one) for one in range(size))


def many_services(size: int, services: int = 20, lists: int = 1) -> Segment:
    """Open ports apart from each other to as many Droplets, by one list or by several that differ."""
    names = [Name("tag", f"tag-{one}") for one in range(lists)]
    entries = tuple(
        Allow(names[one % lists], Service("tcp", 1000 + 2 * one, 1000 + 2 * one)) for one in range(services)
    )
    known = tuple((name, fleet(size + one)) for one, name in enumerate(names))
    return Segment(False, ("eth1",), (), entries, ports=(), known=known)


def longest(segment: Segment) -> int:
    """Count the most rules that a packet for the last service passes on its way into the tree's deepest chain."""
    (rules,), trees = opened.rules(segment, 4, (opened.NOW,), "-j ACCEPT")

    def deep(chain: str) -> int:
        here = trees[chain]
        below = [
            place + 1 + deep(words[-1]) for place, rule in enumerate(here) if (words := rule.split())[-1] in trees
        ]
        return max([len(here), *below])

    return len(rules) + deep(rules[-1].rsplit(" ", 1)[1])


class TestManyDropletsInManyServices:
    @pytest.mark.parametrize(
        ("services", "lists", "passed"),
        [(8, 1, 8), (20, 1, 2), (30, 1, 2), (20, 20, 4 + 5), (30, 30, 5 + 6), (60, 3, 3 + 4)],
    )
    def test_a_packet_passes_a_rule_a_list_or_one_a_group_and_those_of_it_and_a_few_of_one_tree(
        self, services: int, lists: int, passed: int
    ) -> None:
        of_many = longest(many_services(10_000 // lists, services, lists))
        assert of_many <= passed + 40
        # Many times as many Droplets are a few steps more.
        assert of_many - longest(many_services(100, services, lists)) <= 20

    def test_in_nftables_a_list_is_one_rule_and_one_set(self) -> None:
        rules, groups, sets = opened.nft(many_services(10_000), ("droplan-addresses", "droplan-networks"))
        ports = ", ".join(str(port) for port in range(1000, 1040, 2))
        assert rules == (f"tcp dport {{ {ports} }} ip saddr @droplan-addresses-tcp-1000-4 accept",)
        assert groups == {}
        assert len(sets) == 1, "all of them are open to the same Droplets"

    def test_in_nftables_many_lists_are_asked_in_groups(self) -> None:
        rules, groups, sets = opened.nft(many_services(100, lists=20), ("droplan-addresses", "droplan-networks"))
        assert list(map(len, groups.values())) == [5, 5, 5, 5]
        assert len(rules) == len(groups)
        assert len(sets) == 20

    def test_chains_of_groups_have_names_that_the_kernel_takes(self) -> None:
        for public in (False, True):
            entries = tuple(
                Allow(ipaddress.ip_network(f"10.0.0.{one}"), Service("tcp", 10_000 + 1000 * one, 10_009 + 1000 * one))
                for one in range(50)
            )
            segment = Segment(public, ("eth1",), (), entries)
            _, chains = opened.rules(segment, 4, (opened.NOW,), "-j ACCEPT")
            assert len(chains) == len(opened.nft(segment, ("a", "n"))[1]) == 7
            assert max(map(len, chains)) <= 28

    @pytest.mark.parametrize("way", WAYS)
    def test_a_group_holds_a_service_that_goes_on_past_those_of_the_other_ip_version(self, way: str) -> None:
        # 1-1000 of IPv4 is in one group with 1, 2 and 3 of IPv6, and reaches further than the last of them.
        wide = Allow(ipaddress.ip_network("10.132.0.9"), Service("tcp", 1, 1000))
        narrow = tuple(Allow(ipaddress.ip_network("fd00::9"), Service("tcp", port, port)) for port in range(1, 10))
        kernel = Kernel()
        WAYS[way](kernel).apply(Policy((Segment(False, ("eth1",), (), (wide, *narrow)),)))
        met = {
            (source, port): kernel.receive(Packet(source, port=port)).verdict
            for source in ("10.132.0.9", "fd00::9")
            for port in (3, 9, 500)
        }
        assert {one for one, verdict in met.items() if verdict != "ACCEPT"} == {("fd00::9", 500)}

    def test_services_of_the_same_droplets_share_a_tree_and_others_do_not(self) -> None:
        shared = many_services(100)
        other = Allow(NAMES[1], Service("udp", 53, 53))
        apart = replace(shared, allow=(*shared.allow, other), known=(*shared.known, (NAMES[1], fleet(99))))
        for segment, roots in ((shared, {"droplan-tcp-1000"}), (apart, {"droplan-tcp-1000", "droplan-udp-53"})):
            (rules,), chains = opened.rules(segment, 4, (opened.NOW,), "-j ACCEPT")
            assert {rule.rsplit(" ", 1)[1] for rule in rules} == roots
            assert roots <= set(chains)
        assert len(opened.nft(apart, ("droplan-addresses", "droplan-networks"))[2]) == 2

    @pytest.mark.parametrize("version", [4, 6])
    def test_no_two_trees_share_a_name_whatever_the_services(self, version: int) -> None:
        kinds = [Service("tcp", 1, 65535), Service("udp", 1, 65535), Service("icmp"), Service("47"), Service("tcp")]
        kinds += [Service("tcp", port, port) for port in (22, 65534)] + [Service("udp", 22, 23), Service("147")]
        held = fleet(300) if version == 4 else tuple(ipaddress.IPv6Address(one * 7) for one in range(1, 300))
        names: list[str] = []
        for public in (False, True):
            for service in kinds:
                segment = Segment(
                    public, ("eth1",), (), (Allow(NAMES[0], service),), ports=(), known=((NAMES[0], held),)
                )
                names += opened.rules(segment, version, (opened.NOW,), "-j ACCEPT")[1]
            names += tree.lay_out(held, version, "droplan-tree", "droplan-t-")
            names += tree.lay_out(held, version, "droplan-tree-public", "droplan-u-")
            held = held[:150]
        roots = [name for name in names if not name.startswith("droplan-t-") and not name.startswith("droplan-u-")]
        assert max(map(len, names)) <= 28
        assert len(set(roots[: len(roots) // 2])) == len(roots[: len(roots) // 2])
        first = names[: len(names)]
        assert not {one for one in first if first.count(one) > 2}

    @pytest.mark.parametrize("way", list(WAYS))
    def test_a_droplet_more_in_one_service_changes_little(self, way: str) -> None:
        kernel = Kernel()
        enforcement = WAYS[way](kernel)
        before = many_services(500, 3)
        only = Allow(NAMES[1], Service("tcp", 1000, 1000))
        before = replace(before, allow=(*before.allow, only), known=(*before.known, (NAMES[1], fleet(1))))
        new = ipaddress.IPv4Address("10.132.200.9")
        after = replace(before, known=(before.known[0], (NAMES[1], (*fleet(1), new))))
        enforcement.apply(Policy((before,)))
        written = enforcement.plan(Policy((after,)))
        assert written
        assert sum(len(one.script.splitlines()) for one in written) <= 60
