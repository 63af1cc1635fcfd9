"""The tree of chains: whoever is in the set comes out of it, and nobody else, whatever the set."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_boot.firewall import edits, tree
from droplan_boot.networks import Network, blocks, intervals
from tests.bed.memory.netfilter import LONGEST_NAME, Packet, Table

ROOT, STEM = "droplan-tree-public", "droplan-u-"  # the longest names we give
BITS = {4: 32, 6: 128}
HOME = {4: int(ipaddress.ip_address("10.0.0.0")), 6: int(ipaddress.ip_address("2604:a880::"))}


def single(version: int, number: int) -> Network:
    return ipaddress.ip_network((number, BITS[version]))


def address(version: int, number: int) -> str:
    return str(ipaddress.IPv4Address(number) if version == 4 else ipaddress.IPv6Address(number))


def addresses(version: int) -> st.SearchStrategy[list[Network]]:
    """Sets of every kind: sparse, dense, clustered, and networks of all sizes among them."""
    home, bits = HOME[version], BITS[version]
    offset = st.integers(0, 2 ** (bits - 8) - 1)
    sparse = st.sets(offset, max_size=90)
    dense = st.builds(
        lambda base, there: {base + one for one in there},
        st.integers(0, 2**20),
        st.sets(st.integers(0, 160), min_size=20, max_size=150),
    )
    clustered = st.builds(
        lambda bases, there: {base + one for base in bases for one in there},
        st.sets(offset.map(lambda one: one // 2), max_size=12),
        st.sets(st.integers(0, 40), max_size=10),
    )
    singles = st.one_of(sparse, dense, clustered).map(lambda found: [single(version, home + one) for one in found])
    networks = st.lists(
        st.builds(
            lambda number, length: ipaddress.ip_network((home + number, length), strict=False),
            offset,
            st.integers(9, bits),
        ),
        max_size=20,
    )
    return st.one_of(singles, st.tuples(singles, networks).map(lambda both: both[0] + both[1]))


def built(networks: Iterable[Network], version: int) -> tuple[dict[str, tuple[str, ...]], Table]:
    """Lay out a tree and hang it into a table, as the ruleset does: who comes out of it is let in."""
    chains = tree.lay_out(networks, version, ROOT, STEM)
    table = Table()
    table.restore(edits.script([edits.Fill(chain, rules) for chain, rules in chains.items()]))
    table.restore(f"*filter\n-A INPUT -j {ROOT}\n-A INPUT -j ACCEPT\nCOMMIT\n")
    return chains, table


def check(networks: Sequence[Network], version: int, others: Iterable[int]) -> None:
    chains, table = built(networks, version)
    ranges = [(int(one.network_address), int(one.broadcast_address)) for one in networks]
    edges = {edge for first, last in ranges for edge in (first - 1, first, last, last + 1)}
    for number in edges | set(others):
        if 0 <= number < 2 ** BITS[version]:
            member = any(first <= number <= last for first, last in ranges)
            found = table.verdict(Packet(source=address(version, number)))
            assert found == ("ACCEPT" if member else "DROP"), address(version, number)
    assert all(len(rules) <= tree.WIDTH for rules in chains.values())
    assert all(len(chain) <= LONGEST_NAME for chain in chains)


@pytest.mark.parametrize("version", [4, 6])
@settings(max_examples=20)
@given(data=st.data())
def test_walking_the_tree_tells_members_from_their_neighbours_and_all_others(
    version: int, data: st.DataObject
) -> None:
    networks = data.draw(addresses(version))
    others = data.draw(st.lists(st.integers(0, 2 ** BITS[version] - 1), max_size=20))
    check(networks, version, others)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("number", [0, 1, 2, 7, 8, 9, 64, 65])
def test_sets_at_the_sizes_where_the_shape_changes(version: int, number: int) -> None:
    check([single(version, HOME[version] + 2 * one) for one in range(number)], version, [0, HOME[version] + 5000])


def test_the_first_and_the_last_address_there_is() -> None:
    spread = [single(4, one * 37 * 2**20) for one in range(100)]
    check([single(4, 0), *spread, single(4, 2**32 - 1)], 4, [1, 2**31])


def test_hundreds_of_random_addresses() -> None:
    random = Random(7)
    numbers = random.sample(range(HOME[4], HOME[4] + 2**20), 400)
    check([single(4, one) for one in numbers], 4, random.sample(range(2**32), 100))


def test_a_whole_16_is_one_rule() -> None:
    chains, table = built((single(4, HOME[4] + one) for one in range(2**16)), 4)
    assert chains == {ROOT: ("-s 10.0.0.0/16 -j RETURN", "-j DROP")}
    assert table.verdict(Packet(source="10.0.255.255")) == "ACCEPT"
    assert table.verdict(Packet(source="10.1.0.0")) == "DROP"


def test_nobody_is_let_in_by_an_empty_tree() -> None:
    assert tree.lay_out([], 4, ROOT, STEM) == {ROOT: ("-j DROP",)}


def test_ten_thousand_consecutive_addresses_are_a_handful_of_rules() -> None:
    chains, _ = built((single(4, HOME[4] + 7 + one) for one in range(10_000)), 4)
    assert sum(map(len, chains.values())) < 45


def test_a_packet_passes_a_few_dozen_rules_among_thousands_of_scattered_peers() -> None:
    numbers = Random(8).sample(range(HOME[4], HOME[4] + 2**24), 3_000)
    _, table = built((single(4, one) for one in numbers), 4)
    worst = max(table.walk(Packet(source=address(4, one)))[1] for one in numbers[:300])
    assert worst <= 64  # what the flat list costs when it is longest


@pytest.mark.parametrize("version", [4, 6])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32))
def test_one_peer_more_touches_a_few_chains_and_keeps_the_names_of_the_others(version: int, seed: int) -> None:
    random = Random(seed)
    numbers = random.sample(range(HOME[version], HOME[version] + 2**20), 301)
    before = tree.lay_out([single(version, one) for one in numbers[1:]], version, ROOT, STEM)
    after = tree.lay_out([single(version, one) for one in numbers], version, ROOT, STEM)
    touched = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert 1 <= len(touched) <= 6


@given(st.lists(st.sampled_from([f"10.0.0.{last}/{length}" for last in range(0, 64, 8) for length in (29, 32)])))
def test_merging_neither_adds_nor_loses_an_address(spelled: list[str]) -> None:
    networks = [ipaddress.ip_network(one) for one in spelled]
    members = {int(host) for one in networks for host in one}
    merged = intervals(networks, 4)
    assert {number for first, last in merged for number in range(first, last + 1)} == members
    # Ascending and neither overlapping nor adjacent: they could not be fewer.
    assert all(before[1] + 1 < after[0] for before, after in zip(merged, merged[1:]))
    spelled_out = [ipaddress.IPv4Network(block) for block in blocks(merged, 32)]
    assert spelled_out == list(ipaddress.collapse_addresses(map(ipaddress.IPv4Network, spelled)))


def test_each_family_gets_its_own() -> None:
    both = [ipaddress.ip_network("10.0.0.1/32"), ipaddress.ip_address("fd00::1")]
    one, other = (intervals(both, version) for version in (4, 6))
    assert one == [(int(ipaddress.ip_address("10.0.0.1")),) * 2]
    assert other == [(int(ipaddress.ip_address("fd00::1")),) * 2]


def crafted(bits: int, random: Random) -> set[int]:
    """Choose addresses so that each step by bits splits next to nothing off."""
    kinds = [
        {1 << bit | last for bit in range(3, bits) for last in range(3)},
        {(1 << bits) - (1 << bit) + last for bit in range(3, bits) for last in range(3)},
        {
            random.randrange(1, 4) << (bits - 2 - step) | random.randrange(1 << (bits - 2 - step))
            for step in range(0, bits - 2, 2)
            for _ in range(random.choice([3, 30]))
        },
    ]
    return random.choice(kinds)


def depth(chains: dict[str, tuple[str, ...]], root: str = ROOT) -> int:
    below = [rule.split(" -g ")[1] for rule in chains[root] if " -g " in rule]
    return 1 + max((depth(chains, chain) for chain in below), default=0)


@pytest.mark.parametrize("version", [4, 6])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32))
def test_no_addresses_however_chosen_make_it_deeper_than_the_kernel_takes(version: int, seed: int) -> None:
    random = Random(seed)
    numbers = crafted(BITS[version], random)
    chains = tree.lay_out([single(version, one) for one in numbers], version, ROOT, STEM)
    assert depth(chains) <= tree.LEVELS
    check([single(version, one) for one in sorted(numbers)[:60]], version, random.sample(sorted(numbers), 5))
    names = [rule.split(" -g ")[1] for rules in chains.values() for rule in rules if " -g " in rule]
    assert len(names) == len(set(names)), "each chain is for one place"
    picked = random.sample(sorted(numbers), 20)
    table = built([single(version, one) for one in numbers], version)[1]
    for number in {near for one in picked for near in (one - 1, one, one + 1) if 0 <= near < 2 ** BITS[version]}:
        verdict = "ACCEPT" if number in numbers else "DROP"
        assert table.verdict(Packet(source=address(version, number))) == verdict
