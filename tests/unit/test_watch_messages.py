"""What the watcher makes of what the kernel tells; tests/unit/netlink holds what a real one told."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from droplan_boot.firewall import nflog as agreed
from droplan_boot.host import netlink
from droplan_boot.watch import nflog
from droplan_boot.watch.links import Links
from droplan_boot.watch.rulesets import MAYBE, SURE, Change, Transactions

TOLD = Path(__file__).parent / "netlink"


def told(name: str) -> list[bytes]:
    """Return what the reads returned while something happened."""
    return [bytes.fromhex(line) for line in (TOLD / f"{name}.hex").read_text().split()]


def packets(name: str) -> list[nflog.ShutOut]:
    found = [nflog.parse(payload) for data in told(name) for _, payload in netlink.messages(data)]
    return [each for each in found if each]


def changes(name: str) -> list[tuple[int, str, bool]]:
    transactions = Transactions()
    return [(each.level, each.process, each.removed) for data in told(name) for each in transactions.hear(data)]


def log_message(packet: bytes, prefix: bytes = b"droplan-drop-private\0", index: int = 3) -> bytes:
    """Write the payload of a message as the kernel does."""
    return (
        struct.pack("!BBH", 2, 0, agreed.GROUP)
        + netlink.attribute(4, struct.pack("!I", index))
        + netlink.attribute(9, packet)
        + netlink.attribute(10, prefix)
    )


def ipv4(protocol: int, rest: bytes, *, options: int = 0, fragment: int = 0) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45 + options, 0, 0, 0, fragment, 64, protocol, 0)
    ends = socket.inet_aton("10.132.0.5") + socket.inet_aton("10.132.0.2")
    return head + ends + bytes(4 * options) + rest


def ipv6(following: int, rest: bytes) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, "fe80::5") + socket.inet_pton(socket.AF_INET6, "fe80::2")
    return struct.pack("!IHBB", 6 << 28, len(rest), following, 64) + ends + rest


PORTS = struct.pack("!HH", 40000, 5432)


class TestPackets:
    def test_a_syn_tells_who_asked_whom_for_what(self) -> None:
        first = packets("packet-tcp")[0]
        assert (first.source, first.destination) == ("127.0.0.1", "127.0.0.1")
        assert (first.protocol, first.port, first.interface) == ("tcp", 5432, 1)
        assert (first.public, first.observed) == (False, False)

    def test_so_does_a_datagram_over_ipv6_and_the_icmp_error_that_answers_it(self) -> None:
        found = [(each.source, each.protocol, each.port) for each in packets("packet-udp6")]
        assert found == [("::1", "udp", 53), ("::1", "icmp", 0)]

    @pytest.mark.parametrize(
        ("packet", "protocol", "port"),
        [
            pytest.param(ipv4(6, PORTS), "tcp", 5432, id="plain"),
            pytest.param(ipv4(17, PORTS, options=3), "udp", 5432, id="options come before the ports"),
            pytest.param(ipv4(6, PORTS, fragment=1), "tcp", 0, id="a later fragment has no ports"),
            pytest.param(ipv4(6, PORTS[:3]), "tcp", 0, id="cut short before its port"),
            pytest.param(ipv4(1, PORTS), "icmp", 0, id="icmp has none"),
            pytest.param(ipv4(47, PORTS), "proto/47", 0, id="neither has any other"),
            pytest.param(ipv6(58, PORTS), "icmp", 0, id="icmp of IPv6"),
            pytest.param(ipv6(0, bytes([6, 0]) + bytes(6) + PORTS), "tcp", 5432, id="behind an extension"),
            pytest.param(ipv6(60, bytes([43, 1]) + bytes(14) + bytes([17, 0]) + bytes(6) + PORTS), "udp", 5432,
                         id="behind two"),
            pytest.param(ipv6(44, bytes([6, 0, 0, 1]) + bytes(4) + PORTS), "tcp", 5432, id="a first fragment"),
            pytest.param(ipv6(44, bytes([6, 0, 0, 8]) + bytes(4) + PORTS), "tcp", 0, id="a later one"),
        ],
    )  # fmt: skip
    def test_headers_may_have_any_lawful_shape(self, packet: bytes, protocol: str, port: int) -> None:
        found = nflog.parse(log_message(packet))
        assert found
        assert (found.protocol, found.port) == (protocol, port)

    @pytest.mark.parametrize(
        "packet", [b"", b"\x45", ipv4(6, b"")[:19], ipv6(6, b"")[:39], b"\x00" * 60, b"\x85" + bytes(60)]
    )
    def test_what_is_no_ip_packet_is_none(self, packet: bytes) -> None:
        assert nflog.parse(log_message(packet)) is None

    @pytest.mark.parametrize("public", [False, True])
    @pytest.mark.parametrize("observe", [False, True])
    def test_the_prefix_tells_the_network_and_whether_it_passed(self, public: bool, observe: bool) -> None:
        prefix = agreed.prefix(public=public, observe=observe).encode()
        found = nflog.parse(log_message(ipv4(6, PORTS), prefix + b"\0"))
        assert found
        assert (found.public, found.observed) == (public, observe)

    @pytest.mark.parametrize(
        "prefix", [b"", b"ufw", b"droplan-", b"droplan-drop", b"droplan-drop-x", b"droplan-x-public", b"\xff\xfe"]
    )
    def test_what_others_send_to_the_group_is_not_ours(self, prefix: bytes) -> None:
        assert nflog.parse(log_message(ipv4(6, PORTS), prefix)) is None

    def test_a_copy_holds_the_ports_behind_the_longest_header(self) -> None:
        assert agreed.COPY_BYTES >= 60 + 4


class TestRulesets:
    def test_a_flush_of_everything_touches_us_and_removes_our_table(self) -> None:
        assert changes("nft-flush-ruleset") == [(SURE, "nft", True)]

    def test_so_does_a_flush_by_iptables_which_removes_none(self) -> None:
        assert changes("iptables-flush") == [(SURE, "iptables-nft", False)]

    @pytest.mark.parametrize("name", ["iptables-append-input", "iptables-delete-input"])
    def test_a_rule_of_others_beside_ours_may_matter(self, name: str) -> None:
        assert changes(name) == [(MAYBE, "iptables-nft", False)]

    @pytest.mark.parametrize("name", ["iptables-docker", "nft-element-of-others"])
    def test_chains_and_tables_of_others_do_not_concern_us(self, name: str) -> None:
        assert changes(name) == []

    @pytest.mark.parametrize(("name", "process"), [("nft-own-table", "nft"), ("iptables-peers", "iptables-nft-re")])
    def test_what_is_written_with_our_tools_while_a_droplan_works_is_its_own(self, name: str, process: str) -> None:
        ((level, found, removed),) = changes(name)
        assert (level, found, removed) == (SURE, process, False)
        assert not Change(level, found, removed).foreign(busy=True)
        assert Change(level, found, removed).foreign(busy=False)

    @pytest.mark.parametrize("name", ["nft-flush-ruleset", "iptables-flush", "iptables-delete-input"])
    def test_what_others_do_meanwhile_is_theirs(self, name: str) -> None:
        assert all(Change(*each).foreign(busy=True) for each in changes(name))

    def test_a_transaction_told_in_several_reads_is_one(self) -> None:
        transactions = Transactions()
        every = b"".join(told("nft-flush-ruleset"))
        parts = _split(every)
        heard = [change for part in parts for change in transactions.hear(part)]
        assert len(parts) > 2
        assert [(each.level, each.removed) for each in heard] == [(SURE, True)]

    def test_and_leaves_nothing_behind_for_the_next(self) -> None:
        transactions = Transactions()
        for data in (*told("iptables-flush"), *told("iptables-docker")):
            heard = transactions.hear(data)
        assert heard == []


def _split(data: bytes) -> list[bytes]:
    """Take apart what one read returned, a message each."""
    return [netlink.request(kind, 0, payload) + bytes(-len(payload) % 4) for kind, payload in netlink.messages(data)]


class TestLinks:
    @staticmethod
    def known() -> Links:
        """Return links of which eth1, a card, was seen a moment ago."""
        links = Links(["eth1", "vpc0"])
        links.hear(told("link-renamed")[0])
        return links

    def test_a_covered_link_that_goes_down_or_up_is_as_it_was(self) -> None:
        assert not self.known().hear(told("link-renamed")[1])

    def test_one_that_is_renamed_is_not(self) -> None:
        links = self.known()
        links.covered = frozenset(["eth1"])
        assert any(links.hear(data) for data in told("link-renamed")[1:])

    def test_one_that_is_enslaved_is_not(self) -> None:
        links = Links(["vpc0"])
        for data in told("link-renamed"):
            links.hear(data)
        assert any(links.hear(data) for data in told("link-enslaved"))

    def test_one_that_goes_is_not(self) -> None:
        links = Links(["vpc0"])
        for data in (*told("link-renamed"), *told("link-enslaved")):
            links.hear(data)
        assert any(links.hear(data) for data in told("link-gone"))

    def test_containers_links_come_and_go_unheeded(self) -> None:
        links = Links(["eth1"])
        assert not any(links.hear(data) for data in told("link-of-a-container"))

    def test_a_card_is_heeded_whatever_its_name(self) -> None:
        # A link of no kind: a real device. The kernel leaves IFLA_LINKINFO out.
        payload = struct.pack("=BBHiII", 0, 0, 1, 7, 0, 0) + netlink.attribute(3, b"ens9\0")
        assert Links([]).hear(netlink.request(16, 0, payload))

    def test_a_new_address_is_heeded_once(self) -> None:
        links = Links(["eth1"])
        assert [any(links.hear(data) for data in told("address-added")) for _ in range(2)] == [True, False]


class TestNetlink:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\0" * 15,
            struct.pack("=IHHII", 15, 1, 0, 0, 0),
            struct.pack("=IHHII", 17, 1, 0, 0, 0),
            struct.pack("=IHHII", 0xFFFFFFFF, 1, 0, 0, 0),
        ],
    )
    def test_a_message_that_lies_about_its_length_is_none(self, data: bytes) -> None:
        assert list(netlink.messages(data)) == []

    def test_a_message_before_it_counts(self) -> None:
        whole = netlink.request(5, 0, b"abcd")
        assert list(netlink.messages(whole + b"\xff" * 20)) == [(5, b"abcd")]

    @pytest.mark.parametrize(
        "tail", [b"", b"\x00", b"\x03\x00\x01\x00", b"\xff\xff\x01\x00", b"\x08\x00\x01\x00\x01"]
    )
    def test_attributes_end_where_they_make_no_sense(self, tail: bytes) -> None:
        assert netlink.attributes(netlink.attribute(0x8004, b"abc") + tail) == {4: b"abc"}
