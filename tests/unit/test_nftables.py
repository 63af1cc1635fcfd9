"""The guard in nftables, against an nft in memory; tests/lab/test_nftables.py has the real one."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_boot.access.allow import Allow
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.access.services import Service
from droplan_boot.errors import CommandError, FirewallError
from droplan_boot.firewall import nft_guard, nft_table
from droplan_boot.firewall.backend import drift
from droplan_boot.firewall.nftables import Nftables
from droplan_boot.host.command import Completed
from droplan_boot.networks import Interval, intervals
from tests.golden.scenarios import SCENARIOS

GOLDEN = Path(__file__).parent.parent / "golden" / "nftables"


def allow(source: str | None, protocol: str | None = None, port: int | None = None) -> Allow:
    service = Service(protocol, port, port) if protocol else None
    return Allow(ipaddress.ip_network(source) if source else None, service)


def segment(
    *peers: str, interfaces: Sequence[str] = ("eth1",), allowed: Sequence[Allow] = (), public: bool = False
) -> Segment:
    return Segment(public, tuple(interfaces), tuple(ipaddress.ip_address(peer) for peer in peers), tuple(allowed))


def private(*peers: str) -> Policy:
    return Policy((segment(*peers),))


ALLOWED = (
    allow("203.0.113.0/24"),
    allow("198.51.100.0/24", "tcp", 5432),
    allow("192.0.2.7/32", "tcp", 5432),
    allow(None, "tcp", 443),
    allow("0.0.0.0/0", "udp", 53),
    allow("2001:db8::/32", "tcp", 22),
)
EVERYTHING = Policy(
    (
        replace(
            segment(
                *("10.132.0.3", "10.132.0.4", "10.132.0.5", "10.132.9.9"),
                interfaces=("eth1", "eth2"),
                allowed=ALLOWED,
            ),
            networks=(ipaddress.ip_network("10.132.0.0/16"),),
            outside=("eth0", "eth3"),
        ),
        replace(
            segment(
                *("104.236.32.3", "2604:a880::3", "::ffff:192.0.2.1"),
                interfaces=("eth0",),
                allowed=(allow("255.255.255.0/24"), allow("0.0.0.0/1"), allow("2001:db8::/33")),
                public=True,
            ),
            # More than are asked one after the other, some of them neighbours.
            ports=tuple(Service("udp", *ports) for ports in ((53, 53), (67, 68), (69, 70), (5000, 5999)))
            + tuple(Service("udp", port, port) for port in range(9001, 9013, 2)),
        ),
    ),
    metadata="169.254.169.254",
)
"""What tests/golden/nftables/listed-by-*.txt were made of: render it, load it, `nft list table inet droplan`."""


class Nft:
    """nft with no table but ours, as strict as the real one about what is not there.

    Args:
        text: the table it begins with.
        meanwhile: called after each transaction with the table's text; returns what another program makes of it.
    """

    def __init__(self, text: str = "", meanwhile: Callable[[str], str] = lambda text: text) -> None:
        self.text = text
        self.scripts: list[str] = []
        self._meanwhile = meanwhile

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
        if list(argv) == ["nft", "list", "table", "inet", "droplan"]:
            absent = Completed(tuple(argv), 1, "", "Error: No such file or directory\nlist table inet droplan\n")
            return Completed(tuple(argv), 0, self.text, "") if self.text else absent
        assert list(argv) == ["nft", "-f", "-"]
        self.scripts.append(stdin)
        self.text = self._meanwhile(self._after(stdin))
        return Completed(tuple(argv), 0, "", "")

    def _after(self, script: str) -> str:
        head = "add table inet droplan\ndelete table inet droplan\n"
        if script.startswith(head):
            return script[len(head) :]
        table = nft_table.parse(self.text)
        if table is None or table.strange:
            raise CommandError("Error: No such file or directory")
        sets = {name: list(held) for name, held in table.sets.items()}
        chains = {name: list(rules) for name, rules in table.chains.items()}
        for line in script.splitlines():
            self._apply(line, sets, chains)
        return nft_table.render(
            nft_table.Table(
                {name: tuple(sorted(held)) for name, held in sets.items()},
                {name: tuple(rules) for name, rules in chains.items()},
            )
        )

    def _apply(self, line: str, sets: dict[str, list[Interval]], chains: dict[str, list[str]]) -> None:
        """Do one line, as strictly as nft: what is not there cannot be flushed, what is jumped to not deleted."""
        found = re.fullmatch(r"(add|flush|delete) (set|element|chain|rule) inet droplan (\S+) ?(.*)", line)
        assert found, line
        verb, kind, name, rest = found.groups()
        there = name in (sets if kind in ("set", "element") else chains)
        if not there and (verb, kind) not in (("add", "set"), ("add", "chain")):
            raise CommandError("Error: No such file or directory")
        if kind == "element":
            self._change(sets[name], verb, name, rest)
        elif kind == "rule":
            chains[name].append(rest)
        elif verb == "delete":
            used = f"@{name}" if kind == "set" else f"goto {name}"
            if any(rule.endswith(used) or f"{used} " in rule for rules in chains.values() for rule in rules):
                raise CommandError("Error: Device or resource busy")
            del (sets if kind == "set" else chains)[name]
        elif kind == "set":
            sets[name] = []
        else:
            kept = [rule for rule in chains.get(name, []) if rule.startswith("type ")]
            chains[name] = [rest[2:-2]] if rest else kept

    @staticmethod
    def _change(held: list[Interval], verb: str, name: str, changed: str) -> None:
        flags = "\t\tflags interval\n" if "networks" in name else ""
        block = f"table inet droplan {{\n\tset {name} {{\n\t\ttype {TYPES[name[-1]]}\n{flags}"
        table = nft_table.parse(f"{block}\t\telements = {changed}\n\t}}\n}}\n")
        assert table
        for interval in table.sets[name]:
            if (interval in held) is (verb == "add"):
                raise CommandError(f"Error: Could not process rule: {interval}")
            held.append(interval) if verb == "add" else held.remove(interval)


TYPES = {"4": "ipv4_addr", "6": "ipv6_addr"}


def rendered(policy: Policy) -> str:
    table = nft_guard.build(policy)
    assert table
    return nft_table.render(table)


class TestRules:
    def test_a_policy_that_guards_nothing_is_no_table(self) -> None:
        assert nft_guard.build(Policy(())) is None

    def test_a_packet_passes_as_many_rules_however_many_peers_there_are(self) -> None:
        few, many = private("10.0.0.1"), private(*(f"10.{n // 250}.{n % 250}.1" for n in range(5000)))
        assert rendered(few).count("\n") == rendered(many).count("\n")


addresses = st.integers(0, 300).map(lambda offset: ipaddress.ip_address(0x0A8400F0 + offset))
networks = st.tuples(st.integers(0, 300), st.integers(24, 32)).map(
    lambda drawn: ipaddress.ip_network((0x0A8400F0 + drawn[0], drawn[1]), strict=False)
)
at_the_ends = st.sampled_from(["0.0.0.0/32", "255.255.255.255/32", "0.0.0.0/1", "128.0.0.0/1"]).map(
    ipaddress.ip_network
)


class TestIntervals:
    @given(st.lists(addresses), st.lists(networks))
    def test_they_hold_the_peers_and_the_allowed_and_no_address_more(
        self, peers: list[ipaddress.IPv4Address], allowed: list[ipaddress.IPv4Network]
    ) -> None:
        entries = tuple(Allow(network) for network in allowed)
        merged = intervals(Segment(False, ("eth1",), tuple(peers), entries).sources(4), 4)

        held = {address for first, last in merged for address in range(first, last + 1)}
        assert held == {int(peer) for peer in peers} | {int(one) for network in allowed for one in network}

    @given(st.lists(st.one_of(networks, at_the_ends)))
    def test_they_are_as_few_as_can_be(self, allowed: list[ipaddress.IPv4Network]) -> None:
        merged = intervals(allowed, 4)

        assert all(first <= last for first, last in merged)
        assert all(last + 1 < first for (_, last), (first, _) in zip(merged, merged[1:]))

    @given(st.lists(st.one_of(networks, at_the_ends)), st.lists(st.integers(0, 2**128 - 1)))
    def test_what_is_written_reads_back_the_same(self, wide: list[ipaddress.IPv4Network], six: list[int]) -> None:
        peers = tuple(ipaddress.IPv6Address(number) for number in six)
        table = nft_guard.build(Policy((Segment(True, ("eth0",), peers, tuple(Allow(one) for one in wide)),)))

        assert table
        assert nft_table.parse(nft_table.render(table)) == table

    def test_one_version_has_no_address_of_the_other(self) -> None:
        both = segment("10.132.0.3", "2604:a880::3", allowed=(allow("203.0.113.0/24"), allow("2001:db8::/32")))
        assert [last < 2**32 for _, last in intervals(both.sources(4), 4)] == [True, True]
        assert [last < 2**32 for _, last in intervals(both.sources(6), 6)] == [False, False]


class TestReading:
    @pytest.mark.parametrize("version", ["0.9.8", "1.0.6", "1.1.3", "1.1.7"])
    def test_every_version_of_nft_is_understood(self, version: str) -> None:
        listed = (GOLDEN / f"listed-by-{version}.txt").read_text()
        assert drift(Nftables(Nft(listed)), EVERYTHING) == ()

    @pytest.mark.parametrize("size", ["size 4096", "size 4096\t# count 2"], ids=["until 1.1.3", "1.1.7"])
    def test_who_was_heard_of_a_moment_ago_is_no_drift(self, size: str) -> None:
        listed = (GOLDEN / "listed-by-1.1.7.txt").read_text()
        heard = "elements = { 10.132.7.7 limit rate 1/second expires 9s,\n\t\t\t     10.132.7.8 expires 3s990ms }"
        empty = "\t\tsize 4096\n\t\tflags dynamic,timeout\n\t\ttimeout 10s\n"
        assert empty in listed
        full = f"\t\t{size}\n\t\tflags dynamic,timeout\n\t\ttimeout 10s\n\t\t{heard}\n"
        assert drift(Nftables(Nft(listed.replace(empty, full))), EVERYTHING) == ()

    def test_a_table_that_cannot_be_read_is_an_error_and_not_an_absent_one(self) -> None:
        class Forbidden(Nft):
            def run(self, argv: Sequence[str], **_: object) -> Completed:
                return Completed(tuple(argv), 1, "", "Error: Operation not permitted (you must be root)\n")

        with pytest.raises(FirewallError, match="Operation not permitted"):
            Nftables(Forbidden()).apply(private("10.132.0.3"))


TAMPERED = {
    "chain droplan-refuse is altered": ("\t\tdrop\n", "\t\taccept\n"),
    "chain prerouting is altered": ('\t\tiifname "eth1" goto droplan-private\n', ""),
    "chain droplan-private is altered": ("\t\tct direction reply", "\t\taccept\n\t\tct direction reply"),
    "chain mine should not be there": ("\tchain prerouting {", "\tchain mine {\n\t}\n\n\tchain prerouting {"),
    "chain prerouting is missing": ("chain prerouting {", "chain preroutings {"),
    "table inet droplan has what is not ours: flags dormant": ("droplan {\n", "droplan {\n\tflags dormant\n\n", 1),
    "table inet droplan has what is not ours: map m": (
        "\tset",
        "\tmap m {\n\t\ttype mark : verdict\n\t}\n\n\tset",
        1,
    ),
    "table inet droplan has what is not ours: set mine": ("\tset", "\tset mine {\n\t\ttype mark\n\t}\n\n\tset", 1),
    "table inet droplan has what is not ours: set droplan-addresses4": ("10.132.0.9 }", "10.132.0.9 timeout 1h }"),
    "table inet droplan has what is not ours: set droplan-addresses6": ("ipv6_addr\n", "ipv6_addr\n\t\ttimeout 1h\n"),
    "set droplan-addresses4 lacks 1 element": ("10.132.0.3, ", ""),
    "set droplan-addresses4 has 1 element too many": ("10.132.0.3", "10.132.0.3, 10.132.0.6"),
    "set droplan-addresses4 lacks 1 element and has 1 element too many": ("10.132.0.9 }", "10.132.0.9-10.132.0.11 }"),
}


class TestDrift:
    def test_there_is_none_in_what_was_applied(self) -> None:
        for policy in (*(one.policy for one in SCENARIOS.values()), EVERYTHING):
            backend = Nftables(Nft())
            assert backend.apply(policy)
            assert drift(backend, policy) == ()

    def test_no_table_at_all_is_drift(self) -> None:
        assert drift(Nftables(Nft()), private()) == ("table inet droplan is missing",)

    @pytest.mark.parametrize("line", TAMPERED)
    def test_what_others_do_to_our_table_is_told_and_repaired(self, line: str) -> None:
        policy = private("10.132.0.3", "10.132.0.9")
        text = rendered(policy)
        altered = text.replace(*TAMPERED[line])  # type: ignore[arg-type]
        assert altered != text
        nft = Nft(altered)

        assert line in drift(Nftables(nft), policy)
        assert Nftables(nft).apply(policy)
        assert drift(Nftables(nft), policy) == ()


FORMER = """\
table inet droplan {
	set droplan-peers4 {
		type ipv4_addr
		flags interval
		elements = { 10.132.0.3, 10.132.0.9 }
	}

	set droplan-peers6 {
		type ipv6_addr
		flags interval
	}

	chain droplan-peers {
		ct direction reply ct state established,related accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		ip saddr @droplan-peers4 accept
		ip6 saddr @droplan-peers6 accept
		drop
	}

	chain input {
		type filter hook input priority -20; policy accept;
		iifname "eth1" jump droplan-peers
	}
}
"""
"""What droplan 1.0.0 wrote for two peers, its chains for FORWARD left out."""


class TestApply:
    def test_it_writes_nothing_when_nothing_differs(self) -> None:
        nft = Nft(rendered(EVERYTHING))
        assert Nftables(nft).apply(EVERYTHING) is False
        assert nft.scripts == []

    def test_a_table_is_spelled_once_for_a_policy_and_anew_for_another(self) -> None:
        guard = Nftables(Nft())
        one, other = private("10.132.0.3"), private("10.132.0.9")
        spelled = guard.wanted(one)
        assert guard.wanted(one) is spelled
        assert guard.wanted(other) == nft_guard.build(other) != spelled

    def test_a_first_table_is_one_transaction(self) -> None:
        nft = Nft()
        assert Nftables(nft).apply(EVERYTHING) is True
        assert nft.scripts == ["add table inet droplan\ndelete table inet droplan\n" + rendered(EVERYTHING)]

    def test_a_peer_more_and_one_less_are_two_elements(self) -> None:
        nft = Nft(rendered(private("10.132.0.3", "10.132.0.9")))
        assert Nftables(nft).apply(private("10.132.0.3", "10.132.0.20"))
        assert nft.scripts == [
            (
                "delete element inet droplan droplan-addresses4 { 10.132.0.9 }\n"
                "add element inet droplan droplan-addresses4 { 10.132.0.20 }\n"
            )
        ]

    def test_an_allowed_network_next_to_another_grows_the_interval(self) -> None:
        one, two = (
            Policy((segment(allowed=[allow(each) for each in ("10.200.0.0/16", "10.201.0.0/16")[:number]]),))
            for number in (1, 2)
        )
        nft = Nft(rendered(one))
        assert Nftables(nft).apply(two)
        assert nft.scripts == [
            (
                "delete element inet droplan droplan-networks4 { 10.200.0.0-10.200.255.255 }\n"
                "add element inet droplan droplan-networks4 { 10.200.0.0-10.201.255.255 }\n"
            )
        ]

    def test_many_new_peers_are_added_without_writing_the_old_ones(self) -> None:
        old, new = [f"10.132.0.{n}" for n in range(1, 100, 2)], [f"10.132.1.{n}" for n in range(1, 100, 2)]
        nft = Nft(rendered(private(*old)))
        assert Nftables(nft).apply(private(*old, *new))
        assert nft.scripts == [f"add element inet droplan droplan-addresses4 {{ {', '.join(new)} }}\n"]

    def test_more_deletions_than_are_worth_it_fill_a_set_of_intervals_anew(self) -> None:
        old = [f"10.{n}.0.0/16" for n in range(1, 100, 2)]
        few, many = old[nft_table.DELETIONS :], old[2 * nft_table.DELETIONS + 1 :]
        nft = Nft(rendered(Policy((segment(allowed=[allow(one) for one in old]),))))
        Nftables(nft).apply(Policy((segment(allowed=[allow(one) for one in few]),)))
        Nftables(nft).apply(Policy((segment(allowed=[allow(one) for one in many]),)))
        assert [script.split()[0] for script in nft.scripts] == ["delete", "flush"]

    def test_single_addresses_are_always_changed_one_by_one(self) -> None:
        old = [f"10.132.0.{n}" for n in range(1, 100, 2)]
        nft = Nft(rendered(private(*old)))
        Nftables(nft).apply(private(*old[2 * nft_table.DELETIONS :]))
        assert [script.split()[:2] for script in nft.scripts] == [["delete", "element"]]

    def test_the_table_of_1_0_0_is_changed_where_it_stands(self) -> None:
        nft = Nft(FORMER)
        assert Nftables(nft).apply(private("10.132.0.3", "10.132.0.9"))
        assert nft_table.parse(nft.text) == nft_guard.build(private("10.132.0.3", "10.132.0.9"))
        assert len(nft.scripts) == 1
        assert "table inet droplan\n" not in nft.scripts[0]

    @pytest.mark.parametrize("new", SCENARIOS)
    @pytest.mark.parametrize("old", SCENARIOS)
    def test_a_table_that_stands_is_not_replaced_whatever_changes(self, old: str, new: str) -> None:
        nft = Nft(rendered(SCENARIOS[old].policy))
        assert Nftables(nft).apply(SCENARIOS[new].policy) is (old != new)
        assert nft_table.parse(nft.text) == nft_guard.build(SCENARIOS[new].policy)
        assert not any("table inet droplan\n" in script for script in nft.scripts)

    def test_a_small_change_that_fails_becomes_a_whole_table(self) -> None:
        class Older(Nft):
            """As 0.9.8 does with an interval that grows."""

            def _after(self, script: str) -> str:
                if "element inet" in script:
                    raise CommandError("Error: Could not process rule: File exists")
                return super()._after(script)

        wanted = private("10.132.0.3", "10.132.0.4")
        nft = Older(rendered(private("10.132.0.3")))
        assert Nftables(nft).apply(wanted)
        assert nft.text == rendered(wanted)

    def test_a_flush_between_writing_and_reading_is_made_good(self) -> None:
        flushes = iter([True, False])
        nft = Nft(meanwhile=lambda text: "" if next(flushes) else text)
        assert Nftables(nft).apply(private("10.132.0.3"))
        assert nft.text == rendered(private("10.132.0.3"))

    def test_when_it_never_becomes_what_was_asked_all_is_as_before(self) -> None:
        before = rendered(private("10.132.0.3"))
        nft = Nft(before, meanwhile=lambda text: text.replace("\t\tdrop\n", "") if "10.132.0.9" in text else text)
        with pytest.raises(FirewallError, match=r"droplan-refuse is altered.*another program"):
            Nftables(nft).apply(private("10.132.0.9"))
        assert nft.text == before

    def test_what_nft_refuses_is_an_error_with_its_words(self) -> None:
        class Refusing(Nft):
            def _after(self, script: str) -> str:
                raise CommandError("`nft -f -` ended with status 1: No buffer space available")

        before = rendered(private("10.132.0.3"))
        nft = Refusing(before)
        with pytest.raises(FirewallError, match="No buffer space"):
            Nftables(nft).apply(private("10.132.0.9"))
        assert nft.text == before

    def test_a_policy_that_guards_nothing_takes_the_table_away(self) -> None:
        nft = Nft(rendered(EVERYTHING))
        assert Nftables(nft).apply(Policy(()))
        assert nft.text == ""


class TestRemove:
    def test_it_takes_the_table_away_whatever_is_in_it(self) -> None:
        nft = Nft(rendered(EVERYTHING).replace("drop", "accept"))
        assert Nftables(nft).remove(None) is True
        assert nft.text == ""

    def test_it_says_when_there_was_none(self) -> None:
        nft = Nft()
        assert Nftables(nft).remove(EVERYTHING) is False
        assert nft.scripts == []
