"""Signed heads of a fleet that is none, as a publisher writes them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from droplan_boot.host import openssl
from droplan_boot.host.command import Commands
from droplan_boot.sources.shared import head
from droplan_boot.sources.shared.head import Base, Head

NOW = 1_795_600_000
FLEET = "https://nyc3.digitaloceanspaces.com/bucket/prod"
RUNNER = Commands()


def a_head(public: str, **changes: Any) -> Head:
    """Make a head of ten seconds ago; ``changes`` are fields that shall be otherwise."""
    made = Head(
        fleet=FLEET,
        key=head.key_id(public),
        version=NOW,
        issued=NOW - 10,
        expires=NOW - 10 + head.LIFETIME_S,
        base=Base("base/" + "0" * 64, "0" * 64),
        changes=(),
        interval=30,
        publisher="pub-1",
        droplets=2,
    )
    return dataclasses.replace(made, **changes)


def signed(pair: tuple[Path, str], **changes: Any) -> bytes:
    """Make such a head's bytes, signed with a key pair."""
    text = head.payload(a_head(pair[1], **changes))
    return head.render(text, openssl.sign(RUNNER, pair[0], text))
