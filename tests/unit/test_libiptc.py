"""Edits through python-iptables: our spelling in its words, under the lock, in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from droplan_boot.errors import DroplanError
from droplan_boot.firewall import edits, libiptc
from droplan_boot.firewall.libiptc import LibiptcWriter
from droplan_boot.firewall.ruleset import REPLIES
from droplan_boot.host import lock

KNOCK = ("-s 10.0.0.2/32 -j ACCEPT",)


class Noted:
    """Anything of python-iptables'; it notes what is done to it."""

    done: list[Any]
    name: str

    def __init__(self, done: list[Any], name: str) -> None:
        self.__dict__["done"], self.__dict__["name"] = done, name

    def __setattr__(self, name: str, value: Any) -> None:
        self.done.append((self.name, name, value))


class Rule(Noted):
    """A rule."""

    def __init__(self, done: list[Any]) -> None:
        super().__init__(done, "rule")

    def create_target(self, name: str, goto: bool = False) -> Noted:
        self.done.append(("goto" if goto else "jump", name))
        return Noted(self.done, name)

    def create_match(self, name: str) -> Noted:
        self.done.append(("match", name))
        return Noted(self.done, name)


class Iptc:
    """The part of python-iptables that we use."""

    def __init__(self, lock_file: Path) -> None:
        self.done: list[Any] = []
        iptc = self

        class Table:
            FILTER = "filter"

            def __init__(self, name: str, autocommit: bool) -> None:
                assert (name in ("filter", "mangle"), autocommit) == (True, False)

            def __getattr__(self, verb: str) -> Any:
                def note(*args: Any) -> bool:
                    if verb in ("refresh", "commit"):
                        with pytest.raises(Exception, match="has held"), lock.held(lock_file, wait=0):
                            pass
                    if verb != "is_chain":
                        iptc.done.append((verb, *args))
                    return "old" in args[0] if args else True

                return note

        class Chain:
            def __init__(self, table: Table, name: str) -> None:
                self.name = name

            def __getattr__(self, verb: str) -> Any:
                return lambda rule, *place: iptc.done.append((verb, self.name, *place))

        self.Table, self.Table6, self.Chain = Table, Table, Chain

    def Rule(self) -> Rule:  # noqa: N802
        return Rule(self.done)

    Rule6 = Rule


class Bulk:
    """A writer that remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[Sequence[edits.Edit]] = []

    def write(self, version: int, table: str, planned: Sequence[edits.Edit]) -> None:
        self.given.append(planned)


@pytest.fixture
def iptc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iptc:
    """Return a stand-in, and a lock of the test's own."""
    monkeypatch.setattr(libiptc, "_XTABLES_LOCK", tmp_path / "xtables.lock")
    return Iptc(tmp_path / "xtables.lock")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("-s 10.0.0.2/32 -j ACCEPT", [("rule", "src", "10.0.0.2/32"), ("jump", "ACCEPT")]),
        ("-s 10.0.0.0/8 -g droplan-t-1", [("rule", "src", "10.0.0.0/8"), ("goto", "droplan-t-1")]),
        ("-i eth1 -j droplan-peers", [("rule", "in_interface", "eth1"), ("jump", "droplan-peers")]),
        (
            f"-i eth1 {REPLIES} -j ACCEPT",
            [
                ("rule", "in_interface", "eth1"),
                ("match", "conntrack"),
                ("conntrack", "ctstate", "RELATED,ESTABLISHED"),
                ("conntrack", "ctdir", "REPLY"),
                ("jump", "ACCEPT"),
            ],
        ),
        (
            "-p tcp -m tcp --dport 22 -j ACCEPT",
            [("rule", "protocol", "tcp"), ("match", "tcp"), ("tcp", "dport", "22"), ("jump", "ACCEPT")],
        ),
        (
            "-p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT",
            [
                ("rule", "protocol", "icmpv6"),
                ("match", "icmp6"),
                ("icmp6", "icmpv6_type", "135"),
                ("jump", "ACCEPT"),
            ],
        ),
        (
            "-j REJECT --reject-with icmp-port-unreachable",
            [("jump", "REJECT"), ("REJECT", "reject_with", "icmp-port-unreachable")],
        ),
    ],
)
def test_a_rule_is_spelled_in_its_words(rule: str, words: list[Any], iptc: Iptc) -> None:
    LibiptcWriter(iptc, Bulk()).write(4, "filter", [edits.Insert("INPUT", 1, rule)])
    assert iptc.done == [("refresh",), *words, ("insert_rule", "INPUT", 0), ("commit",), ("close",)]


def test_chains_are_made_before_rules_lead_to_them_and_emptied_before_they_go(iptc: Iptc) -> None:
    planned: list[edits.Edit] = [
        edits.Fill("droplan-new", KNOCK),
        edits.Fill("droplan-old", ()),
        edits.Delete("INPUT", "-j droplan-older"),
        edits.Erase("droplan-older"),
    ]
    LibiptcWriter(iptc, Bulk()).write(6, "filter", planned)
    verbs = [step[:2] for step in iptc.done if step[0] not in ("rule", "jump")]
    assert verbs == [
        ("refresh",),
        ("create_chain", "droplan-new"),
        ("flush_entries", "droplan-old"),
        ("append_rule", "droplan-new"),
        ("delete_rule", "INPUT"),
        ("flush_entries", "droplan-older"),
        ("delete_chain", "droplan-older"),
        ("commit",),
        ("close",),
    ]


@pytest.mark.parametrize(("rules", "bulk"), [(libiptc.BULK - 1, False), (libiptc.BULK, True)])
def test_many_rules_at_once_go_through_restore(rules: int, bulk: bool, iptc: Iptc) -> None:
    other = Bulk()
    planned = [edits.Fill("droplan-peers", KNOCK * rules)]
    LibiptcWriter(iptc, other).write(4, "filter", planned)
    assert other.given == ([planned] if bulk else [])
    assert bool(iptc.done) is not bulk


@pytest.mark.parametrize(
    "rule", ["-m hashlimit --hashlimit-upto 1/sec -j DROP", "-j NFLOG --nflog-group 4710", "-m limit -j DROP"]
)
def test_what_would_end_the_process_goes_through_restore(rule: str, iptc: Iptc) -> None:
    other = Bulk()
    for planned in ([edits.Fill("droplan-refuse", (rule,))], [edits.Delete("droplan-refuse", rule)]):
        LibiptcWriter(iptc, other).write(4, "mangle", planned)
        assert other.given.pop() == planned
    assert iptc.done == []


def test_what_it_cannot_do_goes_through_restore_and_nothing_of_it_is_committed(iptc: Iptc) -> None:
    other = Bulk()
    planned = [edits.Insert("INPUT", 1, "--mystery 1 -j DROP")]
    LibiptcWriter(iptc, other).write(4, "filter", planned)
    assert other.given == [planned]
    assert ("commit",) not in iptc.done


def test_a_refresh_that_takes_too_long_is_not_gone_on_with(iptc: Iptc, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*args: object) -> None:
        raise DroplanError("the refresh had not ended")

    other = Bulk()
    writer = LibiptcWriter(iptc, other)
    monkeypatch.setattr(LibiptcWriter, "_edit", late)
    with pytest.raises(DroplanError, match="had not ended"):
        writer.write(4, "filter", [edits.Erase("droplan-old")])
    assert other.given == []
