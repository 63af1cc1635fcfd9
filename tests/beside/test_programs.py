"""Beside every program, whatever it does: no stranger in, no peer out for our sake, nobody's rule lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed.beside import BesideBed, Event, Program, Seen
from tests.beside.conftest import Pool
from tests.beside.scenarios import PROGRAMS


def _cases() -> Iterator[object]:
    """Each program in its orders of installation; its events in the first of them, and at night in all."""
    for program in PROGRAMS:
        for number, first in enumerate(program.orders):
            order = "droplan first" if first else "droplan last"
            for event in (None, *program.events):
                nightly = program.nightly or (event is not None and (event.nightly or number > 0))
                yield pytest.param(
                    program,
                    first,
                    event,
                    id=f"{program.name}: {event.name if event else 'installation'}, {order}",
                    marks=[pytest.mark.nightly] if nightly else [],
                )


@pytest.mark.parametrize(("program", "droplan_first", "event"), [*_cases()])
def test_no_stranger_comes_in_and_no_peer_is_kept_out(
    pool: Pool, old: bool, program: Program, droplan_first: bool, event: Event | None
) -> None:
    if old and not (event and event.was_open):
        pytest.skip("1.0.0 is only asked for what it left open")
    bed = pool.take(program, droplan_first)
    if event is None:
        seen = bed.installed
        opens = "" if droplan_first else "droplan is not there yet"
        pauses = program.install_pauses if droplan_first else ""
    else:
        seen, opens, pauses = bed.play(event), event.opens, event.pauses
    if old:
        assert seen.strangers_in or seen.peers_out_otherwise, "1.0.0 stood it: this test shows nothing"
    else:
        _judge(bed, program, seen, opens, pauses, event.status if event else 0)
    pool.done(program, droplan_first)


def _judge(bed: BesideBed, program: Program, seen: Seen, opens: str, pauses: str, status: int) -> None:
    assert {"the host", "the host by IPv6"} <= bed.open_before, "the stranger was out before droplan: no test"
    assert min(seen.knocked("stranger").values()) >= 10
    assert (seen.strangers_in_after_the_run if opens else seen.strangers_in) == []
    assert (seen.peers_out_otherwise if pauses else seen.peers_out) == []
    assert seen.after == seen.before, "a run of droplan changed what is not droplan's"
    code, said = seen.said
    assert code == (status or program.status), said
