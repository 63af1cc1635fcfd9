"""A refresh that finds all as it was starts no process; whoever writes into nf_tables has it read all again."""

from __future__ import annotations

import pytest

from tests.bed import probe
from tests.bed.program import Program, traced
from tests.bed.reach import Reach

IPV4 = Reach(tcp=True, udp=True, icmp=True)


def started(program: Program) -> list[str]:
    """Refresh; return the commands that this started."""
    lines = traced(program, "execve", "refresh", "--force")
    return [line.split('"')[1] for line in lines if " = 0" in line][1:]


def judged(program: Program) -> None:
    """Have packets tell that peers come in and the stranger does not."""
    lab = program.lab
    assert probe(lab.peers[0], lab.droplet) == IPV4
    assert probe(lab.stranger, lab.droplet, patience=0.7).nothing


def test_nothing_is_started_where_the_kernel_says_that_nobody_wrote(program: Program) -> None:
    program.refresh()
    for look in ("nft list ruleset", "iptables-save", "ip6tables -L", "nft --check add table inet others"):
        program.droplet.run(["sh", "-c", look])
    assert started(program) == []
    judged(program)


# Each is what some program does all day, or what opens us.
@pytest.mark.parametrize(
    "write",
    [
        "nft flush ruleset",
        "iptables -F; iptables -X",
        "nft flush set inet droplan droplan-addresses4",
        "nft add element inet droplan droplan-addresses4 '{ 10.132.0.66 }'",
        "iptables -I INPUT -i eth1 -j ACCEPT",
        "ip6tables -D INPUT -i eth1 -j DROP",
        "iptables -t nat -A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE",
        "nft add table inet others",
    ],
)
def test_whoever_writes_has_the_rules_read_again(write: str, program: Program) -> None:
    program.refresh()
    assert started(program) == []
    program.droplet.run(["sh", "-ec", write])
    assert "/usr/sbin/nft" in started(program)
    judged(program)
