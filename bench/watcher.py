"""The watcher: how soon a new Droplet is in, how soon a flush is undone, and what listening costs."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.sample import Samples, table
from tests.bed import Fault, Lab, account
from tests.bed.program import Program
from tests.bed.reach import ECHO_PORT
from tests.bed.watching import Watcher, eventually, flood, watching

VARIANTS = {"iptables-nft": "nft", "iptables-legacy": "legacy"}
ANSWERS_S = (0.2, 1.0)
FLUSHES = ("nft flush ruleset", "iptables -F")
_TICK_S = 0.01


@dataclass
class Costs:
    """What was measured on one backend.

    Args:
        connected: seconds from a new Droplet's first SYN to its connection, by how long the API takes to answer.
        closed: seconds from a flush until the rules are back, by command; none where the kernel tells nobody.
        memory: the watcher's PSS in MB, at the start and after all of this.
        idle: its CPU ticks in a minute of nothing.
        flooded: its share of a core while spoofed SYNs come in, in percent.
        packets: how many came.
        requests: how many the API got in that time.
        foreign: its share of a core, its children's included, while others change rules ten times a second.
    """

    connected: dict[float, Samples]
    closed: dict[str, Samples]
    memory: tuple[float, float] = (0.0, 0.0)
    idle: int = 0
    flooded: float = 0.0
    packets: int = 0
    requests: int = 0
    foreign: float = 0.0


def run(tries: int, seconds: float) -> dict[str, Costs]:
    """Measure on each backend.

    Args:
        tries: how often a Droplet is created and rules are flushed.
        seconds: how long the flood and the foreign changes last, and three times as long nothing.
    """
    found = {}
    for name, variant in VARIANTS.items():
        with Lab(variant) as lab:
            program = Program(lab)
            program.install()
            program.droplet.path("/etc/cron.d/droplan").unlink()
            costs = Costs({}, {})
            for answer in ANSWERS_S:
                lab.do.fault(Fault(service="api", delay=answer))
                costs.connected[answer] = Samples(list(_creations(program, tries, int(answer * 10))))
                lab.do.clear_faults()
            with watching(program) as watcher:
                _listen(watcher, costs, tries, seconds)
            found[name] = costs
    return found


def _creations(program: Program, tries: int, block: int) -> Iterator[float]:
    """Create a Droplet again and again, each with an address of its own; yield how long its connection took."""
    lab = program.lab
    for number in range(tries):
        address = f"10.132.{100 + block}.{number + 1}"
        lab.stranger.ip(f"address add {address}/16 dev eth1\n")
        lab.do.set_droplets([lab.own_droplet, *lab.peer_droplets])
        program.refresh()
        with watching(program):  # one of its own each time: the bucket is full
            lab.do.add(account.ListedDroplet(9000 + number, f"new-{number}", address))
            with lab.stranger.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as new:
                new.settimeout(30)
                new.bind((address, 0))
                began = time.monotonic()
                new.connect((lab.droplet.address, ECHO_PORT))
                yield time.monotonic() - began


def _listen(watcher: Watcher, costs: Costs, tries: int, seconds: float) -> None:
    program = watcher.program
    lab = program.lab
    first = watcher.pss()
    before = watcher.ticks()
    time.sleep(3 * seconds)
    costs.idle = round((watcher.ticks() - before) * 60 / (3 * seconds))

    lab.do.forget_requests()
    before, began = watcher.ticks(), time.monotonic()
    costs.packets = flood(lab.stranger, lab.droplet, seconds)
    costs.flooded = 100 * (watcher.ticks() - before) * _TICK_S / (time.monotonic() - began)
    watcher.settle()
    costs.requests = len(lab.do.requests("api"))

    program.edit("-N KUBE-SERVICES")
    watcher.settle()
    before, began = watcher.ticks() + watcher.worked(), time.monotonic()
    for number in range(int(seconds * 10)):
        program.edit(f"-A KUBE-SERVICES -s 192.0.2.{number % 250}/32 -p tcp --dport {1 + number} -j DROP")
        time.sleep(max(0.0, began + number / 10 - time.monotonic()))
    costs.foreign = 100 * (watcher.ticks() + watcher.worked() - before) * _TICK_S / (time.monotonic() - began)

    if lab.iptables == "nft":
        for command in FLUSHES:
            costs.closed[command] = Samples(list(_flushes(watcher, command, tries)))
    costs.memory = first, watcher.pss()


def _flushes(watcher: Watcher, command: str, tries: int) -> Iterator[float]:
    program = watcher.program
    for number in range(tries):
        if number % 4 == 0:
            program.refresh()  # five repairs in a minute are taken for a quarrel
            watcher.settle()
        program.droplet.run(command.split())
        yield eventually(lambda: _is_closed(program), 10)
        watcher.settle()


def _is_closed(program: Program) -> bool:
    listed = program.droplet.run(["iptables", "-S", "INPUT"]).stdout
    return "-A INPUT -i eth1 -j DROP" in listed


def page(found: dict[str, Costs]) -> str:
    """Write what was measured as Markdown."""
    delays = [
        [f"{name}, API answers after {answer} s", samples.told(1, 2), f"{_percentile(samples, 95):.2f}"]
        for name, one in found.items()
        for answer, samples in one.connected.items()
    ]
    delays += [
        [f"{name}, closed again after `{command}`", samples.told(1, 2), f"{_percentile(samples, 95):.2f}"]
        for name, one in found.items()
        for command, samples in one.closed.items()
    ]
    costs = [
        [
            name,
            f"{one.memory[0]:.1f} / {one.memory[1]:.1f}",
            str(one.idle),
            f"{one.flooded:.1f}",
            f"{one.requests} of {one.packets:,}",
            f"{one.foreign:.1f}",
        ]
        for name, one in found.items()
    ]
    head = [
        "backend", "PSS at first / at last, MB", "idle ticks a minute", "flooded, % of a core",
        "API requests of spoofed packets", "10 foreign changes a second, % of a core",
    ]  # fmt: skip
    return (
        "## The watcher\nSeconds from a new Droplet's first SYN to its connection (without the watcher: half an "
        f"interval, 150 s, on average), and from a flush to closed.\n\n{table(['', 'median', '95 %'], delays)}\n"
        f"{table(head, costs)}"
    )


def _percentile(samples: Samples, percent: int) -> float:
    ordered = sorted(samples.values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
