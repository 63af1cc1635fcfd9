"""Beside every program, whatever it does: no stranger in, no peer out for our sake, nobody's rule lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed.beside import BesideBed, Event, Program, Seen, kernel_has
from tests.beside.conftest import Pool
from tests.beside.scenarios import PROGRAMS

BOTH_ORDERS = ("Docker", "firewalld", "ufw", "iptables")
"""Which of those that are tried in both orders are so for each commit: one of each way to write rules."""


def _cases() -> Iterator[object]:
    """Each program in its orders of installation, with all its events: what is more of the same, at night."""
    seen: set[str] = set()
    for program in PROGRAMS:
        who, _, rules_alone = program.name.partition("'s ")
        kind = rules_alone or who.split()[0].rstrip(",")
        for number, first in enumerate(program.orders):
            order = "droplan first" if first else "droplan last"
            for event in (None, *program.events):
                again = number > 0 and (event is not None or kind in seen or kind not in BOTH_ORDERS)
                nightly = program.nightly or again or (event is not None and event.nightly)
                yield pytest.param(
                    program,
                    first,
                    event,
                    id=f"{program.name}: {event.name if event else 'installation'}, {order}",
                    marks=[pytest.mark.nightly] if nightly else [],
                )
        seen.add(kind)


@pytest.mark.parametrize(("program", "droplan_first", "event"), [*_cases()])
def test_no_stranger_comes_in_and_no_peer_is_kept_out(
    pool: Pool, old: bool, program: Program, droplan_first: bool, event: Event | None
) -> None:
    if old and not (event and event.was_open):
        pytest.skip("1.0.0 is only asked for what it left open")
    if program.needs and not kernel_has(program.needs):
        pytest.skip(f"this kernel has no {program.needs}")
    bed = pool.take(program, droplan_first)
    if event is None:
        seen, ipv6 = bed.installed, ""
        opens = "" if droplan_first else "droplan is not there yet"
        pauses = program.install_pauses if droplan_first else ""
    else:
        seen, opens, ipv6, pauses = bed.play(event), event.opens, event.opens_ipv6, event.pauses
    if old:
        assert event
        assert seen.strangers_in or seen.peers_out_otherwise, "1.0.0 stood it: this test shows nothing"
    else:
        _judge(bed, program, seen, opens, ipv6, pauses, event.status if event else 0)
    pool.done(program, droplan_first)


def _judge(bed: BesideBed, program: Program, seen: Seen, opens: str, ipv6: str, pauses: str, status: int) -> None:
    assert {"the host", "the host by IPv6"} <= bed.open_before, "the stranger was out before droplan: no test"
    assert min(seen.knocked("stranger").values()) >= 10
    assert (seen.strangers_in_after_the_run if opens or ipv6 else seen.strangers_in) == []
    assert opens or [each for each in seen.strangers_in if "by IPv6" not in each] == []
    assert (seen.peers_out_otherwise if pauses else seen.peers_out) == []
    assert seen.after == seen.before, "a run of droplan changed what is not droplan's"
    code, said = seen.said
    assert code == (status or program.status), said


def _pausing() -> list[object]:
    return [
        pytest.param(program, event, id=f"{program.name}: {event.name}")
        for program in PROGRAMS
        for event in program.events
        if event.pauses
    ]


@pytest.mark.nightly
@pytest.mark.parametrize(("program", "event"), _pausing())
def test_where_peers_are_kept_out_for_a_time_the_program_does_that_by_itself(program: Program, event: Event) -> None:
    if program.needs and not kernel_has(program.needs):
        pytest.skip(f"this kernel has no {program.needs}")
    with BesideBed(program, droplan_first=False, without_droplan=True) as bed:
        _bring_about(bed, program, event)
        # A pause of some milliseconds is not met each time.
        assert any(bed.play(event).peers_out for _ in range(5 if event.repeats else 1)), (
            "without droplan no peer is out: say nothing of a pause"
        )


def _bring_about(bed: BesideBed, program: Program, event: Event) -> None:
    """Let happen what happens before the event, which it may build upon."""
    for before in program.events[: program.events.index(event)]:
        bed.sh(before.script)
