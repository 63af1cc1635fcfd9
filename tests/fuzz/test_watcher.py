"""The watcher's parsers: what the kernel told, bent, and files that somebody wrote. They refuse nothing in words.

FUZZ_SECONDS=600 pytest tests/fuzz -k watcher
"""

from __future__ import annotations

import ipaddress
import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from droplan_boot.host import netlink
from droplan_boot.state import blocked, budget, watching
from droplan_boot.watch import nflog
from droplan_boot.watch.links import Links
from droplan_boot.watch.outline import State
from droplan_boot.watch.rulesets import Transactions
from droplan_boot.watch.shut_out import Register
from tests.fuzz import mutate
from tests.fuzz.test_parsers import SECONDS, SEED, Kept

TOLD = {
    path.stem: [bytes.fromhex(line) for line in path.read_text().split()]
    for path in sorted((Path(__file__).parents[1] / "unit" / "netlink").glob("*.hex"))
}


def heard(chance: random.Random, *beginnings: str) -> bytes:
    """Bend one read of those whose names begin like that, or none of it: noise."""
    name = chance.choice([name for name in TOLD if name.startswith(beginnings)])
    return mutate.text(chance.choice(TOLD[name]), chance)


def packet(chance: random.Random) -> None:
    for _, payload in netlink.messages(heard(chance, "packet")):
        found = nflog.parse(payload)
        if found:
            ipaddress.ip_address(found.source)
            ipaddress.ip_address(found.destination)
            assert 0 <= found.port <= 65535
            assert found.protocol.isprintable()
            assert len(found.protocol) <= 9


def ruleset(chance: random.Random) -> None:
    transactions = Transactions()
    for _ in range(3):
        for change in transactions.hear(heard(chance, "nft", "iptables")):
            assert change.level
            assert isinstance(change.foreign(True), bool)


def links(chance: random.Random) -> None:
    known = Links(["eth1", "vpc0"])
    for _ in range(5):
        assert known.hear(heard(chance, "link", "address")) in (True, False)


def headers(chance: random.Random) -> None:
    nflog.packet(chance.randbytes(chance.randrange(96)))
    nflog.packet(bytes([chance.choice((0x45, 0x4F, 0x60))]) + chance.randbytes(95))


KEPT = {
    "schema": 1,
    "sampled": True,
    "total": 3,
    "sources": [
        {
            "source": "10.132.0.5",
            "packets": 3,
            "first": 1.0,
            "last": 2.0,
            "interface": "eth1",
            "public": False,
            "observed": False,
            "services": [{"service": "tcp/22", "packets": 3, "first": 1.0, "last": 2.0}],
        }
    ],
}


def register(chance: random.Random) -> None:
    data = mutate.encoded(KEPT, chance)
    blocked.load(Kept(data))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "blocked.json")
        path.write_bytes(data)
        again = Register(str(path))
        again.load()
        json.loads(again.text())


def small_files(chance: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "outline": {"interfaces": ["eth1"], "networks": ["10.132.0.0/16"]},
            "budget": {"remaining": 1, "limit": 2, "reset": 3.0, "at": 4.0},
            "watch": {"quarrel": "firewalld", "missed": True},
        }
        for name, value in values.items():
            Path(folder, f"{name}.json").write_bytes(mutate.encoded(value, chance))
        state = State(folder, folder)
        names, networks = state.covered()
        assert all(isinstance(name, str) for name in names)
        assert all(0 <= first <= last < 1 << 32 for first, last in networks)
        assert state.enough(0.1, 0.0) in (True, False)
        budget.load(Kept(Path(folder, "budget.json").read_bytes()))
        watching.load(Kept(Path(folder, "watch.json").read_bytes()))


TARGETS: Mapping[str, Callable[[random.Random], None]] = {
    "packet": packet,
    "headers": headers,
    "ruleset": ruleset,
    "links": links,
    "register": register,
    "small files": small_files,
}


@pytest.mark.parametrize("name", TARGETS)
def test_the_watcher_takes_whatever_it_reads(name: str) -> None:
    deadline, rounds = time.monotonic() + SECONDS, 0
    while rounds < 500 or time.monotonic() < deadline:
        rounds += 1
        seed = f"{SEED}-{rounds}"
        try:
            TARGETS[name](random.Random(seed))
        except Exception as error:
            raise AssertionError(f"random.Random({seed!r}) breaks {name}") from error
