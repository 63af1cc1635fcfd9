"""At no moment is a stranger in or a peer out for our sake: every interleaving with kills, flushes and inserts.

The machine is the fake kernel, where a packet walks all tables. What droplan does is cut off before each of its
writes in turn, and between any two of them another program acts. After each write, and after each act of others,
packets of a stranger and of peers are walked through it. From the first complete install on no stranger may pass; a
guard in mangle may fall with a flush of that table, until the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from droplan_boot.access.policy import Policy
from droplan_boot.errors import FirewallError
from droplan_boot.firewall import edits
from droplan_boot.firewall.backend import Backend
from droplan_boot.firewall.enforcement import Enforcement
from droplan_boot.firewall.nftables import Nftables
from droplan_boot.firewall.ruleset import TABLES
from droplan_boot.host.command import Completed
from tests.bed.memory.doors import Reaction, ended
from tests.bed.memory.netfilter import Kernel, Packet
from tests.golden.scenarios import segment
from tests.unit.test_nftables import FORMER

STAYING, LEAVING, COMING, STRANGER = "10.132.0.2", "10.132.0.3", "10.132.0.4", "10.132.0.66"
BEFORE = Policy((segment(STAYING, LEAVING),))
AFTER = Policy((segment(STAYING, COMING),))
MANY = Policy((segment(STAYING, *(f"10.132.{one}.9" for one in range(100))),))


def nft_and_door(kernel: Kernel) -> Enforcement:
    return Enforcement(Nftables(kernel), kernel.backend())


def mangle_and_door(kernel: Kernel) -> Enforcement:
    return Enforcement(None, kernel.backend().guarding())


def nft_alone(kernel: Kernel) -> Enforcement:
    return Enforcement(Nftables(kernel), None)


Make = Callable[[Kernel], Enforcement]
Act = Callable[[Kernel], None]
BACKENDS: dict[str, Make] = {"nft and door": nft_and_door, "mangle and door": mangle_and_door, "nft": nft_alone}


def iptables_of_1_0_0(kernel: Kernel) -> None:
    """Write what droplan 1.0.0 wrote for BEFORE, with iptables."""
    replies = "-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY"
    for version, peers in ((4, (STAYING, LEAVING)), (6, ())):
        lines = ["*filter", ":droplan-peers - [0:0]", ":droplan-forward - [0:0]"]
        lines += [f"-A droplan-peers -s {peer}/32 -j ACCEPT" for peer in peers]
        lines += [f"-A droplan-forward {replies} -j RETURN"]
        lines += [f"-A droplan-forward -s {peer}/32 -j RETURN" for peer in peers] + ["-A droplan-forward -j DROP"]
        lines += [f"-I INPUT 1 -i eth1 {replies} -j ACCEPT", "-I INPUT 2 -i eth1 -j droplan-peers"]
        lines += ["-I INPUT 3 -i eth1 -j DROP", "-I FORWARD 1 -i eth1 -j droplan-forward", "COMMIT", ""]
        kernel.netfilter.restore("nft", version, "\n".join(lines))


def nft_of_1_0_0(kernel: Kernel) -> None:
    """Write the part for INPUT of what droplan 1.0.0 wrote with nft."""
    kernel.netfilter.run_nft(FORMER.replace("10.132.0.3, 10.132.0.9", f"{STAYING}, {LEAVING}"))


OTHERS: dict[str, Act] = {
    "nothing": lambda kernel: None,
    "flush of filter": lambda kernel: flush(kernel, "filter"),
    "flush of nat": lambda kernel: flush(kernel, "nat"),
    "flush of mangle": lambda kernel: flush(kernel, "mangle"),
    "insert in INPUT": lambda kernel: insert(kernel, "filter", "INPUT"),
    "insert in FORWARD": lambda kernel: insert(kernel, "filter", "FORWARD"),
    "insert in PREROUTING of nat": lambda kernel: insert(
        kernel, "nat", "PREROUTING", "-p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:8080"
    ),
}


def flush(kernel: Kernel, table: str) -> None:
    """Do what ``iptables -t TABLE -F; -X`` does, for both families."""
    for version in (4, 6):
        found = kernel.netfilter.table("nft", version, table)
        found.chains = {chain: [] for chain in found.chains if chain in found.policies}


def insert(kernel: Kernel, table: str, chain: str, rule: str = "-j ACCEPT") -> None:
    """Do what ``iptables -t TABLE -I CHAIN`` does, for IPv4."""
    kernel.netfilter.restore("nft", 4, f"*{table}\n-I {chain} 1 {rule}\nCOMMIT\n")


def copied(kernel: Kernel) -> Kernel:
    """Return a machine with the same rules."""
    made = Kernel()
    made.put_back(kernel.picture())
    return made


def passes(kernel: Kernel, source: str) -> list[bool]:
    to_us = Packet(source, destination="10.132.0.1")
    through_us = Packet(source, destination="172.17.0.2", out="docker0")
    published = Packet(source, port=80, destination="10.132.0.1")
    return [kernel.receive(packet).verdict == "ACCEPT" for packet in (to_us, through_us, published)]


def check(kernel: Kernel, peers: tuple[str, ...], *, may_be_open: bool = False, moment: str) -> None:
    if not may_be_open:
        assert not any(passes(kernel, STRANGER)), f"the stranger is in {moment}"
    for peer in peers:
        assert all(passes(kernel, peer)), f"{peer} is out {moment}"


STARTS: dict[str, tuple[Callable[[Kernel, Make], object], bool]] = {
    "after an install": (lambda kernel, make: make(kernel).apply(BEFORE), True),
    "over 1.0.0 with iptables": (lambda kernel, make: iptables_of_1_0_0(kernel), True),
    "over 1.0.0 with nft": (lambda kernel, make: nft_of_1_0_0(kernel), False),
    "the first install": (lambda kernel, make: None, False),
}
"""How things stand, and whether strangers are out by then, by all ways."""


def changed(kernel: Kernel, make: Make, policy: Policy) -> None:
    """Refresh as flow.enforce does it: the whole enforcement, then what stands elsewhere."""
    enforcement = make(kernel)
    enforcement.apply(policy)
    strays: list[Backend] = []
    if enforcement.guard is None:
        strays.append(Nftables(kernel))
    if enforcement.door is None:
        strays.append(kernel.backend())
    for stray in strays:
        stray.remove(BEFORE)


CASES = [
    (backend, former, start, act, policy)
    for backend in BACKENDS
    for former in BACKENDS
    for start in STARTS
    for act in OTHERS
    for policy in ("adds and removes", "becomes a tree")
    if (former == backend and (policy == "adds and removes" or act in ("nothing", "flush of filter")))
    or (start == "after an install" and policy == "adds and removes")
]
POLICIES = {"adds and removes": AFTER, "becomes a tree": MANY}


@pytest.mark.parametrize(
    ("backend", "former", "start", "act", "policy"), CASES, ids=[" - ".join(case) for case in CASES]
)
def test_between_any_two_writes_and_after_any_kill_strangers_are_out_and_peers_in(
    backend: str, former: str, start: str, act: str, policy: str
) -> None:
    make, wanted = BACKENDS[backend], POLICIES[policy]
    begin, shut = STARTS[start]
    # An older droplan's rules stand in filter alone, and a flush of the guard's own table opens it.
    falls = act == "flush of mangle" and "mangle" in (backend.split()[0], former.split()[0])
    opens = falls or (start.startswith("over") and act != "nothing")
    begun = Kernel()
    begin(begun, BACKENDS[former])
    seen: set[str] = set()

    def runs_again(kernel: Kernel) -> None:
        """Run to the end from where a killed one left the machine; once, for the same comes of the same rules."""
        if (rules := repr(kernel.netfilter)) not in seen:
            seen.add(rules)
            changed(kernel, make, wanted)
            finished(kernel)

    def finished(kernel: Kernel) -> None:
        if falls:  # what was flushed behind a run's back is there again after the next one
            changed(kernel, make, wanted)
        check(kernel, (STAYING,), moment="after the next run")

    def run(acted_at: int) -> int:
        """Run once while others act before a write, kill it before this and each later one; count the writes."""
        kernel = copied(begun)
        is_open, writes = not shut, 0
        killed: list[Kernel] = []  # of such a run, as after SIGKILL, there is nothing but its writes

        def before_write(kernel: Kernel, _number: int) -> None:
            nonlocal is_open, writes
            if writes == acted_at:
                OTHERS[act](kernel)
                is_open = is_open or opens
            check(kernel, (STAYING,), may_be_open=is_open, moment=f"before write {writes}, or killed there")
            if writes >= acted_at:
                killed.append(copied(kernel))
            writes += 1

        kernel.before = [before_write]
        changed(kernel, make, wanted)
        kernel.before = []
        finished(kernel)
        for one in killed:
            runs_again(one)
        return writes

    for acted_at in range(20):
        if run(acted_at) <= acted_at:
            return  # others have acted before every write
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("act", [act for act in OTHERS if act != "flush of mangle"])
def test_whatever_others_do_to_filter_and_nat_the_stranger_is_out_between_runs(act: str, backend: str) -> None:
    kernel = Kernel()
    BACKENDS[backend](kernel).apply(BEFORE)
    for other in (act, *[one for one in OTHERS if one != "flush of mangle"]):
        OTHERS[other](kernel)
        check(kernel, (STAYING, LEAVING), moment=f"after {other}")


@pytest.mark.parametrize("backend", BACKENDS)
def test_uninstall_leaves_nothing_and_no_peer_is_out_meanwhile(backend: str) -> None:
    kernel, empty = Kernel(), Kernel()
    enforcement = BACKENDS[backend](kernel)
    enforcement.apply(MANY)
    kernel.before = [lambda machine, number: check(machine, (STAYING,), may_be_open=True, moment=f"write {number}")]
    assert enforcement.remove(MANY)
    assert not enforcement.remove(MANY)
    assert "droplan" not in kernel.netfilter.nft.list() + kernel.netfilter.save("nft", 4) + kernel.netfilter.save(
        "nft", 6
    )
    assert kernel.tables == empty.tables


@pytest.mark.parametrize("act", OTHERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_uninstall_that_is_killed_keeps_no_peer_out_and_the_next_one_ends_it(backend: str, act: str) -> None:
    begun = Kernel()
    BACKENDS[backend](begun).apply(BEFORE)

    def run(acted_at: int) -> int:
        """Uninstall once while others act before a write; kill it before each, and end it; count the writes."""
        kernel = copied(begun)
        left: list[Kernel] = []

        def before_write(kernel: Kernel, _number: int) -> None:
            if len(left) == acted_at:
                OTHERS[act](kernel)
            check(kernel, (STAYING,), may_be_open=True, moment=f"before write {len(left)}, or killed there")
            left.append(copied(kernel))

        kernel.before = [before_write]
        BACKENDS[backend](kernel).remove(BEFORE)
        kernel.before = []
        for one in left:
            BACKENDS[backend](one).remove(BEFORE)
        for one in (kernel, *left):
            saved = one.netfilter.save("nft", 4) + one.netfilter.save("nft", 6)
            assert "droplan" not in one.netfilter.nft.list() + saved
            check(one, (STAYING, LEAVING, STRANGER), may_be_open=True, moment="after the uninstall")
        return len(left)

    for acted_at in range(20):
        if run(acted_at) <= acted_at:
            return  # others have acted before every write
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("refused", range(5))
@pytest.mark.parametrize("before", [None, BEFORE], ids=["first run", "later run"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_when_any_write_is_refused_all_is_as_it_was(backend: str, before: Policy | None, refused: int) -> None:
    kernel = Kernel()
    if before:
        BACKENDS[backend](kernel).apply(before)

    def picture() -> list[object]:
        tables = [edits.parse(kernel.netfilter.save("nft", version), name) for version in (4, 6) for name in TABLES]
        filled = [{chain: rules for chain, rules in table.items() if rules} for table in tables]
        return [*filled, kernel.netfilter.nft.list()]

    as_it_was, count = picture(), {"writes": 0, "refuse": 0}
    whose: list[str] = []

    def refusing(real: Reaction) -> Reaction:
        def command(argv: Sequence[str], stdin: str) -> str | Completed:
            if "list" in argv:
                return real(argv, stdin)
            what = f"{argv[0]} {stdin[:7]}" if argv[0] != "nft" else "nft"
            if count["writes"] == refused:
                # nft is tried in three ways, the one that touches least first; others when the table has changed.
                count["refuse"] = 3 if argv[0] == "nft" else 2
                whose.append(what)
            count["writes"] += 1
            if count["refuse"] and what in whose:
                count["refuse"] -= 1
                return ended(argv, 1, stderr="Resource temporarily unavailable")
            return real(argv, stdin)

        return command

    for name in ("nft", "iptables-nft-restore", "ip6tables-nft-restore"):
        kernel.commands[name] = refusing(kernel.commands[name])
    policy = Policy((segment(STAYING, COMING, on=("eth1", "eth2")),))
    try:
        BACKENDS[backend](kernel).apply(policy)
    except FirewallError:
        assert picture() == as_it_was
    else:
        assert count["writes"] <= refused, "there was a write that was not refused"
