"""Refresh under traffic: what peers lose and strangers get through while rules are written."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.control import BACKENDS, Subject
from bench.sample import table
from tests.bed import Flows, Lab, account


@dataclass(frozen=True)
class Passage:
    """What happened during a number of refreshes with churn.

    Args:
        refreshes: how many wrote rules.
        sent, lost: a peer's datagrams, each a new flow.
        knocked, passed: a stranger's.
    """

    refreshes: int
    sent: int
    lost: int
    knocked: int
    passed: int


def run(peers: int, refreshes: int) -> dict[str, Passage]:
    """Refresh again and again, one peer in a hundred changed each time, while a peer and a stranger send."""
    found = {}
    for name, (variant, setting) in BACKENDS.items():
        with Lab(variant) as lab:
            subject = Subject(lab, setting)
            fleet = account.fleet(peers)
            lab.do.set_droplets([*subject.own, *fleet])
            subject.refresh()
            with Flows(lab.peers[0], lab.droplet) as flows, Flows(lab.stranger, lab.droplet) as knocks:
                for turn in range(refreshes):
                    lab.do.set_droplets([*subject.own, *_moved(fleet, turn)])
                    subject.refresh()
            found[name] = Passage(refreshes, flows.sent, flows.lost, knocks.sent, knocks.received)
    return found


def _moved(fleet: Sequence[account.ListedDroplet], turn: int) -> list[account.ListedDroplet]:
    chosen = set(random.Random(turn).sample(range(len(fleet)), max(1, len(fleet) // 100)))
    return [
        replace(one, private=f"10.140.{n // 250}.{1 + n % 250}") if n in chosen else one
        for n, one in enumerate(fleet)
    ]


def page(found: dict[str, Passage], peers: int) -> str:
    """Write what was measured as Markdown."""
    rows = [
        [name, str(one.refreshes), f"{one.lost} of {one.sent:,}", f"{one.passed} of {one.knocked:,}"]
        for name, one in found.items()
    ]
    head = ["backend", "refreshes", "lost by a peer", "passed by a stranger"]
    return (
        f"## Refresh under traffic\n{peers:,} peers, 1 % of them changed before each refresh.\n\n{table(head, rows)}"
    )
