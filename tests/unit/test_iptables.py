"""The iptables backend against a table that others write too: right afterwards, or as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_boot.access.policy import Policy
from droplan_boot.errors import FirewallError
from droplan_boot.firewall import edits, ruleset
from droplan_boot.firewall.backend import drift
from droplan_boot.host.command import Completed
from tests.bed.memory.netfilter import Kernel, Table
from tests.golden.scenarios import segment

TWO = Policy((segment("10.132.0.2", "10.132.0.3"),))
THREE = Policy((segment("10.132.0.2", "10.132.0.3", "10.132.0.4"),))
MANY = Policy((segment(*(f"10.132.{one}.9" for one in range(200))),))

FOREIGN = [
    "-i lo -j ACCEPT",
    "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    '-p tcp -m comment --comment "mind the gap" -j f2b-sshd',
    "-p udp -m udp --dport 53 -j ACCEPT",
    "-j REJECT --reject-with icmp-host-prohibited",
]
GO_DROPLAN = [
    "-i eth1 -j droplan-peers",
    "-i eth1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-i eth1 -j DROP",
]


def kernel(*, lived_in: bool = True) -> Kernel:
    """Return a machine with rules of others, or an empty one."""
    made = Kernel()
    for table in made.tables.values() if lived_in else ():
        table.chains["f2b-sshd"] = ["-s 203.0.113.9/32 -j REJECT --reject-with icmp-port-unreachable", "-j RETURN"]
        table.chains["INPUT"] = list(FOREIGN)
        table.chains["FORWARD"] = ["-j DROP"]
        table.policies["FORWARD"] = "DROP"
    return made


def others(table: Table) -> dict[str, list[str]]:
    """Select the rules that are nobody's but the others'."""
    ours = {rule for version in (4, 6) for rules in ruleset.build(THREE, version).heads.values() for rule in rules}
    return {
        chain: [rule for rule in rules if rule not in ours and rule not in GO_DROPLAN]
        for chain, rules in table.chains.items()
        if not chain.startswith("droplan-")
    }


def hook_is_shut_before(rules: list[str], head: Sequence[str]) -> bool:
    """Whether everybody is shut out before the last of ours."""
    last = max((index for index, rule in enumerate(rules) if rule in head), default=0)
    return any(rule.startswith(("-j DROP", "-j REJECT")) for rule in rules[:last])


def assert_right(machine: Kernel, policy: Policy) -> None:
    for version, table in machine.tables.items():
        wanted = ruleset.build(policy, version)
        for hook, head in wanted.heads.items():
            assert [rule for rule in table.chains[hook] if rule in head] == list(head)
            assert not hook_is_shut_before(table.chains[hook], head)
        ours = {chain: tuple(rules) for chain, rules in table.chains.items() if chain.startswith("droplan-")}
        assert ours == wanted.chains


class TestApply:
    def test_ours_come_first_and_those_of_others_stay_in_their_order(self) -> None:
        machine = kernel()
        before = deepcopy(machine.tables)
        assert machine.backend().apply(TWO)
        assert_right(machine, TWO)
        for version in (4, 6):
            assert others(machine.tables[version]) == before[version].chains
            assert machine.tables[version].policies == before[version].policies

    def test_all_of_a_family_is_one_transaction(self) -> None:
        machine = kernel()
        machine.backend().apply(MANY)
        assert [version for version, _ in machine.scripts] == [4, 6]

    @pytest.mark.parametrize("policy", [TWO, MANY], ids=["flat", "tree"])
    def test_what_is_right_is_not_written_again(self, policy: Policy) -> None:
        machine = kernel()
        machine.backend().apply(policy)
        machine.scripts.clear()
        assert not machine.backend().apply(policy)
        assert machine.scripts == []

    @pytest.mark.parametrize(("before", "after"), [(TWO, THREE), (THREE, TWO), (TWO, MANY), (MANY, TWO)])
    def test_one_policy_follows_another(self, before: Policy, after: Policy) -> None:
        machine = kernel()
        machine.backend().apply(before)
        machine.backend().apply(after)
        assert_right(machine, after)

    def test_the_door_is_spelled_once_for_a_policy_and_anew_for_another(self) -> None:
        backend = Kernel().backend()
        (_, door) = backend.wanted(TWO, 4, "")
        assert backend.wanted(TWO, 4, "")[1] is door
        assert backend.wanted(TWO, 6, "")[1] == ruleset.build(TWO, 6)
        assert backend.wanted(THREE, 4, "")[1] == ruleset.build(THREE, 4) != door

    def test_a_kernel_without_ipv6_is_asked_for_ipv4_only(self) -> None:
        machine = kernel()
        untouched = deepcopy(machine.tables[6])
        assert machine.backend([4]).apply(TWO)
        assert machine.tables[6] == untouched

    def test_another_interface_name_replaces_the_old_one(self) -> None:
        machine = kernel()
        before = deepcopy(machine.tables)
        machine.backend().apply(Policy((segment("10.132.0.2", on=("ens4",)),)))
        machine.backend().apply(TWO)
        assert_right(machine, TWO)
        assert {version: others(table) for version, table in machine.tables.items()} == {
            version: table.chains for version, table in before.items()
        }

    def test_the_rules_of_the_go_droplan_are_taken_over(self) -> None:
        machine = kernel(lived_in=False)
        machine.tables[4].chains["droplan-peers"] = ["-s 10.132.0.2/32 -j ACCEPT"]
        machine.tables[4].chains["INPUT"] = [*FOREIGN[:2], *GO_DROPLAN]
        machine.backend().apply(TWO)
        assert_right(machine, TWO)
        assert machine.tables[4].chains["INPUT"][3:] == FOREIGN[:2]


def flush(table: Table) -> None:
    for rules in table.chains.values():
        rules.clear()


DAMAGE: dict[str, Callable[[Table], None]] = {
    "flushed": flush,
    "behind a rule that refuses all": lambda table: table.chains["INPUT"].insert(0, "-j REJECT"),
    "behind one for the interface": lambda table: table.chains["INPUT"].insert(0, "! -i lo -p tcp -j DROP"),
    "1.0.0's rule in FORWARD": lambda table: table.chains["FORWARD"].insert(0, "-i eth1 -j droplan-peers"),
    "doubled": lambda table: table.chains["INPUT"].extend(table.chains["INPUT"][:3]),
    "out of order": lambda table: table.chains["INPUT"].insert(0, table.chains["INPUT"].pop(2)),
    "DROP is missing": lambda table: table.chains["INPUT"].remove("-i eth1 -j DROP"),
    "a stranger in our chain": lambda table: table.chains["droplan-peers"].append("-s 10.132.0.66/32 -j ACCEPT"),
    "everyone in our chain": lambda table: table.chains["droplan-peers"].insert(0, "-j ACCEPT"),
    "our chain is empty": lambda table: table.chains["droplan-peers"].clear(),
    "a chain of ours too many": lambda table: table.chains.update({"droplan-old": ["-j droplan-peers"]}),
}


ABOVE = [
    "-j f2b-sshd",
    "-p tcp -m multiport --dports 22 -j f2b-sshd",
    "-s 198.51.100.7/32 -j DROP",
    "-p tcp -m tcp --dport 23 -j REJECT --reject-with icmp-port-unreachable",
    "-i eth1 -j ACCEPT",
    "-i eth0 -j DROP",
    "! -i eth1 -j DROP",
    "-m set --match-set bans src -j DROP",
    "-m conntrack --ctstate INVALID -j DROP",
]


class TestWhatOthersPutAbove:
    @pytest.mark.parametrize("rule", ABOVE)
    def test_it_stays_there_and_is_no_drift(self, rule: str) -> None:
        machine = kernel()
        machine.backend().apply(TWO)
        machine.tables[4].chains["INPUT"].insert(0, rule)
        machine.scripts.clear()
        assert drift(machine.backend(), TWO) == ()
        assert not machine.backend().apply(TWO)
        assert machine.scripts == []

    @pytest.mark.parametrize(
        "damage", ["doubled", "out of order", "DROP is missing", "behind a rule that refuses all"]
    )
    def test_it_stays_above_when_ours_are_repaired(self, damage: str) -> None:
        machine = kernel()
        machine.backend().apply(TWO)
        DAMAGE[damage](machine.tables[4])
        machine.tables[4].chains["INPUT"].insert(0, ABOVE[0])
        machine.backend().apply(TWO)
        assert_right(machine, TWO)
        assert machine.tables[4].chains["INPUT"][0] == ABOVE[0]


class TestRepair:
    @pytest.mark.parametrize("damage", DAMAGE)
    def test_damage_is_told_as_drift_and_repaired(self, damage: str) -> None:
        machine = kernel()
        machine.backend().apply(TWO)
        assert drift(machine.backend(), TWO) == ()
        DAMAGE[damage](machine.tables[4])
        told = drift(machine.backend(), TWO)
        assert told
        assert all(line.startswith("IPv4: ") for line in told)
        assert machine.backend().apply(TWO)
        assert_right(machine, TWO)
        assert drift(machine.backend(), TWO) == ()

    @given(before=st.sampled_from([TWO, THREE, MANY]), seed=st.integers(0, 2**32))
    def test_whatever_was_done_to_the_table_it_is_right_afterwards_and_others_keep_their_order(
        self, before: Policy, seed: int
    ) -> None:
        machine, random = kernel(), Random(seed)
        machine.backend().apply(before)
        for table in machine.tables.values():
            for rules in table.chains.values():
                random.shuffle(rules)
                rules[:] = [rule for rule in rules for _ in range(random.choice([1, 1, 1, 0, 2]))]
            table.chains.update(random.choice([{}, {"droplan-stray": []}, {"droplan-stray": ["-j droplan-peers"]}]))
        left = {version: others(table) for version, table in machine.tables.items()}
        machine.backend().apply(THREE)
        assert_right(machine, THREE)
        assert {version: others(table) for version, table in machine.tables.items()} == left

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            ("flushed", "our rules in INPUT are missing"),
            (
                "behind a rule that refuses all",
                "our rules in INPUT are not there once, in order and before what shuts everybody out",
            ),
            ("a stranger in our chain", "droplan-peers is altered"),
            ("a chain of ours too many", "droplan-old should not be there"),
        ],
    )
    def test_drift_is_told_in_words(self, damage: str, words: str) -> None:
        machine = kernel()
        machine.backend().apply(TWO)
        DAMAGE[damage](machine.tables[4])
        assert f"IPv4: {words}" in drift(machine.backend(), TWO)

    def test_nothing_is_there_before_the_first_run(self) -> None:
        told = drift(kernel().backend(), TWO)
        assert "IPv4: droplan-peers is missing" in told
        assert "IPv6: our rules in INPUT are missing" in told


def insert_first(tables: dict[int, Table]) -> None:
    """Do what Docker, fail2ban or a person with ``iptables -I`` does."""
    tables[4].chains["INPUT"].insert(0, "-s 198.51.100.7/32 -j DROP")


def double_our_drop(tables: dict[int, Table]) -> None:
    tables[4].chains["INPUT"].append("-i eth1 -j DROP")


def insert_first_and_shut(tables: dict[int, Table]) -> None:
    """Undo what ours are for, whenever they are written."""
    insert_first(tables)
    tables[4].chains["INPUT"].insert(0, "-s 198.51.100.0/24 -j DROP")
    tables[4].chains["INPUT"].insert(0, "-j REJECT")


def delete_our_jump(tables: dict[int, Table]) -> None:
    tables[4].chains["INPUT"].remove("-i eth1 -j droplan-peers")


class TestRaces:
    def test_a_rule_that_came_between_read_and_write_is_neither_lost_nor_before_ours(self) -> None:
        machine = kernel()
        machine.meddlers = [insert_first]
        machine.backend().apply(TWO)
        assert_right(machine, TWO)
        assert machine.tables[4].chains["INPUT"][3:] == ["-s 198.51.100.7/32 -j DROP", *FOREIGN]

    def test_a_rule_that_went_between_read_and_write_fails_the_transaction_and_it_is_tried_again(self) -> None:
        machine = kernel()
        machine.backend().apply(TWO)
        double_our_drop(machine.tables)
        insert_first(machine.tables)
        machine.meddlers = [delete_our_jump, insert_first]
        machine.backend().apply(TWO)
        assert_right(machine, TWO)
        assert machine.tables[4].chains["INPUT"].count("-s 198.51.100.7/32 -j DROP") == 2

    def test_a_rule_that_comes_after_the_write_is_seen_when_it_is_read_back(self) -> None:
        machine = kernel()
        machine.spoilers = [double_our_drop]
        machine.backend().apply(TWO)
        assert_right(machine, TWO)

    def test_against_a_program_that_never_stops_it_gives_up_and_takes_back_what_it_wrote(self) -> None:
        machine = kernel()
        before = others(machine.tables[4])
        machine.spoilers = [insert_first_and_shut] * 100
        with pytest.raises(FirewallError, match="see whether another program rewrites them"):
            machine.backend().apply(TWO)
        found = machine.tables[4].chains
        assert [rule for rule in found["INPUT"] if "198.51" not in rule and rule != "-j REJECT"] == before["INPUT"]
        assert not [chain for chain in found if chain.startswith("droplan-")]


def refuse(argv: object, script: str) -> Completed:
    return Completed(("ip6tables-nft-restore",), 4, "", "ip6tables-restore: line 3 failed")


class TestFailures:
    @pytest.mark.parametrize("before", [None, TWO], ids=["first run", "later run"])
    def test_when_ipv6_cannot_be_written_ipv4_is_taken_back(self, before: Policy | None) -> None:
        machine = kernel()
        if before:
            machine.backend().apply(before)
        tables = deepcopy(machine.tables)
        machine.knows("ip6tables-nft-restore", refuse)
        # Peers are IPv4: only another interface changes the rules of IPv6 too.
        with pytest.raises(FirewallError, match="line 3 failed"):
            machine.backend().apply(Policy((segment("10.132.0.2", on=("eth1", "eth2")),)))
        assert {version: table.chains for version, table in machine.tables.items()} == {
            version: table.chains for version, table in tables.items()
        }

    def test_what_cannot_be_written_is_not_tried_for_ever(self) -> None:
        machine = kernel()
        machine.knows("iptables-nft-restore", refuse)
        with pytest.raises(FirewallError, match="were not written"):
            machine.backend().apply(TWO)
        assert [argv[0] for argv in machine.ran].count("iptables-nft-restore") == 1

    def test_rules_that_do_not_stick_are_an_error_and_are_taken_back(self) -> None:
        machine = kernel()
        before = deepcopy(machine.tables[4].chains)

        def forgets(tables: dict[int, Table]) -> None:
            if "-i eth1 -j DROP" in tables[4].chains["INPUT"]:
                tables[4].chains["INPUT"].remove("-i eth1 -j DROP")

        machine.spoilers = [forgets] * 100
        with pytest.raises(FirewallError, match="IPv4 rules read back are not what was written"):
            machine.backend().apply(TWO)
        assert machine.tables[4].chains == before

    def test_a_table_that_iptables_cannot_read_is_an_error_that_names_it(self) -> None:
        machine = kernel()
        machine.knows("iptables-nft-save", "# Table `filter' is incompatible, use 'nft' tool.\n")
        with pytest.raises(FirewallError, match="a program put rules of `nft` into it"):
            machine.backend().apply(TWO)
        assert machine.scripts == []

    def test_another_table_that_iptables_cannot_read_is_none_of_our_business(self) -> None:
        machine = kernel()
        saved = machine.commands["iptables-nft-save"]
        machine.knows(
            "iptables-nft-save",
            lambda argv, stdin: f"# Table `mangle' is incompatible, use 'nft' tool.\n{saved(argv, stdin)}",
        )
        machine.backend().apply(TWO)
        assert_right(machine, TWO)

    @pytest.mark.parametrize("verb", ["apply", "plan", "remove"])
    def test_rules_that_cannot_be_read_are_an_error(self, verb: str) -> None:
        machine = kernel()
        machine.knows("iptables-nft-save", Completed(("iptables-nft-save",), 1, "", "Permission denied"))
        with pytest.raises(FirewallError, match=r"the rules cannot be read: .*Permission denied"):
            getattr(machine.backend(), verb)(TWO)


class TestRemove:
    @pytest.mark.parametrize("policy", [TWO, MANY, Policy((segment(),), "169.254.169.254")])
    def test_nothing_of_ours_is_left_and_all_of_the_others(self, policy: Policy) -> None:
        machine = kernel()
        before = deepcopy(machine.tables)
        machine.backend().apply(policy)
        assert machine.backend().remove(policy)
        assert machine.tables == before
        assert not machine.backend().remove(policy)

    def test_rules_are_found_without_knowing_what_was_applied(self) -> None:
        machine = kernel()
        before = deepcopy(machine.tables)
        machine.backend().apply(TWO)
        assert machine.backend().remove(None)
        assert machine.tables == before

    def test_a_lone_DROP_of_ours_goes_when_it_is_known_to_be_ours(self) -> None:  # noqa: N802
        machine = kernel()
        machine.tables[4].chains["INPUT"].insert(0, "-i eth1 -j DROP")
        assert not machine.backend().remove(None)
        assert machine.backend().remove(TWO)
        assert machine.tables[4].chains["INPUT"] == FOREIGN


def test_the_restore_command_waits_for_the_lock_where_it_can() -> None:
    from droplan_boot.firewall.iptables_restore import RestoreWriter

    machine = kernel()
    machine.knows("iptables-legacy-restore")
    for waits in (True, False):
        RestoreWriter(machine, {4: "iptables-legacy-restore"}, waits=waits).write(
            4, "filter", [edits.Erase("droplan-old")]
        )
    assert machine.ran == [
        ("iptables-legacy-restore", "--noflush", "-w", "8"),
        ("iptables-legacy-restore", "--noflush"),
    ]
