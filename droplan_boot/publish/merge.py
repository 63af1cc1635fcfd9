"""What to make of listings that change while they are read. Pure.

A list of 50 pages is almost never of one moment: an entry that slips from one page to another while they are read is
missed although it is there. So present means present, and absent means: ask for it by its number, and believe 404
alone. More absent than the budget can ask about are gone when two complete listings lack them, one begun after the
other ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from droplan_boot.sources.listing import Droplet
from droplan_boot.sources.shared.base import Fleet


@dataclass(frozen=True)
class Sweep:
    """One reading of all pages.

    Args:
        began, ended: when, in seconds of one monotonic clock.
        taken: when it began, in seconds since the epoch.
        droplets: all that were on a page, by number.
        complete: whether the list held still: its total was the same on every page, and that many were found.
        peerings: the active VPC peerings; None where the token may not see them.
    """

    began: float
    ended: float
    taken: float
    droplets: Mapping[int, Droplet]
    complete: bool
    peerings: tuple[tuple[str, str], ...] | None = ()


@dataclass(frozen=True)
class Known:
    """What is known of the account.

    Args:
        fleet: its Droplets.
        lacking: Droplets that a complete listing lacked, and when that listing had ended.
        gone: Droplets that are gone, and since when we know: a page read before may still show them.
    """

    fleet: Fleet = field(default_factory=Fleet)
    lacking: Mapping[int, float] = field(default_factory=dict)
    gone: Mapping[int, float] = field(default_factory=dict)


def merged(known: Known, sweep: Sweep, may_ask: int) -> tuple[Known, tuple[int, ...]]:
    """Merge a listing into what is known.

    Args:
        known: what was known.
        sweep: every page of it was read.
        may_ask: how many Droplets may be asked about one by one.

    Returns:
        What is known now, and the Droplets to ask about.
    """
    present = {
        number: droplet for number, droplet in sweep.droplets.items() if known.gone.get(number, -1.0) < sweep.began
    }
    absent = [number for number in known.fleet.droplets if number not in sweep.droplets]
    # Those that were missed longest first, so that each has its turn.
    ask = sorted(absent, key=lambda number: (known.lacking.get(number, sweep.ended), number))[:may_ask]
    lacking = {number: known.lacking[number] for number in absent if number in known.lacking}
    gone = {number: when for number, when in known.gone.items() if number not in present}
    if sweep.complete:
        for number in set(absent) - set(ask):
            if number in lacking and lacking[number] <= sweep.began:
                gone[number] = sweep.ended
                del lacking[number]
            else:
                lacking.setdefault(number, sweep.ended)
    droplets = {
        number: droplet for number, droplet in {**known.fleet.droplets, **present}.items() if number not in gone
    }
    return Known(Fleet(droplets, sweep.peerings), lacking, gone), tuple(ask)


def answered(known: Known, number: int, droplet: Droplet | None, when: float) -> Known:
    """Take the answer about one Droplet.

    Args:
        known: what was known.
        number: which was asked about.
        droplet: what it is; None when the account has none of that number (404).
        when: when the answer came.
    """
    droplets, gone = dict(known.fleet.droplets), dict(known.gone)
    lacking = {each: since for each, since in known.lacking.items() if each != number}
    if droplet is not None:
        droplets[number] = droplet
        gone.pop(number, None)
    else:
        droplets.pop(number, None)
        gone[number] = when
    return Known(replace(known.fleet, droplets=droplets), lacking, gone)


def forgotten(known: Known, before: float) -> Known:
    """Forget who was gone before a moment that no page is older than."""
    return replace(known, gone={number: when for number, when in known.gone.items() if when >= before})
