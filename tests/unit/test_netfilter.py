"""The reference walker itself: it must refuse what iptables refuses, or the tests that lean on it mean nothing."""

from __future__ import annotations

import pytest

from tests.bed.memory.netfilter import NetfilterError, Packet, Table


def table(*lines: str) -> Table:
    made = Table()
    made.restore("\n".join(["*filter", *lines, "COMMIT", ""]))
    return made


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["-D INPUT -j DROP"], "Bad rule"),
        (["-A nowhere -j DROP"], "No chain/target/match"),
        (["-A INPUT -j nowhere"], "Couldn't load target"),
        (["-I INPUT 3 -j DROP"], "Index of insertion too big"),
        (["-X nowhere"], "No chain/target/match"),
        ([":full - [0:0]", "-A full -j DROP", "-X full"], "Directory not empty"),
        ([":used - [0:0]", "-A INPUT -j used", "-X used"], "Too many links"),
        ([":a - [0:0]", ":b - [0:0]", "-A a -j b", "-A b -g a"], "Too many levels"),
        ([f":{'x' * 29} - [0:0]"], "too long"),
        (["-A INPUT --mystery 1 -j DROP"], "unknown option"),
    ],
)
def test_what_iptables_refuses_is_refused_and_leaves_the_table_as_it_was(lines: list[str], words: str) -> None:
    before = table("-A FORWARD -j DROP")
    with pytest.raises(NetfilterError, match=words):
        before.restore("\n".join(["*filter", "-A INPUT -j ACCEPT", *lines, "COMMIT"]))
    assert before == table("-A FORWARD -j DROP")


def test_a_script_cut_short_is_refused() -> None:
    with pytest.raises(NetfilterError, match="COMMIT"):
        Table().restore("*filter\n-A INPUT -j DROP\n")


def test_declaring_a_chain_empties_it_but_not_a_built_in_one() -> None:
    made = table(":own - [0:0]", "-A own -j DROP", "-A INPUT -j own")
    made.restore("*filter\n:own - [0:0]\n:INPUT DROP [0:0]\nCOMMIT\n")
    assert made.chains["own"] == []
    assert made.chains["INPUT"] == ["-j own"]
    assert made.policies["INPUT"] == "DROP"


def test_who_is_sent_by_j_comes_back_and_who_is_sent_by_g_comes_back_one_further() -> None:
    lines = [":a - [0:0]", ":b - [0:0]", "-A b -j RETURN", "-A INPUT -j a", "-A INPUT -j DROP"]
    assert table(*lines, "-A a -j b", "-A a -j ACCEPT").verdict(Packet()) == "ACCEPT"
    assert table(*lines, "-A a -g b", "-A a -j ACCEPT").verdict(Packet()) == "DROP"


def test_at_the_end_of_a_hook_its_policy_decides() -> None:
    assert table(":INPUT DROP [0:0]").verdict(Packet()) == "DROP"
    assert table(":INPUT DROP [0:0]", ":a - [0:0]", "-A INPUT -g a").verdict(Packet()) == "DROP"
