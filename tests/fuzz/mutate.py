"""Bend valid input: what is nearly right gets deeper into a parser than noise does."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e400, 2**63, 10**400, "", " ", "nil", "0.0.0.0/0", "0.0.0.0", "127.0.0.1", "224.0.0.1",
    "::", "::1%x -j ACCEPT\n", "::ffff:1.2.3.4", "10.132.0.9\n-A INPUT -j ACCEPT", "\x1b[2J", "\udcff", "a" * 300,
    "https://[", "https://evil.example/", [], [[]], {}, {"a": {}},
)  # fmt: skip
WORDS = (
    b"\n", b"\r", b"\0", b" ", b"=", b"'", b'"', b"#", b"%", b"/", b"@", b",", b"{", b"}", b"[0:0]", b"*filter\n",
    b"COMMIT\n", b":droplan-peers - [0:0]\n", b"-A INPUT -i eth1 -j droplan-peers\n", b"-A INPUT", b"-A", b":",
    b"\xff", b"\xe2\x80\xae", b"99999999999999999999", b"0.0.0.0/0", b"::/0", b"fe80::%eth0",
    b"table inet droplan {\n", b"set peers4 {\n", b"export ", b"DO_KEY=", b"DROPLAN_", b"1" * 5000,
)  # fmt: skip


def document(seed: Any, chance: random.Random) -> Any:
    """Return a JSON document with one to four places bent: replaced, gone, doubled or moved."""
    bent = copy.deepcopy(seed)
    for _ in range(chance.randrange(1, 5)):
        places = list(_places(bent))
        if not places:
            return chance.choice(ODD)
        holder, key = chance.choice(places)
        action = chance.randrange(4)
        if action == 0:
            del holder[key]
        elif action == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif action == 2:
            other, at = chance.choice(places)
            if key in holder if isinstance(holder, dict) else key < len(holder):
                holder[key] = copy.deepcopy(other[at])
        else:
            holder[key] = copy.deepcopy(chance.choice(ODD))
    return bent


def text(seed: bytes, chance: random.Random) -> bytes:
    """Return bytes with one to four stretches gone, doubled, moved or overwritten."""
    bent = seed
    for _ in range(chance.randrange(1, 5)):
        start = chance.randrange(len(bent) + 1)
        end = min(len(bent), start + chance.choice((0, 1, 1, 2, 8, 40)))
        middle = chance.choice((b"", bent[start:end] * 2, chance.choice(WORDS), bytes([chance.randrange(256)])))
        bent = bent[:start] + middle + bent[end:]
    return bent


def encoded(seed: Any, chance: random.Random) -> bytes:
    """Return the bytes of a bent document, or bent bytes of a document."""
    if chance.random() < 0.5:
        return json.dumps(document(seed, chance)).encode()
    return text(json.dumps(seed).encode(), chance)


def _places(value: Any) -> Any:
    if isinstance(value, dict):
        for key in value:
            yield value, key
            yield from _places(value[key])
    elif isinstance(value, list):
        for at, one in enumerate(value):
            yield value, at
            yield from _places(one)
