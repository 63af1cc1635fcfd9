"""The schedule: fields that cron takes, spread over a fleet, never further apart than asked."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_boot.setup import schedule

INTERVALS = range(1, 61)
IDS = (1, 2, 3164444, 2**31, 2**53)


def fields(text: str) -> tuple[set[int], int]:
    """Read the line of every few minutes, as crontab(5) says; return its minutes and the seconds it sleeps.

    One more line counts: the one that runs at boot, the same number of seconds after.
    """
    lines = [
        line for line in text.splitlines() if line and not line.startswith("#") and "=" not in line.split(" ")[0]
    ]
    assert len(lines) == 2
    assert lines[1] == "@reboot root " + lines[0].split(" root ")[1]
    minute, hour, day, month, weekday, user, command = lines[0].split(" ", 6)
    assert (hour, day, month, weekday, user) == ("*", "*", "*", "*", "root")
    slept = re.fullmatch(r"sleep (\d+); /opt/droplan/refresh.sh", command)
    assert slept
    minutes: set[int] = set()
    for part in minute.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+)(?:/(\d+))?)?", part)
        assert found, part
        first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
        assert 0 <= first <= last <= 59
        assert 1 <= step <= 59
        minutes.update(range(first, last + 1, step))
    return minutes, int(slept[1])


@pytest.mark.parametrize("interval", INTERVALS)
def test_cron_takes_the_fields_and_runs_it_never_further_apart_than_asked(interval: int) -> None:
    for droplet_id in IDS:
        minutes, second = fields(schedule.cron(interval, droplet_id))
        ordered = sorted(minutes)
        gaps = [after - before for before, after in zip(ordered, [*ordered[1:], ordered[0] + 60])]
        assert max(gaps) <= interval
        assert len(ordered) == -(-60 // interval)
        assert 0 <= second <= 59


def test_a_droplet_keeps_its_time() -> None:
    # The file would be written anew at each install otherwise.
    assert schedule.cron(5, 3164444) == schedule.cron(5, 3164444)


@pytest.mark.parametrize("interval", [5, 7, 60])
def test_droplets_made_together_do_not_call_together(interval: int) -> None:
    first = Counter(min(fields(schedule.cron(interval, one))[0]) for one in range(500_000_000, 500_003_000))
    if interval in (5, 60):
        assert set(first) == set(range(interval))
        assert max(first.values()) < 1.5 * 3000 / interval
    seconds = Counter(fields(schedule.cron(interval, one))[1] for one in range(500_000_000, 500_003_000))
    assert set(seconds) == set(range(60))
    assert max(seconds.values()) < 90


def test_the_fleet_never_shares_a_second_beyond_chance() -> None:
    slots = Counter(
        (min(minutes), second)
        for minutes, second in (fields(schedule.cron(5, one)) for one in range(700_000_000, 700_002_000))
    )
    assert max(slots.values()) < 30  # 7 each on average, of 300 slots


@pytest.mark.usefixtures("utc")
@given(st.integers(1, 60), st.integers(1, 2**40), st.integers(0, 2**31).map(lambda one: one / 8))
def test_the_next_run_is_the_first_that_a_clock_would_come_to(interval: int, droplet_id: int, now: float) -> None:
    text = schedule.cron(interval, droplet_id)
    minutes, second = fields(text)
    start = int(now // 60) * 60
    runs = (start + 60 * one + second for one in range(-1, 70) if (start // 60 + one) % 60 in minutes)
    assert schedule.next_run(text, now) == next(at for at in runs if at > now)


@pytest.mark.parametrize("text", ["", "# nothing\n", "*/5 * * * * root /opt/droplan/refresh.sh\n", "\x00"])
def test_another_file_has_no_next_run_of_ours(text: str) -> None:
    assert schedule.next_run(text, 1000.0) is None


def test_a_step_of_none_is_no_reason_to_fail() -> None:
    schedule.next_run("1-59/0 * * * * root sleep 3;", 1000.0)


def test_neither_file_holds_more_than_it_needs() -> None:
    assert schedule.REFRESH.startswith("#!/bin/sh\n")
    assert "env -i PATH=" in schedule.REFRESH
    assert "/opt/droplan/droplan refresh --scheduled" in schedule.REFRESH
    assert "DO_KEY" not in schedule.REFRESH + schedule.cron(5, 1)
