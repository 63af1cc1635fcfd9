"""What ``status`` says of the API's budget: what is left, what the fleet takes, when to share a source."""

from __future__ import annotations

from collections.abc import Iterator

from droplan_boot.plural import counted
from droplan_boot.state import budget
from droplan_boot.state.report import Report


def shared_from(last: Report | None, scope: str) -> int | None:
    """Count the Droplets from which on the interval does not fit the API's limits; None where that is not known."""
    if last is None or last.droplets is None or last.set_interval is None:
        return None
    limit = budget.HOURLY if last.api_limit is None else last.api_limit
    return budget.largest(last.set_interval, limit, peered=scope == "vpc") + 1


def rows(last: Report | None, scope: str) -> Iterator[tuple[str, str]]:
    """Lay it out for a person: name and text of a row each."""
    if last is None:
        return
    if last.api_limit is not None and last.api_remaining is not None:
        used = last.api_limit - last.api_remaining
        yield (
            "API",
            f"{last.api_remaining} of {last.api_limit} requests left; the token's users took {used} in an hour",
        )
    most = shared_from(last, scope)
    if last.droplets is None or last.interval is None or most is None:
        return
    each = budget.requests(last.droplets, peered=scope == "vpc")
    text = (
        f"{counted(last.droplets, 'Droplet')} take{'s' if last.droplets == 1 else ''} "
        f"{counted(last.droplets * each * 60 // last.interval, 'request')} an hour"
    )
    if last.stretched:
        text += (
            f", each refreshing every {last.interval} min: {last.set_interval} as set would be more than is granted"
        )
    yield "fleet", f"{text}; from {most} on go over to a shared source (DROPLAN_SHARED)"
