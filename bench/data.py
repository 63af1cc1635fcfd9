"""Data plane: what the rules cost a packet, against other ways to write the same rules."""

from __future__ import annotations

import ipaddress
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.sample import Samples, table
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.access.services import Service
from droplan_boot.firewall import edits, nft_guard, nft_table, ruleset
from tests.bed import Lab

HERE = Path(__file__).parent
MEASURES = ("new", "established", "connects", "round trip")
RATIO = "new flows, to conntrack only right before and after"
NONE, CONNTRACK = "no rules", "conntrack only"
_REPLIES = f"-A INPUT -i eth1 {ruleset.REPLIES} -j ACCEPT"
_SINKS = "-A OUTPUT -p icmp -m icmp --icmp-type 3 -j DROP"  # nobody listens; do not measure the complaints
_ECHO = 7

SERVICES = (1, 5, 20)
"""Among how many services the ports are divided, each open to all of the peers."""

GUARD_AND_DOOR = "guard and door"  # with services: what begins with this, a comma, and their number
SELDOM = 5  # what no bar is about is measured in one round of so many

Rates = dict[tuple[str, str], Samples]  # candidate, measure
Put = Callable[[Lab], None]


def candidates(sizes: Sequence[int], sender: str) -> dict[str, Put]:
    """Make the ways to let in a number of peers, of which the sender is the last."""
    ways: dict[str, Put] = {NONE: _restore(""), CONNTRACK: _restore(f"{_REPLIES}\n")}
    for size in sizes:
        for shape, peers in (("sparse", _sparse(size, sender)), ("dense", _dense(size, sender))):
            if shape == "sparse":
                ways[f"flat chain, {size:,}"] = _restore(_flat(peers))
                ways[f"ipset, {size:,}"] = _ipset(peers)
                ways[f"nftables set (our nft backend), {size:,}"] = _nft(peers)
                ways[f"{GUARD_AND_DOOR}, {size:,} {shape}"] = _both(_policy(peers))
            ways[f"our tree, {size:,} {shape}"] = _tree(peers)
        for count in SERVICES if size == max(sizes) else ():
            name = f"{GUARD_AND_DOOR}, {count} service{'s' if count > 1 else ''}, {size:,} sparse"
            ways[name] = _both(_divided(_sparse(size, sender), count))
    return ways


def run(sizes: Sequence[int], rounds: int, packets: int) -> Rates:
    """Measure the candidates, interleaved, each between two measurements of conntrack only.

    Those that a bar is about are measured ``rounds`` times, the others in one round of ``SELDOM``.

    Whoever else computes on the machine halves a packet rate for a second or a minute. What was measured right before
    and after has mostly been halved too.
    """
    with Lab("nft") as lab, tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch, "flows")
        subprocess.run(["gcc", "-O2", "-o", str(program), str(HERE / "flows.c")], check=True)
        sender = lab.peers[-1]
        ways = candidates(sizes, sender.private.ipv4)
        rates: Rates = {(name, measure): Samples() for name in ways for measure in (*MEASURES, RATIO)}

        def rate(measure: str) -> float:
            argv = [str(program), lab.droplet.private.ipv4, str(packets), measure]
            return float(sender.run(argv, timeout=300).stdout)

        def base() -> float:
            _clear(lab)
            ways[CONNTRACK](lab)
            return rate("new")

        for turn in range(rounds):
            # Another order each time, so that none always follows the same one.
            chosen = [name for name in sorted(ways) if turn % SELDOM == 0 or _has_bar(name, max(sizes))]
            for name in random.Random(turn).sample(chosen, len(chosen)):
                before = base()
                _clear(lab)
                ways[name](lab)
                for measure in MEASURES[:2]:
                    rates[name, measure].values.append(rate(measure))
                connects, trip = sender.inside(lambda: _tcp(lab.droplet.private.ipv4))
                rates[name, "connects"].values.append(connects)
                rates[name, "round trip"].values.append(trip)
                rates[name, RATIO].values.append(rates[name, "new"].values[-1] * 2 / (before + base()))
        _clear(lab)
    return rates


def _has_bar(name: str, size: int) -> bool:
    return name == CONNTRACK or (f" {size:,} " in f"{name} " and name.startswith(("our tree", GUARD_AND_DOOR)))


def page(rates: Rates) -> str:
    """Write what was measured as Markdown."""
    rows = []
    for name in dict.fromkeys(name for name, _ in rates):
        new, old, connects, trip = (rates[name, what] for what in MEASURES)
        ratio = rates[name, RATIO].told(digits=2)
        rows.append([name, new.told(1e3), ratio, old.told(1e3), connects.told(), trip.told(1e-6)])
    head = [
        "rules",
        "new flows, 1,000/s",
        "to conntrack only",
        "one flow, 1,000/s",
        "TCP connects/s",
        "round trip µs",
    ]
    return (
        "## Data: packets\nDatagrams of 64 bytes from a peer that stands last in the list, through a bridge and two "
        f"veth pairs, on one core. Median (minimum-maximum).\n\n{table(head, rows)}"
    )


def _sparse(size: int, sender: str) -> list[str]:
    """Take addresses from all over 10.0.0.0/9, none next to another by design; the sender is the highest."""
    chosen = random.Random(size).sample(range(1 << 22), size - 1)
    return [*(str(ipaddress.IPv4Address(0x0A000000 + 2 * one)) for one in sorted(chosen)), sender]


def _dense(size: int, sender: str) -> list[str]:
    return [*(str(ipaddress.IPv4Address(0x0A100001 + one)) for one in range(size - 1)), sender]


def _policy(peers: Sequence[str]) -> Policy:
    return Policy((Segment(False, ("eth1",), tuple(ipaddress.ip_address(one) for one in peers)),))


def _flat(peers: Sequence[str]) -> str:
    rules = "".join(f"-A droplan-peers -s {one}/32 -j ACCEPT\n" for one in peers)
    return f":droplan-peers - [0:0]\n{_REPLIES}\n-A INPUT -i eth1 -j droplan-peers\n-A INPUT -i eth1 -j DROP\n{rules}"


def _restore(rules: str) -> Put:
    text = f"*filter\n{rules}{_SINKS}\nCOMMIT\n"
    return lambda lab: _feed(lab, ["iptables-restore", "--noflush"], text)


def _tree(peers: Sequence[str]) -> Put:
    script = edits.script(edits.needed({}, ruleset.build(_policy(peers), 4)))

    def put(lab: Lab) -> None:
        _feed(lab, ["iptables-restore", "--noflush"], f"*filter\n{_SINKS}\nCOMMIT\n{script}")

    return put


def _divided(peers: Sequence[str], count: int) -> Policy:
    """Let peers reach services only: the ports that are sent to, divided evenly, so that each gets packets.

    Between two of them a port is left out: neighbours open to the same peers would be one service.
    """
    addresses = tuple(ipaddress.ip_address(one) for one in peers)
    edges = [1024 + (65536 - 1024) * one // count for one in range(count + 1)]
    ports = tuple(Service("udp", first, after - 2) for first, after in zip(edges, edges[1:]))
    return Policy((Segment(False, ("eth1",), addresses, ports=(*ports, Service("tcp"))),))


def _both(policy: Policy) -> Put:
    """Write the guard in nft and the door, as droplan does where both are."""
    door = edits.script(edits.needed({}, ruleset.build(policy, 4)))
    table = nft_guard.build(policy)
    assert table

    def put(lab: Lab) -> None:
        _feed(lab, ["iptables-restore", "--noflush"], f"*filter\n{_SINKS}\nCOMMIT\n{door}")
        _feed(lab, ["nft", "-f", "-"], nft_table.render(table))

    return put


def _ipset(peers: Sequence[str]) -> Put:
    members = "".join(f"add peers {one}\n" for one in peers)
    rules = f"{_REPLIES}\n-A INPUT -i eth1 -m set --match-set peers src -j ACCEPT\n-A INPUT -i eth1 -j DROP\n"

    def put(lab: Lab) -> None:
        _feed(lab, ["ipset", "restore"], f"create peers hash:ip maxelem 131072\n{members}")
        _restore(rules)(lab)

    return put


def _nft(peers: Sequence[str]) -> Put:
    table = nft_guard.build(_policy(peers))
    assert table

    def put(lab: Lab) -> None:
        _restore("")(lab)
        _feed(lab, ["nft", "-f", "-"], nft_table.render(table))

    return put


def _clear(lab: Lab) -> None:
    quiet = "iptables -F; iptables -X; nft delete table inet droplan; ipset destroy; conntrack -F"
    lab.droplet.run(["sh", "-c", f"({quiet}) 2>/dev/null; true"])


def _feed(lab: Lab, argv: Sequence[str], text: str) -> None:
    lab.droplet.run(argv, input=text, timeout=120)


def _tcp(address: str, count: int = 300) -> tuple[float, float]:
    """Connect and echo a byte, again and again; return connects a second and seconds of a round trip."""
    trips = []
    spent = 0.0
    for _ in range(count):
        begin = time.perf_counter()
        with socket.create_connection((address, _ECHO), timeout=5) as connection:
            spent += time.perf_counter() - begin
            begin = time.perf_counter()
            connection.sendall(b"x")
            connection.recv(1)
            trips.append(time.perf_counter() - begin)
    return count / spent, sorted(trips)[count // 2]
