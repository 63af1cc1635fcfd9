"""The head: the one object of a fleet that is signed, and that changes. Pure but for openssl.

What a reader believes follows The Update Framework (https://theupdateframework.github.io/specification/): the version
never goes back, what has expired is nothing, and what is named by its hash needs no signature of its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from droplan_boot.errors import NoAnswerError
from droplan_boot.host import openssl
from droplan_boot.host.command import Runner
from droplan_boot.sources.digitalocean import model
from droplan_boot.sources.shared.base import Row

SCHEMA: Final = 1
LIFETIME_S: Final = 1200
"""A head expires so long after the listing that it rests on."""

LIMIT_BYTES: Final = 256 << 10
HIGHEST: Final = 1 << 62
"""No version is above: whoever may write to the bucket could otherwise use the numbers up."""

INTERVALS: Final = (5, 300)
"""The shortest and the longest time between two polls of a member, in seconds."""

_SKEW_S: Final = 300
_OTHERS: Final = "see who else writes to the bucket"


class NotBelievedError(NoAnswerError):
    """What the store holds is not what this fleet's publisher says now."""


@dataclass(frozen=True)
class Base:
    """The immutable object that a head rests on.

    Args:
        name: below the fleet's address.
        sha256: of its bytes, in hex.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class Head:
    """What a publisher says.

    Args:
        fleet: which fleet: the value of DROPLAN_SHARED.
        key: which key signed it: see :func:`key_id`.
        version: higher than that of every head before it.
        issued: when the listing began that it rests on, seconds since the epoch.
        expires: when it is not to be believed any more.
        base: the Droplets at some moment.
        changes: what has changed since then.
        interval: seconds between two polls of a member.
        publisher: who wrote it.
        droplets: how many Droplets the fleet has.
    """

    fleet: str
    key: str
    version: int
    issued: int
    expires: int
    base: Base
    changes: tuple[Row, ...]
    interval: int
    publisher: str
    droplets: int


def key_id(public: str) -> str:
    """Name a public key, in 16 digits of hex."""
    return hashlib.sha256(base64.b64decode(public)).hexdigest()[:16]


def payload(head: Head) -> str:
    """Write what is signed: one line of JSON."""
    return json.dumps({"schema": SCHEMA, **asdict(head)}, separators=(",", ":"))


def render(text: str, signature: str) -> bytes:
    """Write the object: what is signed, and below it the signature."""
    return f"{text}\n{signature}\n".encode()


def verified(runner: Runner, data: bytes, trust: Sequence[str], fleet: str) -> Head:
    """Read a head that one of this fleet's keys signed, whatever its age.

    Args:
        runner: runs openssl.
        data: the object's bytes.
        trust: public keys.
        fleet: whose head it must be.

    Raises:
        NotBelievedError: it is not.
        CommandError: there is no openssl.
    """
    lines = data.decode("ascii", errors="replace").split("\n")
    if len(data) > LIMIT_BYTES or len(lines) != 3 or lines[2]:
        raise _refused("it is cut off or no head at all", _OTHERS)
    text, signature = lines[:2]
    claimed = _value(text).get("key")
    keys = [key for key in trust if key_id(key) == claimed]
    if not keys:
        raise _refused(
            "it is signed with a key that is not trusted here",
            "set DROPLAN_SHARED_TRUST to what `droplan fleet key` printed for the publisher",
        )
    if not any(openssl.verify(runner, key, signature, text) for key in keys):
        raise _refused("its signature is wrong", "somebody else writes to this bucket: change the readwrite key")
    try:
        head = _read(_value(text))
    except NoAnswerError as error:
        raise _refused(error.why, "update droplan here or on the publisher") from None
    if head.fleet != fleet:
        raise _refused(f"it is the head of another fleet, {head.fleet:.100}", "see that DROPLAN_SHARED is right")
    return head


def check(head: Head, now: float, last: int | None) -> None:
    """See that a verified head is of today.

    Args:
        head: what was read.
        now: seconds since the epoch.
        last: the highest version that was ever believed here; None when there was none.

    Raises:
        NotBelievedError: it is not.
    """
    if last is not None and head.version < last:
        raise _refused(
            f"it is version {head.version}, older than {last}, which was seen here before",
            "somebody put an old one back: see who writes to the bucket",
        )
    if head.issued > now + _SKEW_S:
        raise _refused(f"it was issued {head.issued - now:.0f} s from now", "set this machine's clock")
    if head.expires <= now:
        raise _refused(
            f"it expired {now - head.expires:.0f} s ago",
            "see that a publisher runs (`droplan fleet`) and that this machine's clock is right",
        )


def claimed_version(data: bytes) -> int:
    """Tell the version that an unverified head claims; 0 when it makes no sense."""
    try:
        version = _value(data.decode("ascii", errors="replace").split("\n")[0]).get("version")
    except NotBelievedError:
        return 0
    return version if isinstance(version, int) and 0 < version < HIGHEST else 0


def _value(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise _refused("it is cut off or no head at all", _OTHERS) from None
    if not isinstance(value, dict):
        raise _refused("it is no head at all", _OTHERS)
    return value


def _read(value: dict[str, Any]) -> Head:
    if model.member(value, "schema", int) != SCHEMA:
        raise NoAnswerError("a later droplan wrote it")
    base = model.member(value, "base", dict)
    sha256 = model.member(base, "sha256", str)
    if not re.fullmatch(r"[0-9a-f]{64}", sha256) or model.member(base, "name", str) != f"base/{sha256}":
        raise NoAnswerError("its base is not named by its hash")
    head = Head(
        fleet=model.member(value, "fleet", str),
        key=model.member(value, "key", str),
        version=model.member(value, "version", int),
        issued=model.member(value, "issued", int),
        expires=model.member(value, "expires", int),
        base=Base(base["name"], sha256),
        changes=tuple(model.member(value, "changes", list)),
        interval=model.member(value, "interval", int),
        publisher=model.text(value.get("publisher")),
        droplets=model.member(value, "droplets", int),
    )
    if not 0 < head.version < HIGHEST or not 0 <= head.expires - head.issued <= LIFETIME_S:
        raise NoAnswerError(f"version {head.version} with {head.expires - head.issued} s to live makes no sense")
    if not INTERVALS[0] <= head.interval <= INTERVALS[1]:
        raise NoAnswerError(f"an interval of {head.interval} s makes no sense")
    return head


def _refused(why: str, advice: str = "") -> NotBelievedError:
    return NotBelievedError(f"the fleet's head is not believed: {why}", advice)
