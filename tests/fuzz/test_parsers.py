"""One target a parser. Each runs for FUZZ_SECONDS (5), and 500 inputs at least; FUZZ_SEED repeats a run.

FUZZ_SECONDS=600 pytest tests/fuzz -k metadata
"""

from __future__ import annotations

import ipaddress
import json
import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from droplan_boot import settings
from droplan_boot.access import policy
from droplan_boot.access.allow import Allow
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.access.services import Service
from droplan_boot.errors import DroplanError
from droplan_boot.firewall import edits, nft_guard, nft_table, ruleset, saved
from droplan_boot.host import http
from droplan_boot.host.files import Files
from droplan_boot.host.sessions import ssh_sessions
from droplan_boot.setup import schedule
from droplan_boot.sources.digitalocean import metadata, model
from droplan_boot.sources.digitalocean.api import Account
from droplan_boot.sources.digitalocean.brief import Brief
from droplan_boot.state import report, snapshot
from tests.bed import account
from tests.fuzz import mutate

SECONDS = float(os.environ.get("FUZZ_SECONDS", "5"))
SEED = int(os.environ.get("FUZZ_SEED", random.randrange(1 << 32)))
OWN = account.ListedDroplet(7, "own", "10.132.0.2", "104.236.32.2", "2604:a880::2", tags=("web",))
PEERS = [
    account.ListedDroplet(n, f"peer-{n}", f"10.132.0.{n}", f"104.236.32.{n}", tags=("web",)) for n in range(8, 11)
]
PAGE = {"droplets": [one.listing() for one in (OWN, *PEERS)], "links": {"pages": {}}, "meta": {"total": 4}}
NIC = account.Nic("02:00:00:00:00:01", "10.132.0.2", "255.255.0.0", "nil", "2604:a880::2")
DOCUMENT = account.metadata(OWN, NIC, NIC, anchor="10.17.0.5")
POLICY = Policy(
    (
        Segment(
            False,
            ("eth1",),
            tuple(ipaddress.ip_address(f"10.132.0.{n}") for n in range(8, 11)),
            (Allow(ipaddress.ip_network("10.9.0.0/16")), Allow(None, Service("tcp", 22, 22))),
        ),
    )
)
WANTED = ruleset.build(POLICY, 4)
SAVED = saved.splice(
    "*nat\n-A POSTROUTING -o eth9 -j MASQUERADE\nCOMMIT\n"
    "*filter\n:INPUT ACCEPT [1:2]\n[1:2] -A INPUT -j LOG\nCOMMIT\n",
    WANTED,
).encode()
ENVIRONMENT = b"""# settings
DO_KEY=dop_v1_0000
DO_TAG="web:1"
PUBLIC=true
DROPLAN_SCOPE=vpc
export DROPLAN_ALLOW=10.0.0.0/24, tcp/22@10.1.0.0/16 udp/53
DROPLAN_INTERVAL=7
DIGITALOCEAN_API_URL=https://api.example.org/base
"""


class Kept(Files):
    """A file system of one file, whatever it is called."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        object.__setattr__(self, "data", data)

    def read(self, path: object, *, limit: int = 0) -> bytes:
        return bytes(self.__dict__["data"])


class Pages(http.Http):
    """A session that answers every page with the same document."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    def get(self, url: str, *, token: str = "") -> bytes:
        assert url.startswith("https://api.example/"), "the token stays with its host"
        self.asked += 1
        assert self.asked < 100, "pages end"
        answer = self.answer if "type=gpus" not in url else {"droplets": [], "meta": {"total": 0}}
        return json.dumps(answer).encode()


def droplet(chance: random.Random) -> None:
    value = model.droplet(mutate.document(PAGE["droplets"][1], chance))  # type: ignore[index]
    for address in (*value.private, *value.public):
        assert str(ipaddress.ip_network(str(address))).endswith(("/32", "/128"))
        assert not any((address.is_loopback, address.is_multicast, address.is_unspecified, address.is_link_local))
    assert all(name.isprintable() for name in (value.region, *(value.tags or ())))


def listing(chance: random.Random) -> None:
    pages = Pages(mutate.document(PAGE, chance))
    found = Account(pages, "https://api.example", "token", 7, tag=None, peered=False, clock=lambda: 0.0).listing()
    found.own(7)
    assert len({one.id for one in found.droplets}) == len(found.droplets) == pages.answer["meta"]["total"]


def own(chance: random.Random) -> None:
    value = metadata.read(mutate.document(DOCUMENT, chance))
    assert value.droplet_id > 0
    assert all(one.mac or one.addresses for one in (*value.private, *value.public))


def body(chance: random.Random) -> None:
    data = mutate.encoded(PAGE, chance)
    assert http._message(data).isprintable()
    http.decoded("https://api.example", data)


def brief(chance: random.Random) -> None:
    pages = Brief()
    for _ in range(3):
        data = mutate.encoded(PAGE, chance)
        whole = http.decoded("https://api.example", data)
        read = pages.decoded("https://api.example", data)
        assert _droplets(read) == _droplets(whole), "what is read of an answer is what all of it tells"


def _droplets(answer: Any) -> Any:
    """Tell what is read of a page: each Droplet, or that it is refused."""
    listed = answer.get("droplets") if isinstance(answer, dict) else None
    return [_droplet(one) for one in listed] if isinstance(listed, list) else None


def _droplet(value: object) -> Any:
    try:
        return model.droplet(value)
    except DroplanError:
        return "refused"


def settings_file(chance: random.Random) -> None:
    values = settings.read(mutate.text(ENVIRONMENT, chance))
    parsed = settings.parse({name: value for name, value in values.items() if value})
    assert "\n" not in parsed.token + "".join(parsed.tags) + parsed.api_url
    kept = {name: value for name, value in values.items() if name in settings.NAMES and value}
    assert settings.parse(settings.read(settings.render(kept))) == settings.parse(kept), (
        "what is written is read again"
    )


def iptables_save(chance: random.Random) -> None:
    text = mutate.text(SAVED, chance).decode(errors="surrogateescape")
    current = edits.parse(text)
    for planned in (edits.needed(current, WANTED), edits.needed(current, ruleset.nothing(POLICY, 4))):
        touched = {edit.chain for edit in planned if not isinstance(edit, (edits.Delete, edits.Insert))}
        assert all(chain.startswith(ruleset.PREFIX) for chain in touched), "no chain of others is filled or erased"


def saved_rules(chance: random.Random) -> None:
    text = mutate.text(SAVED, chance).decode(errors="surrogateescape")
    once = saved.splice(text, WANTED)
    assert saved.splice(once, WANTED) == once


def nft_listing(chance: random.Random) -> None:
    table = nft_guard.build(POLICY)
    assert table is not None
    nft_table.differences(
        nft_table.parse(mutate.text(nft_table.render(table).encode(), chance).decode(errors="replace")), table
    )


def snapshot_file(chance: random.Random) -> None:
    value = {"droplet_id": 7, "written": 1.5, "policy": policy.to_json(POLICY)}
    found = snapshot.load(Kept(mutate.encoded(value, chance)))
    assert found is None or found.policy.segments


def status_file(chance: random.Random) -> None:
    value = {
        "epoch": 1.0,
        "result": "ok",
        "duration": 1.0,
        "peers": 3,
        "changed": True,
        "backend": "x",
        "error": None,
    }
    found = report.load(Kept(mutate.encoded(value, chance)))
    assert found is None or isinstance(found.error or "", str)


def ssh_connection(chance: random.Random) -> None:
    told = mutate.text(b"10.0.0.1 50022 fe80::1%eth1 22", chance).decode(errors="replace")
    assert all(one.port <= 65535 for one in ssh_sessions({"SSH_CONNECTION": told}, Path("/proc")))


def cron_file(chance: random.Random) -> None:
    text = mutate.text(schedule.cron(chance.choice((5, 7, 60)), 7).encode(), chance).decode(errors="replace")
    found = schedule.next_run(text, 1e9)
    assert found is None or found > 1e9


Target = Callable[[random.Random], None]
TARGETS: Mapping[str, Target] = {
    "droplet": droplet,
    "list": listing,
    "metadata": own,
    "body": body,
    "brief": brief,
    "settings": settings_file,
    "iptables-save": iptables_save,
    "saved rules": saved_rules,
    "nft list": nft_listing,
    "snapshot": snapshot_file,
    "status": status_file,
    "ssh connection": ssh_connection,
    "cron": cron_file,
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_refuses_in_words_or_understands(name: str) -> None:
    deadline, rounds = time.monotonic() + SECONDS, 0
    while rounds < 500 or time.monotonic() < deadline:
        rounds += 1
        seed = f"{SEED}-{rounds}"
        refusal = _refusal(name, seed)
        assert refusal.isprintable(), f"one line, nothing to fool a terminal: {seed}"
        assert len(refusal) < 2000 or name == "settings", f"whoever answers does not fill the log: {seed}"


def _refusal(name: str, seed: str) -> str:
    """Give a target one input; return the sentence that it refuses it with, "" when it does not."""
    try:
        TARGETS[name](random.Random(seed))
    except DroplanError as refusal:
        return str(refusal)
    except Exception as error:
        raise AssertionError(f"random.Random({seed!r}) breaks {name}") from error
    return ""
