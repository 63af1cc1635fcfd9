"""Whose turn it is to publish. Pure.

The lease is an object that its holder writes over every few seconds. Clocks of two machines are never compared:
whoever sees the same beat for LAPSE_S of its own clock takes the lease over, if it still is that version then.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any, Final

BEAT_S: Final = 10.0
LAPSE_S: Final = 45.0
LOOK_S: Final = 5.0
"""How often one that stands by looks."""

STANDBY_BEATS: Final = 60
"""One that stands by and says nothing for so many beats has gone."""


@dataclass(frozen=True)
class Lease:
    """Who publishes, and what ``droplan fleet`` shows. It is not signed: nothing here opens or closes anything.

    Args:
        holder: who publishes, and which process of it; "" when nobody does.
        beat: goes up with each renewal.
        version: of the last head.
        requests: to the API, in the last hour.
        standby: who stands by, and at which beat it said so last.
        retired: bases that no head names any more, and since when (epoch).
        recent: the last changes: epoch, ``+`` or ``-``, name of the Droplet.
    """

    holder: str = ""
    beat: int = 0
    version: int = 0
    requests: int = 0
    standby: tuple[tuple[str, int], ...] = ()
    retired: tuple[tuple[str, int], ...] = ()
    recent: tuple[tuple[int, str, str], ...] = ()


class Turn(Enum):
    """What to do about a lease."""

    CREATE = "create"
    MINE = "mine"
    TAKE = "take"
    WAIT = "wait"


@dataclass(frozen=True)
class Watched:
    """A beat, and when it was first seen, by one's own monotonic clock."""

    holder: str
    beat: int
    since: float


def watched(before: Watched | None, found: Lease | None, now: float) -> Watched | None:
    """Go on watching a lease: the time starts anew with each beat."""
    if found is None:
        return None
    if before and (before.holder, before.beat) == (found.holder, found.beat):
        return before
    return Watched(found.holder, found.beat, now)


def turn(me: str, found: Lease | None, seen: Watched | None, now: float) -> Turn:
    """Decide whose turn it is.

    Args:
        me: who asks.
        found: the lease as it was read a moment ago; None when there is none.
        seen: since when it has been so.
        now: seconds of one's own monotonic clock.
    """
    if found is None:
        return Turn.CREATE
    if found.holder == me:
        return Turn.MINE
    if not found.holder or (seen is not None and now - seen.since >= LAPSE_S):
        return Turn.TAKE
    return Turn.WAIT


def beaten(lease: Lease, me: str) -> Lease:
    """Renew or take over: one beat more; who has not said for long that it stands by is left out."""
    beat = lease.beat + 1
    standby = tuple((name, since) for name, since in lease.standby if name != me and beat - since <= STANDBY_BEATS)
    return replace(lease, holder=me, beat=beat, standby=standby)


def standing_by(lease: Lease, me: str) -> Lease | None:
    """Say that ``me`` stands by; None when the lease says it already. The beat stays: it is the holder's."""
    said = dict(lease.standby).get(me)
    if said is not None and lease.beat - said < STANDBY_BEATS // 2:
        return None
    return replace(lease, standby=(*((name, since) for name, since in lease.standby if name != me), (me, lease.beat)))


def render(lease: Lease) -> bytes:
    """Write a lease."""
    return json.dumps(asdict(lease)).encode() + b"\n"


def parse(data: bytes) -> Lease:
    """Read a lease; what makes no sense is nobody's."""
    try:
        value: Any = json.loads(data)
        return Lease(
            holder=str(value["holder"])[:200],
            beat=int(value["beat"]),
            version=int(value["version"]),
            requests=int(value["requests"]),
            standby=tuple((str(name)[:200], int(beat)) for name, beat in value["standby"][:20]),
            retired=tuple((str(name), int(since)) for name, since in value["retired"][:100]),
            recent=tuple((int(when), str(sign)[:1], str(name)[:255]) for when, sign, name in value["recent"][-20:]),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return Lease()
