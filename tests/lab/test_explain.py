"""What `droplan explain` says is what packets meet: random sources, services and settings, in every backend.

Sources of both networks and both families, by TCP, UDP and ping; peers by region, by VPC and of the whole account, by
tag, with and without ports of their own; entries for everyone, networks, tags and Droplets; the public network open
and closed.
"""

from __future__ import annotations

import ipaddress
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from droplan_boot.access import services
from tests.bed import Lab, fleet
from tests.bed.account import VPC, ListedDroplet
from tests.bed.knock import Knock, let_in
from tests.bed.program import Program, succeeded
from tests.bed.reach import ECHO_PORT, connects

SEED = 20261125
RANDOM_CASES = 5
QUESTIONS = [32, pytest.param(64, marks=pytest.mark.nightly)]
"""For each of the settings, in each backend: some hundred in all, and two thousand at night."""
BACKENDS = ["iptables-nft", pytest.param("iptables-legacy", marks=pytest.mark.nightly), "nftables"]
"""At night the one whose guard is that of the others, and whose door is the first one's in other tables."""

PORTS = (22, 53, 80, 443, 5432, 7777)
PRIVATE = ipaddress.ip_network("10.132.32.0/20")
PUBLIC = ipaddress.ip_network("104.236.40.0/21")
LINK = ipaddress.ip_network("fe80::7700/120")
GLOBAL = ipaddress.ip_network("2604:a880:0:1010::7700/120")
PEERED, OTHER = "f3b6b8b2-0000-4000-8000-000000000001", "f3b6b8b2-0000-4000-8000-000000000002"

# One process for all questions: a start for each would be most of the time.
ASK = """
import contextlib, glob, io, json, sys
sys.path.insert(0, glob.glob("/var/lib/droplan/zipapp/*/site-packages")[0])
from droplan_boot.cli import main
for line in sys.stdin:
    sys.argv = ["droplan", "explain", *line.split(), "--json"]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main()
    print(json.dumps([code, out.getvalue()]), flush=True)
"""


@dataclass(frozen=True)
class Case:
    """Settings, and how many of the sources are Droplets of the account."""

    droplets: int
    environment: dict[str, str] = field(default_factory=dict)


CASES = (
    Case(0),
    Case(12),
    Case(100),  # a tree of chains
    Case(12, {"DROPLAN_ALLOW": "tcp/22,tcp/5432@10.132.36.0/22,10.132.40.0/24,udp/80"}),
    Case(12, {"DO_TAG": "db", "DROPLAN_ALLOW": "tcp/443@10.132.32.0/21"}),
    Case(30, {"DROPLAN_SCOPE": "vpc", "DROPLAN_PEER_PORTS": "tcp/80-443,udp/53"}),
    Case(
        30, {"PUBLIC": "true", "DROPLAN_ALLOW": "icmp,tcp/22@tag:web", "DROPLAN_ALLOW_PUBLIC": "tcp/443,udp/53@::/1"}
    ),
)
EVERYTHING_UNSET = {
    "DO_TAG": "",
    "DROPLAN_SCOPE": "",
    "DROPLAN_PEER_PORTS": "everything",
    "PUBLIC": "false",
    "DROPLAN_ALLOW": "",
    "DROPLAN_ALLOW_PUBLIC": "none",
}


class Account:
    """Addresses that the stranger sends from, and Droplets of the account that have some of them."""

    def __init__(self, chance: random.Random) -> None:
        self.private = [str(PRIVATE[n]) for n in chance.sample(range(1, PRIVATE.num_addresses - 1), 60)]
        self.public = [str(PUBLIC[n]) for n in chance.sample(range(1, PUBLIC.num_addresses - 1), 30)]
        self.link = [str(LINK[n]) for n in chance.sample(range(1, LINK.num_addresses - 1), 12)]
        self.public6 = [str(GLOBAL[n]) for n in chance.sample(range(1, GLOBAL.num_addresses - 1), 20)]
        self._chance = chance

    def give(self, lab: Lab) -> None:
        """Give the addresses to the stranger."""
        lab.stranger.ip(
            "".join(f"address add {one}/16 dev eth1\n" for one in self.private)
            + "".join(f"address add {one}/20 dev eth0\n" for one in self.public)
            + "".join(f"address add {one}/64 dev eth1 nodad\n" for one in self.link)
            + "".join(f"address add {one}/64 dev eth0 nodad\n" for one in self.public6)
        )

    def droplets(self, count: int) -> Iterator[ListedDroplet]:
        """List so many Droplets; the first thirty have addresses of the stranger's."""
        for number, each in enumerate(fleet(count)):
            if number >= 30:
                yield each
                continue
            yield ListedDroplet(
                id=each.id,
                name=each.name,
                private=self.private[number],
                public=self.public[number] if number < 15 else None,
                public6=self.public6[number] if number < 10 else None,
                region=self._chance.choice(["nyc3", "nyc3", "nyc3", "ams3"]),
                vpc=self._chance.choice([VPC, VPC, PEERED, OTHER]),
                tags=self._chance.choice([("db",), ("web",), ("DB", "web"), ()]),
            )

    def knock(self) -> Knock:
        """Choose who knocks for what: Droplets as often as others, or chance would mostly meet strangers."""
        pool = self._chance.choice([self.private[:20], self.private, self.public, self.link, self.public6])
        way = self._chance.choice(["tcp", "tcp", "udp", "icmp"])
        return Knock(self._chance.choice(pool), way, 0 if way == "icmp" else self._chance.choice(PORTS))

    def case(self) -> Case:
        """Make up settings."""
        pick = self._chance.choice
        allow = [pick(["{}@{}", "{}@{}", "{1}", "{0}"]).format(self._service(), self._source()) for _ in range(4)]
        public = [pick(["{}@{}", "{}@{}", "{0}"]).format(self._service(), self._source()) for _ in range(3)]
        return Case(
            pick([8, 30, 90]),
            {
                "DO_TAG": pick(["", "db", "db,web"]),
                "DROPLAN_SCOPE": pick(["region", "vpc", "account"]),
                "DROPLAN_PEER_PORTS": pick(["everything", "none", "tcp/50-500", "udp/53,tcp/22,icmp", "proto/17"]),
                "PUBLIC": pick(["true", "false"]),
                "DROPLAN_ALLOW": ",".join(allow),
                "DROPLAN_ALLOW_PUBLIC": pick(["none", ",".join(public)]),
            },
        )

    def _service(self) -> str:
        return self._chance.choice(
            ["tcp/22", "tcp/443", "tcp/50-5500", "udp/53", "udp/1-100", "icmp", "proto/6", "proto/17", "proto/58"]
        )

    def _source(self) -> str:
        pick = self._chance.choice
        pools = (
            (self.private, (21, 22, 24, 32)),
            (self.public, (22, 24, 32)),
            (self.link, (122, 124, 128)),
            (self.public6, (64, 122, 128)),
        )
        pool, lengths = pick(pools)
        network = str(ipaddress.ip_network(f"{pick(pool)}/{pick(lengths)}", strict=False))
        return str(pick([network, network, "tag:db", "tag:web", "droplet:fleet-3", "tag:nobody"]))


@pytest.mark.parametrize("questions", QUESTIONS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_its_verdict_is_what_packets_meet(backend: str, questions: int) -> None:
    chance = random.Random(f"{SEED} {backend}")
    account = Account(chance)
    with Lab("legacy" if backend == "iptables-legacy" else "nft") as lab:
        program = Program(lab)
        program.install(DROPLAN_BACKEND="nftables" if backend == "nftables" else "auto")
        account.give(lab)
        for port in PORTS:
            lab.echo.listen(lab.droplet, port)
        peering = {"id": "p", "name": "p", "vpc_ids": [VPC, PEERED], "status": "ACTIVE"}
        lab.do.set_peerings([peering])
        verdicts: Counter[tuple[str, bool]] = Counter()
        for case in (*CASES, *(account.case() for _ in range(RANDOM_CASES))):
            program.list_droplets(*account.droplets(case.droplets))
            succeeded(program.run("install", "--force", **{**EVERYTHING_UNSET, **case.environment}))
            knocks = list(dict.fromkeys(account.knock() for _ in range(questions)))
            told = ask(program, knocks)
            met = let_in(lab.stranger, lab.droplet, knocks)
            late = [number for number, said in enumerate(told) if said and not met[number]]
            if late:  # an answer that the machine was too busy to give in time; a refusal is one again
                again = let_in(lab.stranger, lab.droplet, [knocks[number] for number in late])
                for number, came_in in zip(late, again):
                    met[number] = came_in
            wrong = [(one, said, came_in) for one, said, came_in in zip(knocks, told, met) if said != came_in]
            assert wrong == [], case
            some = list(zip(knocks, met))[::4]
            parts = ask_wider(program, [one for one, _ in some])
            assert parts == [came_in for _, came_in in some], case
            for one, so in zip(knocks, met):
                network = "private" if one.source in (*account.private, *account.link) else "public"
                verdicts[f"{network} {'IPv6' if ':' in one.source else 'IPv4'}", so] += 1
                verdicts[one.way, so] += 1
    for (what, _), _ in list(verdicts.items()):
        asked = verdicts[what, True] + verdicts[what, False]
        assert 0.05 * asked < verdicts[what, True] < 0.95 * asked, f"{what}: both verdicts were met often: {verdicts}"


def ask(program: Program, knocks: Sequence[Knock]) -> list[bool]:
    """Ask droplan about each: whether it gets in."""
    return [
        {"accept": True, "drop": False}[found["verdict"]]
        for found in explained(program, [(one.source, one.service) for one in knocks])
    ]


def ask_wider(program: Program, knocks: Sequence[Knock]) -> list[bool]:
    """Ask about a range or a protocol that each is of: whether the part of it gets in that the knock is for."""
    found = explained(program, [(one.source, wider(one)) for one in knocks])
    return [part_of(said, one)["verdict"] == "accept" for said, one in zip(found, knocks)]


def wider(one: Knock) -> str:
    """Choose what is asked about: of ports that are even a range, else the protocol."""
    version = ipaddress.ip_address(one.source).version
    if one.way != "icmp" and one.port % 2 == 0:
        return f"{one.way}/{one.port // 2}-{one.port * 2}"
    return f"proto/{services.Service(one.way).number(version)}"


def part_of(said: dict[str, Any], one: Knock) -> dict[str, Any]:
    """Find the part of an answer that a knock is for; the answer itself where it has none."""
    version = ipaddress.ip_address(one.source).version
    for part in said["parts"]:
        if services.one("", part["service"]).covers(one.way, one.port or None, version):
            return dict(part)
    assert not said["parts"]
    return said


def explained(program: Program, questions: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Have droplan explain who may reach what."""
    lines = "".join(f"{source} {service}\n" for source, service in questions)
    done = program.droplet.run(["/usr/bin/python3", "-I", "-S", "-c", ASK], input=lines, timeout=300)
    told = []
    for (source, service), line in zip(questions, done.stdout.splitlines()):
        code, text = json.loads(line)
        assert code == 0
        found = json.loads(text)
        assert (found["address"], found["service"]) == (source, service)
        told.append(found)
    assert len(told) == len(questions)
    return told


def test_a_droplet_that_an_entry_lets_in_by_name_is_named_and_gets_in(nft_lab: Lab) -> None:
    program = Program(nft_lab)
    program.install()
    named, other = nft_lab.peer_droplets[:2]
    refreshed = program.run(
        "install", "--force", DO_TAG="nobody", DROPLAN_ALLOW=f"tcp/{ECHO_PORT}@droplet:{named.name}"
    )
    succeeded(refreshed)
    said = program.run("peers").stdout
    assert f"{named.name} {named.private}" in said
    assert other.name not in said
    listed = json.loads(program.run("peers", "--json").stdout)["allowed"]
    assert [one["name"] for entry in listed for one in entry["droplets"]] == [named.name]
    assert connects(nft_lab.peers[0], nft_lab.droplet, ECHO_PORT)
    assert not connects(nft_lab.peers[1], nft_lab.droplet, ECHO_PORT)
