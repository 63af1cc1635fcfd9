"""A fleet's Droplets as bytes: the immutable base, and the changes since that a head carries.

A row is ``[id, name, region, tags or null, VPC or null, [private, ...], [public, ...]]``; a change is a row, or
``[id]`` alone for a Droplet that is gone.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from droplan_boot.errors import NoAnswerError
from droplan_boot.networks import Address
from droplan_boot.sources.digitalocean import model
from droplan_boot.sources.listing import Droplet

SCHEMA: Final = 1
_LIMIT_BYTES: Final = 64 << 20  # 10,000 Droplets have 2 MB

Row = list[Any]


@dataclass(frozen=True)
class Fleet:
    """The account's Droplets and peerings, as a publisher knows them.

    Args:
        droplets: by number.
        peerings: the active VPC peerings, as pairs of VPC UUIDs; None where the token may not see them.
    """

    droplets: Mapping[int, Droplet] = field(default_factory=dict)
    peerings: tuple[tuple[str, str], ...] | None = ()


def encode(fleet: Fleet) -> bytes:
    """Write a fleet; the same fleet always gives the same bytes."""
    value = {
        "schema": SCHEMA,
        "droplets": [row(fleet.droplets[number]) for number in sorted(fleet.droplets)],
        "peerings": None if fleet.peerings is None else sorted(map(list, fleet.peerings)),
    }
    return gzip.compress(json.dumps(value, separators=(",", ":")).encode(), 9, mtime=0)


def decode(data: bytes) -> Fleet:
    """Read and check what :func:`encode` wrote.

    Raises:
        NoAnswerError: it is something else, or names an address that no Droplet can have.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as zipped:
            text = zipped.read(_LIMIT_BYTES + 1)
        if len(text) > _LIMIT_BYTES:
            raise _malformed("it is too large")
        value = json.loads(text)
    except (OSError, EOFError, ValueError, RecursionError):
        raise _malformed("it is no gzipped JSON") from None
    try:
        if model.member(value, "schema", int) != SCHEMA:
            raise _malformed("a later droplan wrote it")
        droplets = (_droplet(entry) for entry in model.member(value, "droplets", list))
        peerings = model.optional(value, "peerings", list, None)
        return Fleet(
            {droplet.id: droplet for droplet in droplets}, None if peerings is None else tuple(map(_pair, peerings))
        )
    except model.MalformedError as error:
        raise _malformed(error.what) from None


def changes(before: Fleet, now: Fleet) -> list[Row]:
    """List what differs between two fleets, peerings left out."""
    gone = [[number] for number in sorted(before.droplets) if number not in now.droplets]
    there = [row(now.droplets[number]) for number in sorted(now.droplets) if differs(before, now.droplets[number])]
    return gone + there


def differs(before: Fleet, droplet: Droplet) -> bool:
    """Whether a fleet lacks this Droplet or has it otherwise."""
    return before.droplets.get(droplet.id) != droplet


def changed(before: Fleet, rows: Iterable[object]) -> Fleet:
    """Apply what :func:`changes` listed.

    Raises:
        NoAnswerError: it is something else, or names an address that no Droplet can have.
    """
    droplets = dict(before.droplets)
    for entry in rows:
        if isinstance(entry, list) and len(entry) == 1:
            droplets.pop(entry[0] if isinstance(entry[0], int) else 0, None)
            continue
        try:
            droplet = _droplet(entry)
        except model.MalformedError as error:
            raise _malformed(error.what) from None
        droplets[droplet.id] = droplet
    return Fleet(droplets, before.peerings)


def row(droplet: Droplet) -> Row:
    """Write a Droplet."""
    return [
        droplet.id,
        droplet.name,
        droplet.region,
        None if droplet.tags is None else list(droplet.tags),
        droplet.vpc,
        [str(address) for address in droplet.private],
        [str(address) for address in droplet.public],
    ]


def _droplet(value: object) -> Droplet:
    if not isinstance(value, list) or len(value) != 7:
        raise _malformed("a Droplet is no row of seven")
    number, name, region, tags, vpc, private, public = value
    # By type, not by isinstance: JSON has no subclasses but bool, and 10,000 of these are half of a member's refresh.
    if not (type(number) is int and number > 0 and type(name) is str and type(private) is type(public) is list):
        raise _malformed(f"Droplet {number!r:.40} is of another shape")
    if tags is not None and type(tags) is not list:
        raise _malformed(f"Droplet {number} has tags of another shape")
    return Droplet(
        number,
        model.shown(name)[:255],
        model.text(region),
        None if tags is None else tuple([model.text(tag) for tag in tags]),
        None if vpc is None else model.text(vpc),
        tuple([model.ipv4(_text(address)) for address in private]),
        tuple([_address(_text(address)) for address in public]),
    )


def _address(value: str) -> Address:
    return model.ipv6(value) if ":" in value else model.ipv4(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _malformed(f"{value!r:.40} where an address belongs")
    return value


def _pair(value: object) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise _malformed("a peering is no pair")
    return model.text(value[0]), model.text(value[1])


def _malformed(what: str) -> NoAnswerError:
    return NoAnswerError(f"the fleet's list is malformed ({what})", "update droplan here or on the publisher")
