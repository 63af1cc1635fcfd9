"""What `droplan explain` says is what packets meet: random sources, ports and settings, in every backend."""

from __future__ import annotations

import errno
import ipaddress
import json
import random
import selectors
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from tests.bed import Host, Lab, fleet
from tests.bed.program import Program, succeeded

SEED = 20261125
QUESTIONS = 40
"""For each of the settings below, in each backend: several hundred in all."""

PORTS = (22, 80, 443, 5432, 7777)
NETWORK = ipaddress.ip_network("10.132.32.0/20")

Question = tuple[str, int]
"""A source and a TCP port."""


@dataclass(frozen=True)
class Case:
    """Settings, and how many of the sources are Droplets of the account."""

    peers: int
    environment: dict[str, str]


CASES = (
    Case(0, {}),
    Case(12, {}),
    Case(100, {}),  # a tree of chains
    Case(12, {"DROPLAN_ALLOW": "tcp/22,tcp/5432@10.132.36.0/22,10.132.40.0/24,udp/80"}),
    Case(12, {"DO_TAG": "db", "DROPLAN_ALLOW": "tcp/443@10.132.32.0/21"}),
)


@pytest.mark.parametrize("backend", ["iptables-nft", "iptables-legacy", "nftables"])
def test_its_verdict_is_what_packets_meet(backend: str) -> None:
    chance = random.Random(SEED)
    with Lab("legacy" if backend == "iptables-legacy" else "nft") as lab:
        program = Program(lab)
        program.install(DROPLAN_BACKEND="nftables" if backend == "nftables" else "auto")
        sources = [str(NETWORK[number]) for number in chance.sample(range(1, NETWORK.num_addresses - 1), 60)]
        for source in sources:
            lab.stranger.ip(f"address add {source}/16 dev eth1\n")
        asked = accepted = 0
        for case in CASES:
            droplets = [
                replace(each, private=source, tags=("db" if number % 3 else "web",))
                for number, (each, source) in enumerate(zip(fleet(case.peers), sources[:30]))
            ]
            program.list_droplets(*droplets, *fleet(case.peers)[len(droplets) :])
            settings = {"DO_TAG": "", "DROPLAN_ALLOW": "", **case.environment}
            succeeded(program.run("install", "--force", **settings))
            # As many peers as strangers, or chance would mostly meet strangers.
            questions = [
                (chance.choice(sources[:15] if number % 2 else sources), chance.choice(PORTS))
                for number in range(QUESTIONS)
            ]
            met = meet(lab.stranger, lab.droplet.address, questions)
            told = ask(program, questions)
            assert [pair for pair in zip(questions, told, met) if pair[1] != pair[2]] == []
            asked += len(questions)
            accepted += sum(met)
        assert 0.1 * asked < accepted < 0.9 * asked, "both verdicts were met often"


def ask(program: Program, questions: Sequence[Question]) -> list[bool]:
    """Ask droplan about each: whether it gets in."""

    def one(question: Question) -> bool:
        source, port = question
        done = succeeded(program.run("explain", source, f"tcp/{port}", "--json"))
        found = json.loads(done.stdout)
        assert found["address"] == source
        return {"accept": True, "drop": False}[found["verdict"]]

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, questions))


def meet(host: Host, target: str, questions: Sequence[Question], limit: float = 1.5) -> list[bool]:
    """Connect from each source at once. An answer, a refusal of the port too, means that the packet was let in."""

    def attempts() -> list[bool]:
        waiting = selectors.DefaultSelector()
        found = [False] * len(questions)
        for number, (source, port) in enumerate(questions):
            one = socket.socket()
            one.setblocking(False)
            one.bind((source, 0))
            assert one.connect_ex((target, port)) == errno.EINPROGRESS
            waiting.register(one, selectors.EVENT_WRITE, number)
        end = time.monotonic() + limit
        while waiting.get_map() and time.monotonic() < end:
            for key, _ in waiting.select(max(end - time.monotonic(), 0)):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                found[key.data] = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, errno.ECONNREFUSED)
                waiting.unregister(sock)
                sock.close()
        for key in list(waiting.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        return found

    return list(host.inside(attempts))
