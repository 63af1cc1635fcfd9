"""The fake kernel itself: it must refuse what the real one refuses, or the tests that lean on it mean nothing."""

from __future__ import annotations

import pytest

from tests.bed.memory import others
from tests.bed.memory.netfilter import Kernel, Netfilter, NetfilterError, Packet, Table, icmp_error
from tests.bed.memory.refusals import NFT, XTABLES

GUARD = """table inet droplan {
 set peers { type ipv4_addr; elements = { 10.132.0.2, 10.132.0.3 }
 }
 chain judge {
  ct state established,related ct direction reply accept
  ct state related meta l4proto { icmp, ipv6-icmp } accept
  ip saddr @peers return
  tcp dport 443 return
  log group 5
  drop
 }
 chain guard {
  type filter hook prerouting priority -170;
  iifname "eth1" jump judge
 }
}
"""
PEER, STRANGER = Packet("10.132.0.2"), Packet("10.132.0.66")


def table(*lines: str) -> Table:
    made = Table()
    made.restore("\n".join(["*filter", *lines, "COMMIT", ""]))
    return made


def machine(nft: str = "", **tables: str) -> Kernel:
    """Make a machine; ``legacy_nat="-A PREROUTING …"`` fills a table."""
    kernel = Kernel()
    if nft:
        kernel.netfilter.run_nft(nft)
    for name, lines in tables.items():
        variant, _, table_ = name.partition("_")
        kernel.netfilter.restore(variant, 4, f"*{table_}\n{lines}\nCOMMIT\n")
    return kernel


class TestRefusals:
    @pytest.mark.parametrize("what", XTABLES)
    @pytest.mark.parametrize("variant", ["nft", "legacy"])
    def test_iptables_refuses_and_leaves_the_table_as_it_was(self, variant: str, what: str) -> None:
        lines, *both = XTABLES[what]
        words = both[variant == "legacy"]
        made = Netfilter()
        made.restore(variant, 4, "*filter\n-A FORWARD -j DROP\nCOMMIT\n*filter\n-D FORWARD 1\nCOMMIT\n")
        before = made.save(variant, 4)
        script = "\n".join(["*filter", *lines, "COMMIT", ""])
        if words is None:
            made.restore(variant, 4, script)
            return
        with pytest.raises(NetfilterError) as refused:
            made.restore(variant, 4, script)
        shown = str(refused.value)
        assert words in shown or "too long" in words + shown, shown
        assert made.save(variant, 4) == before

    @pytest.mark.parametrize("what", NFT)
    def test_nft_refuses_and_leaves_the_ruleset_as_it_was(self, what: str) -> None:
        lines, words = NFT[what]
        made = Netfilter()
        made.run_nft("add table inet other")
        before = made.nft.list()
        if words is None:
            made.run_nft("\n".join(lines))
            return
        with pytest.raises(NetfilterError) as refused:
            made.run_nft("\n".join(lines))
        assert words in str(refused.value)
        assert made.nft.list() == before

    def test_a_script_cut_short_is_refused(self) -> None:
        with pytest.raises(NetfilterError, match="COMMIT"):
            Table().restore("*filter\n-A INPUT -j DROP\n")

    def test_each_block_is_a_transaction_of_its_own(self) -> None:
        made = Netfilter()
        with pytest.raises(NetfilterError, match="line 5"):
            made.restore("nft", 4, "*filter\n-A INPUT -j DROP\nCOMMIT\n*mangle\n-D PREROUTING -j DROP\nCOMMIT\n")
        assert made.table("nft", 4).chains["INPUT"] == ["-j DROP"]

    def test_what_the_fake_does_not_know_is_no_refusal(self) -> None:
        with pytest.raises(NotImplementedError, match="frobnicate"):
            Netfilter().run_nft("add table inet t\nadd chain inet t c\nadd rule inet t c frobnicate 1")

    def test_a_check_changes_nothing(self) -> None:
        kernel = Kernel()
        assert kernel.run(["nft", "--check", "-f", "-"], stdin=GUARD).status == 0
        assert kernel.run(["nft", "list", "ruleset"]).stdout == ""
        assert kernel.run(["nft", "list", "table", "inet", "droplan"], check=False).status == 1


class TestTable:
    def test_declaring_a_chain_empties_it_but_not_a_built_in_one(self) -> None:
        made = table(":own - [0:0]", "-A own -j DROP", "-A INPUT -j own")
        made.restore("*filter\n:own - [0:0]\n:INPUT DROP [0:0]\nCOMMIT\n")
        assert made.chains["own"] == []
        assert made.chains["INPUT"] == ["-j own"]
        assert made.policies["INPUT"] == "DROP"

    def test_who_is_sent_by_j_comes_back_and_who_is_sent_by_g_comes_back_one_further(self) -> None:
        lines = [":a - [0:0]", ":b - [0:0]", "-A b -j RETURN", "-A INPUT -j a", "-A INPUT -j DROP"]
        assert table(*lines, "-A a -j b", "-A a -j ACCEPT").verdict(Packet()) == "ACCEPT"
        assert table(*lines, "-A a -g b", "-A a -j ACCEPT").verdict(Packet()) == "DROP"

    def test_at_the_end_of_a_hook_its_policy_decides(self) -> None:
        assert table(":INPUT DROP [0:0]").verdict(Packet()) == "DROP"
        assert table(":INPUT DROP [0:0]", ":a - [0:0]", "-A INPUT -g a").verdict(Packet()) == "DROP"

    def test_an_error_about_what_the_other_side_opened_is_related_and_no_reply(self) -> None:
        by_direction = table(
            "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j ACCEPT", "-A INPUT -j DROP"
        )
        assert by_direction.verdict(icmp_error("10.132.0.2")) == "DROP"
        assert by_direction.verdict(icmp_error("10.132.0.2", opened_by_us=True)) == "ACCEPT"
        by_state = table("-A INPUT -p icmp -m conntrack --ctstate RELATED -j ACCEPT", "-A INPUT -j DROP")
        assert by_state.verdict(icmp_error("10.132.0.2")) == "ACCEPT"


class TestWalk:
    def test_accept_of_an_nft_chain_ends_only_that_chain(self) -> None:
        kernel = machine(GUARD.replace("return", "accept"), nft_filter=":INPUT DROP [0:0]")
        found = kernel.receive(PEER)
        assert (found.verdict, found.chain, found.rule) == ("DROP", "iptables-nft filter INPUT", "")

    def test_drop_is_final_and_tells_the_rule(self) -> None:
        kernel = machine(GUARD, nft_filter="-A INPUT -j ACCEPT", legacy_filter="-A INPUT -j ACCEPT")
        found = kernel.receive(STRANGER)
        assert (found.verdict, found.chain, found.rule) == ("DROP", "inet droplan judge", "drop")
        assert found.logged == (5,)
        assert kernel.receive(PEER).verdict == "ACCEPT"

    def test_both_variants_are_walked(self) -> None:
        for variant in ("legacy_filter", "nft_filter"):
            assert machine("", **{variant: "-A INPUT -i eth1 -j DROP"}).receive(PEER).verdict == "DROP"

    def test_another_destination_goes_through_forward(self) -> None:
        kernel = machine("", nft_filter="-A INPUT -j DROP")
        assert kernel.receive(PEER).verdict == "DROP"
        assert kernel.receive(Packet("10.132.0.2", destination="172.17.0.2")).verdict == "ACCEPT"

    def test_dnat_sends_to_forward_and_what_comes_before_sees_the_port_asked_for(self) -> None:
        nat = "-A PREROUTING -p tcp -m tcp --dport 443 -j DNAT --to-destination 172.17.0.2:8443"
        asked = Packet("10.132.0.66", destination="10.132.0.1", port=443)
        kernel = machine(GUARD, nft_nat=nat, nft_filter="-A FORWARD -p tcp -m tcp --dport 8443 -j REJECT")
        found = kernel.receive(asked)
        assert (found.verdict, found.chain) == ("REJECT", "iptables-nft filter FORWARD")
        assert (found.packet.destination, found.packet.port, found.packet.asked) == ("172.17.0.2", 8443, 443)

    def test_a_redirect_stays_here_with_another_port(self) -> None:
        nat = "-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 443"
        kernel = machine(GUARD, legacy_nat=nat, nft_filter="-A INPUT -p tcp -m tcp --dport 443 -j REJECT")
        assert kernel.receive(STRANGER).verdict == "DROP"  # 80 is what it asked for
        assert kernel.receive(PEER).verdict == "REJECT"

    def test_replies_do_not_walk_nat(self) -> None:
        kernel = machine("", nft_nat="-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 443")
        assert kernel.receive(Packet(reply=True)).packet.port == 80

    @pytest.mark.parametrize(("place", "first"), [(-170, "inet t c"), (-120, "iptables-legacy mangle PREROUTING")])
    def test_priorities_say_who_is_first(self, place: int, first: str) -> None:
        own = f"table inet t {{\nchain c {{\ntype filter hook prerouting priority {place};\ndrop\n}}\n}}\n"
        assert machine(own, legacy_mangle="-A PREROUTING -j DROP").receive(PEER).chain == first

    def test_a_rule_of_the_other_family_matches_neither_way(self) -> None:
        own = "table inet t {\nchain c {\ntype filter hook input priority 0;\nip saddr != 10.0.0.0/8 drop\n}\n}\n"
        assert machine(own).receive(Packet("fe80::1")).verdict == "ACCEPT"
        assert machine(own).receive(Packet("192.0.2.1")).verdict == "DROP"

    def test_output_is_walked_by_what_is_sent(self) -> None:
        kernel = machine("", nft_filter="-A OUTPUT -m owner --uid-owner 1000 -j REJECT")
        assert kernel.send(Packet("10.132.0.1", "", "192.0.2.1", owner=1000)).verdict == "REJECT"
        assert kernel.send(Packet("10.132.0.1", "", "192.0.2.1")).verdict == "ACCEPT"


class TestOthers:
    def test_a_flush_of_the_ruleset_takes_iptables_nft_along_and_leaves_legacy(self) -> None:
        kernel = machine(GUARD, nft_filter="-A INPUT -j DROP", legacy_mangle="-A PREROUTING -j ACCEPT")
        others.flush_ruleset(kernel)
        assert kernel.receive(STRANGER).verdict == "ACCEPT"
        assert kernel.run(["iptables-nft-save"]).stdout == ""
        assert "-A PREROUTING -j ACCEPT" in kernel.run(["iptables-legacy-save"]).stdout

    @pytest.mark.parametrize(
        ("name", "action"), [*others.all_flushes(), *others.all_inserts(), *others.all_policies()]
    )
    def test_no_action_on_iptables_lets_a_stranger_through_a_guard_of_nft(
        self, name: str, action: others.Action
    ) -> None:
        kernel = machine(GUARD)
        action(kernel)
        assert kernel.receive(STRANGER).verdict == "DROP"

    def test_an_insert_at_the_head_opens_what_stands_below(self) -> None:
        kernel = machine("", nft_filter="-A INPUT -i eth1 -j DROP")
        others.jump("INPUT", "-j ACCEPT")(kernel)
        assert kernel.receive(STRANGER).chain == "iptables-nft filter others"

    def test_the_alternative_says_which_tables_iptables_writes(self) -> None:
        kernel = Kernel()
        others.switch_alternative(kernel)
        kernel.run(["iptables", "-A", "INPUT", "-j", "DROP"])
        assert kernel.receive(PEER).chain == "iptables-legacy filter INPUT"

    def test_a_writer_can_be_killed_between_any_two_writes_and_all_put_back(self) -> None:
        kernel = Kernel()
        before = kernel.picture()

        def kill(_: Kernel, number: int) -> None:
            if number == 1:
                raise KeyboardInterrupt

        kernel.before.append(kill)
        kernel.run(["nft", "-f", "-"], stdin=GUARD)
        with pytest.raises(KeyboardInterrupt):
            kernel.run(["iptables-nft-restore", "--noflush"], stdin="*filter\n-A INPUT -j DROP\nCOMMIT\n")
        assert kernel.receive(STRANGER).chain == "inet droplan judge"
        assert kernel.tables[4].chains["INPUT"] == []
        kernel.put_back(before)
        assert kernel.receive(STRANGER).verdict == "ACCEPT"
