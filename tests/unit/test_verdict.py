"""Whether a packet comes in, and why; and what backends are told, which must be the same."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_boot.access import allow, services, verdict
from droplan_boot.access.allow import Allow, Name
from droplan_boot.access.openings import Sources
from droplan_boot.access.policy import Segment
from droplan_boot.access.services import Service
from droplan_boot.networks import Address, intervals

WEB, DB, BASTION, MONITOR = (ipaddress.ip_address(f"10.0.0.{last}") for last in (2, 3, 4, 5))
STRANGER, NOBODY = ipaddress.ip_address("10.0.9.9"), ipaddress.ip_address("fd00::9")


def segment(entries: str, ports: str = "everything", *peers: Address) -> Segment:
    return Segment(
        False,
        ("eth1",),
        peers,
        allow.parse("DROPLAN_ALLOW", entries),
        ports=services.parse("DROPLAN_PEER_PORTS", ports),
        known=((Name("tag", "web"), (WEB,)), (Name("tag", "bastion"), (BASTION,))),
    )


DATABASE = segment("tcp/5432@tag:web,tcp/22@tag:bastion,udp/123", "tcp/9100", WEB, DB, MONITOR)


@pytest.mark.parametrize(
    ("source", "protocol", "port", "reason", "by"),
    [
        (MONITOR, "tcp", 9100, "peer", "tcp/9100"),
        (MONITOR, "tcp", 9101, "peer-not-on-this-port", None),
        (MONITOR, "udp", 9100, "peer-not-on-this-port", None),
        (MONITOR, "icmp", None, "peer-not-on-this-port", None),
        (WEB, "tcp", 5432, "allowed", "tcp/5432@tag:web"),
        (WEB, "tcp", 22, "peer-not-on-this-port", None),
        (BASTION, "tcp", 22, "allowed", "tcp/22@tag:bastion"),
        (BASTION, "tcp", 5432, "allowed-not-on-this-port", None),
        (STRANGER, "tcp", 5432, "stranger", None),
        (STRANGER, "udp", 123, "allowed", "udp/123"),
        (NOBODY, "udp", 123, "allowed", "udp/123"),
        (NOBODY, "tcp", 22, "stranger", None),
    ],
)
def test_a_database_says_who_reaches_which_port_and_by_which_entry(
    source: Address, protocol: str, port: int | None, reason: str, by: str | None
) -> None:
    found = verdict.judge(DATABASE, source, protocol, port)
    assert (found.accept, found.reason) == (reason in ("peer", "allowed"), reason)
    assert reason in verdict.REASONS
    assert (str(found.entry or found.service) if found.accept else None) == by


def test_a_peer_without_limits_reaches_everything() -> None:
    assert verdict.judge(segment("", "everything", WEB), WEB, "47", None).reason == "peer"


def test_a_peer_that_may_reach_nothing_is_still_let_in_by_an_entry() -> None:
    only = segment("tcp/5432@tag:web", "none", WEB, DB)
    assert verdict.judge(only, WEB, "tcp", 5432).reason == "allowed"
    assert verdict.judge(only, DB, "tcp", 5432).reason == "peer-not-on-this-port"


def test_all_that_a_sender_may_reach_is_listed_with_the_entry_that_says_so() -> None:
    found = verdict.grants(DATABASE, WEB)
    assert [(str(one.service), str(one.entry or "peer")) for one in found] == [
        ("tcp/9100", "peer"),
        ("tcp/5432", "tcp/5432@tag:web"),
        ("udp/123", "udp/123"),
    ]


@pytest.mark.parametrize(
    ("word", "packet", "version", "covered"),
    [
        ("icmp", ("icmp", None), 4, True),
        ("icmp", ("icmp", None), 6, True),
        ("icmp", ("58", None), 6, False),  # a router's advertisement, say
        ("proto/58", ("icmp", None), 6, True),
        ("proto/1", ("icmp", None), 4, True),
        ("proto/1", ("icmp", None), 6, False),
        ("proto/6", ("tcp", 22), 4, True),
        ("proto/6", ("udp", 22), 4, False),
        ("proto/47", ("47", None), 6, True),
        ("tcp/8000-8100", ("tcp", 7999), 4, False),
        ("tcp/8000-8100", ("tcp", 8000), 4, True),
        ("tcp/8000-8100", ("tcp", 8100), 4, True),
        ("tcp/8000-8100", ("tcp", 8101), 4, False),
    ],
)
def test_a_service_covers_what_it_says(
    word: str, packet: tuple[str, int | None], version: int, covered: bool
) -> None:
    assert services.one("DROPLAN_ALLOW", word).covers(*packet, version) is covered


ADDRESSES = [ipaddress.ip_address(f"10.0.0.{last}") for last in range(1, 9)] + [ipaddress.ip_address("fd00::1")]
ADDRESS = st.sampled_from(ADDRESSES)
NAMES = [Name("tag", "a"), Name("droplet", "b"), Name("tag", "nobody")]
SERVICE = st.builds(
    lambda protocol, ports: Service(protocol, *sorted(ports)),
    st.sampled_from(["tcp", "udp"]),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
) | st.sampled_from([Service("icmp"), Service("tcp"), Service("1"), Service("58"), Service("47")])
SOURCE = st.none() | st.sampled_from(
    [*NAMES, *(ipaddress.ip_network(one) for one in ("10.0.0.0/30", "10.0.0.6", "0.0.0.0/0", "fd00::/64", "::/0"))]
)
SEGMENTS = st.builds(
    Segment,
    st.booleans(),
    st.just(("eth1",)),
    st.lists(ADDRESS, unique=True).map(tuple),
    st.lists(st.builds(Allow, SOURCE, SERVICE) | st.builds(Allow, SOURCE.filter(bool)), max_size=5).map(tuple),
    ports=st.none() | st.lists(SERVICE, max_size=3).map(tuple),
    known=st.tuples(*(st.lists(ADDRESS, unique=True).map(tuple) for _ in NAMES[:2])).map(
        lambda known: tuple(zip(NAMES, known))
    ),
)
PACKET = st.sampled_from([("tcp", 1), ("tcp", 3), ("tcp", 9), ("udp", 3), ("icmp", None), ("47", None), ("58", None)])


def among(source: Address, sources: Sources | None) -> bool:
    found = intervals(sources, source.version) if sources is not None else []
    return sources is None or any(first <= int(source) <= last for first, last in found)


@settings(max_examples=1000, deadline=None)
@given(SEGMENTS, ADDRESS, PACKET)
def test_backends_are_told_of_exactly_those_whom_the_verdict_lets_in(
    policy: Segment, source: Address, packet: tuple[str, int | None]
) -> None:
    openings = policy.openings(source.version)
    for_it = [one for one in openings if one.service.covers(*packet, source.version)]
    told = among(source, policy.sources(source.version)) or any(among(source, one.sources) for one in for_it)
    assert told == verdict.judge(policy, source, *packet).accept
    # Who asks the first one that a packet is for need not ask another.
    assert any(among(source, one.sources) for one in for_it) == any(among(source, one.sources) for one in for_it[:1])


@given(SEGMENTS, ADDRESS, SERVICE)
def test_the_parts_of_a_service_are_all_of_it_and_each_packet_meets_the_verdict_of_its_part(
    policy: Segment, source: Address, service: Service
) -> None:
    found = verdict.parts(policy, source, service)
    for protocol, port in [
        *(("tcp", port) for port in range(1, 8)),
        *(("udp", port) for port in range(1, 8)),
        ("47", None),
    ]:
        judged = [said for part, said in found if part.covers(protocol, port, source.version)]
        asked = service.covers(protocol, port, source.version)
        assert judged == ([verdict.judge(policy, source, protocol, port)] if asked else [])
    assert all(one != other for (_, one), (_, other) in zip(found, found[1:])), "parts that meet one verdict are one"


def test_a_ping_is_a_part_of_its_own_of_all_that_ipv6_calls_icmp() -> None:
    found = verdict.parts(segment("icmp"), NOBODY, Service("58"))
    assert [(str(part), said.accept) for part, said in found] == [("icmp", True), ("proto/58", False)]


@given(SEGMENTS)
def test_backends_are_told_of_each_port_once_and_of_none_that_is_open_to_nobody(policy: Segment) -> None:
    for version in (4, 6):
        openings = policy.openings(version)
        ports = [one.service for one in openings if one.service.first is not None]
        for protocol in ("tcp", "udp"):
            for port in range(1, 7):
                assert sum(one.covers(protocol, port, version) for one in ports) <= 1
        assert len({opening.service for opening in openings}) == len(openings)
        assert all(opening.sources is None or opening.sources for opening in openings)
        assert all(one.version == version for opening in openings for one in opening.sources or ())


def test_ping_is_part_of_protocol_58_in_ipv6_and_only_there() -> None:
    found = segment("icmp@10.0.0.4,proto/58@10.0.0.2,icmp@fd00::4,proto/58@fd00::2")
    told = [[(str(one.service), len(one.sources or ())) for one in found.openings(version)] for version in (4, 6)]
    assert told == [[("icmp", 1), ("proto/58", 1)], [("icmp", 2), ("proto/58", 1)]]


def test_ranges_are_split_where_they_overlap_and_nowhere_else() -> None:
    found = segment("tcp/22@tag:bastion,tcp/1-1024@tag:web,tcp/2000-2010@tag:web,proto/6@10.0.7.0/24,icmp").openings(
        4
    )
    assert [(str(one.service), " ".join(map(str, one.sources or ["everyone"]))) for one in found] == [
        ("tcp/22", "10.0.0.4 10.0.0.2 10.0.7.0/24"),
        ("tcp/1-21", "10.0.0.2 10.0.7.0/24"),
        ("tcp/23-1024", "10.0.0.2 10.0.7.0/24"),
        ("tcp/2000-2010", "10.0.0.2 10.0.7.0/24"),
        ("proto/6", "10.0.7.0/24"),
        ("icmp", "everyone"),
    ]
