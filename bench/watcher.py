"""The watcher: how soon a new Droplet is in, how soon a flush is undone, and what listening costs."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from bench.control import BACKENDS
from bench.sample import Samples, table
from tests.bed import Fault, Lab, account
from tests.bed.program import Program
from tests.bed.reach import ECHO_PORT
from tests.bed.watching import Watcher, eventually, flood, watching

ANSWERS_S = (0.2, 1.0)
FLUSH = "nft flush ruleset"  # the one that reaches the guard
# Legacy tables tell nobody of changes, and with backend nftables no rule of ours is in iptables.
FLUSHES = {"iptables-nft": (FLUSH, "iptables -F"), "iptables-legacy": (FLUSH,), "nftables": (FLUSH,)}
CRON_S = 300  # between two refreshes, without a watcher
_TICK_S = 0.01


@dataclass
class Costs:
    """What was measured on one backend.

    Args:
        connected: seconds from a new Droplet's first SYN to its connection, by how long the API takes to answer.
        polled: the same without a watcher. When cron's next refresh comes is drawn, not waited for; what that and the
            connection after it take is measured.
        closed: seconds from a flush until the rules are back, by command.
        memory: the watcher's PSS in MB, at the start and after all of this.
        idle: its CPU ticks in a minute of nothing.
        flooded: its share of a core while spoofed SYNs come in, in percent.
        packets: how many came.
        requests: how many the API got in that time.
        foreign: its share of a core, its children's included, while others change rules ten times a second.
    """

    connected: dict[float, Samples]
    polled: dict[float, Samples]
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
    found = {name: Costs({}, {}, {}) for name in BACKENDS}
    with ExitStack() as stack, ThreadPoolExecutor(len(BACKENDS)) as together:
        programs = {}
        for name, (variant, setting) in BACKENDS.items():
            program = programs[name] = Program(stack.enter_context(Lab(variant)))
            program.install(DROPLAN_BACKEND=setting)
            program.droplet.path("/etc/cron.d/droplan").unlink()
        # What is mostly waiting is done on all backends at a time, what computes on one after the other.
        list(together.map(lambda name: _create(programs[name], found[name], tries), BACKENDS))
        watchers = {name: stack.enter_context(watching(program)) for name, program in programs.items()}
        list(together.map(lambda name: _idle(watchers[name], found[name], 3 * seconds), BACKENDS))
        for name, watcher in watchers.items():
            _flood(watcher, found[name], seconds)
            _foreign(watcher, found[name], seconds / 2)
        list(together.map(lambda name: _flush(watchers[name], found[name], FLUSHES[name], tries), BACKENDS))
    return found


def _create(program: Program, costs: Costs, tries: int) -> None:
    """Create Droplets, with an API that answers at once and one that does not."""
    for answer in ANSWERS_S:
        program.lab.do.fault(Fault(service="api", delay=answer))
        tried = list(_creations(program, tries, int(answer * 10)))
        program.lab.do.clear_faults()
        costs.polled[answer] = Samples([polled for polled, _ in tried])
        costs.connected[answer] = Samples([connected for _, connected in tried])


def _creations(program: Program, tries: int, block: int) -> Iterator[tuple[float, float]]:
    """Create two Droplets again and again, each with an address of its own.

    Yields:
        how long the first waited for its connection, where only cron refreshes, and the second, with a watcher.
    """
    lab = program.lab
    chance = random.Random(block)
    for number in range(tries):
        polled, heard = (f"10.132.{100 + block + more}.{number + 1}" for more in (0, 100))
        lab.stranger.ip("".join(f"address add {address}/16 dev eth1\n" for address in (polled, heard)))
        lab.do.set_droplets([lab.own_droplet, *lab.peer_droplets])
        lab.do.add(account.ListedDroplet(9000 + number, f"new-{number}", polled))
        began = time.monotonic()
        program.refresh()
        _connect(program, polled)
        waited = chance.uniform(0, CRON_S) + time.monotonic() - began
        with watching(program):  # one of its own each time: the bucket is full
            lab.do.add(account.ListedDroplet(9500 + number, f"newer-{number}", heard))
            began = time.monotonic()
            _connect(program, heard)
            yield waited, time.monotonic() - began


def _connect(program: Program, address: str) -> None:
    lab = program.lab
    with lab.stranger.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as new:
        new.settimeout(30)
        new.bind((address, 0))
        new.connect((lab.droplet.address, ECHO_PORT))


def _idle(watcher: Watcher, costs: Costs, seconds: float) -> None:
    costs.memory = watcher.pss(), 0.0
    before = watcher.ticks()
    time.sleep(seconds)
    costs.idle = round((watcher.ticks() - before) * 60 / seconds)


def _flood(watcher: Watcher, costs: Costs, seconds: float) -> None:
    lab = watcher.program.lab
    lab.do.forget_requests()
    before, began = watcher.ticks(), time.monotonic()
    costs.packets = flood(lab.stranger, lab.droplet, seconds)
    costs.flooded = 100 * (watcher.ticks() - before) * _TICK_S / (time.monotonic() - began)
    watcher.settle()
    costs.requests = len(lab.do.requests("api"))


def _foreign(watcher: Watcher, costs: Costs, seconds: float) -> None:
    program = watcher.program
    program.edit("-N KUBE-SERVICES")
    watcher.settle()
    before, began = watcher.ticks() + watcher.worked(), time.monotonic()
    for number in range(int(seconds * 10)):
        program.edit(f"-A KUBE-SERVICES -s 192.0.2.{number % 250}/32 -p tcp --dport {1 + number} -j DROP")
        time.sleep(max(0.0, began + number / 10 - time.monotonic()))
    costs.foreign = 100 * (watcher.ticks() + watcher.worked() - before) * _TICK_S / (time.monotonic() - began)


def _flush(watcher: Watcher, costs: Costs, commands: Sequence[str], tries: int) -> None:
    for command in commands:
        costs.closed[command] = Samples(list(_flushes(watcher, command, tries)))
    costs.memory = costs.memory[0], watcher.pss()


def _flushes(watcher: Watcher, command: str, tries: int) -> Iterator[float]:
    program = watcher.program
    for number in range(tries):
        if number % 4 == 0:
            program.refresh()  # five repairs in a minute are taken for a quarrel
            watcher.settle()
        program.droplet.run(command.split())
        yield eventually(lambda: _is_closed(program, command), 10)
        watcher.settle()


def _is_closed(program: Program, command: str) -> bool:
    if command == FLUSH:
        return "drop" in program.droplet.run(["nft", "list", "table", "inet", "droplan"], check=False).stdout
    return "-A INPUT -i eth1 -j DROP" in program.droplet.run(["iptables", "-S", "INPUT"]).stdout


def page(found: dict[str, Costs]) -> str:
    """Write what was measured as Markdown."""
    delays = [
        [f"{name}, {how}, API answers after {answer} s", samples.told(1, 2), f"{samples.percentile(95):.2f}"]
        for name, one in found.items()
        for how, delayed in (("watched", one.connected), ("cron alone", one.polled))
        for answer, samples in delayed.items()
    ]
    delays += [
        [f"{name}, closed again after `{command}`", samples.told(1, 2), f"{samples.percentile(95):.2f}"]
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
        "## The watcher\nSeconds from a new Droplet's first SYN to its connection, and from a flush to closed, on "
        "all backends at a time. With cron alone the refresh is measured, and when cron starts it is drawn from "
        f"{CRON_S} s.\n\n{table(['', 'median', '95 %'], delays)}\n{table(head, costs)}"
    )
