"""Alone, within the API's budget: the interval stretches by itself, and everything that goes by it knows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from droplan_boot import paths
from droplan_boot.errors import NoAnswerError
from droplan_boot.host.files import Files
from droplan_boot.state import budget, report
from droplan_boot.state.report import Report
from droplan_boot.verbs import install, refresh, standing, status
from droplan_boot.watch import children
from droplan_boot.watch.outline import State
from droplan_boot.watch.overdue import Overdue
from tests.bed.memory.doors import Answer
from tests.bed.memory.droplet import MemoryDroplet, made
from tests.bed.memory.netfilter import Packet


class TestInterval:
    @pytest.mark.parametrize(
        ("droplets", "wanted", "minutes"),
        [
            (0, 5, 5),
            (1, 1, 1),
            (33, 1, 1),
            (34, 1, 2),
            (166, 5, 5),  # 166 x 2 x 12 = 3,984 of 4,000
            (167, 5, 6),
            (200, 5, 6),
            (201, 5, 10),  # a second page
            (400, 5, 18),
            (1_000, 5, 90),
            (1_000, 60, 90),
            (10_000, 5, 7_650),
            (200, 30, 30),
        ],
    )
    def test_it_is_the_smallest_whole_number_of_minutes_that_fits(
        self, droplets: int, wanted: int, minutes: int
    ) -> None:
        assert budget.interval(droplets, wanted) == minutes

    @pytest.mark.parametrize("droplets", [*range(1, 450, 7), 1_000, 5_000, 10_000])
    @pytest.mark.parametrize("limit", [1, 300, 5_000, 20_000])
    def test_a_fleet_never_takes_more_than_its_share_of_either_limit(self, droplets: int, limit: int) -> None:
        found = budget.interval(droplets, 5, limit)
        asked = droplets * budget.requests(droplets)
        assert asked * 60 <= 0.8 * limit * found
        assert asked <= 0.8 * 250 * found
        shorter = found - 1
        assert found == 5 or asked * 60 > 0.8 * limit * shorter or asked > 0.8 * 250 * shorter

    def test_where_a_token_is_granted_more_an_hour_the_minute_decides(self) -> None:
        assert budget.interval(1_000, 5, 20_000) == 30

    def test_peerings_are_one_request_more(self) -> None:
        assert budget.interval(166, 5, peered=True) == 8

    @pytest.mark.parametrize(("wanted", "size"), [(1, 33), (5, 166), (10, 222), (60, 800)])
    def test_the_largest_fleet_that_fits_is_known(self, wanted: int, size: int) -> None:
        assert budget.largest(wanted) == size
        assert budget.interval(size, wanted) == wanted < budget.interval(size + 1, wanted)

    def test_of_a_limit_that_nobody_fits_into_none_fits(self) -> None:
        assert budget.largest(1, 1) == 0


class TestTurns:
    def test_each_droplet_has_a_moment_of_its_own_once_a_period(self) -> None:
        at = 1_800_000_000.0
        due = [budget.not_before(at, 60, 5, number) for number in range(1_000)]
        assert all(150 <= each - at <= 3_600 for each in due)
        # The first two and a half minutes are too soon after the last refresh, and count for what comes then.
        later = [sum(start <= each - at < start + 300 for each in due) for start in range(300, 3_600, 300)]
        assert all(60 <= each <= 110 for each in later)

    def test_moments_come_a_period_apart(self) -> None:
        first = budget.not_before(1_800_000_000.0, 60, 5, 4711)
        assert budget.not_before(first + 200, 60, 5, 4711) == pytest.approx(first + 3_600)


@pytest.fixture
def droplet(files: Files) -> MemoryDroplet:
    return made(files)


def fleet(size: int) -> tuple[str, ...]:
    return tuple(f"10.132.{number // 200 + 1}.{number % 200 + 1}" for number in range(size - 1))


@pytest.fixture
def crowded(droplet: MemoryDroplet) -> MemoryDroplet:
    """Return a Droplet among 250, where 5 minutes do not fit."""
    droplet.peers = fleet(250)
    install.run(droplet.host())
    return droplet


def last(droplet: MemoryDroplet) -> Report:
    found = report.load(droplet.files)
    assert found
    return found


def paced(droplet: MemoryDroplet) -> list[str]:
    return [line for line in droplet.lines.said if line.startswith("Refreshing every")]


def due(droplet: MemoryDroplet, *, now: bool) -> None:
    """Let the moment of the next refresh have come, or be to come."""
    found = last(droplet)
    report.store(droplet.files, replace(found, not_before=found.time + (-1 if now else 1e6)))


class TestSchedule:
    def test_the_report_names_both_intervals_and_the_fleet(self, crowded: MemoryDroplet) -> None:
        found = last(crowded)
        assert (found.interval, found.set_interval, found.droplets, found.stretched) == (12, 5, 250, True)
        assert found.not_before
        assert 149 <= found.not_before - found.time <= 721

    def test_one_line_says_to_what_and_why_and_what_would_fit(self, crowded: MemoryDroplet) -> None:
        (line,) = paced(crowded)
        assert line.startswith("Refreshing every 12 min instead of every 5: 250 Droplets")
        assert "9000 requests an hour" in line
        assert "DROPLAN_SHARED, another token for a part of them or DROPLAN_INTERVAL=12" in line
        refresh.run(crowded.host(), asked=True)
        assert len(paced(crowded)) == 1

    def test_a_run_that_comes_too_early_asks_nobody_and_says_nothing(self, crowded: MemoryDroplet) -> None:
        due(crowded, now=False)
        before = last(crowded)
        crowded.lines.said.clear()
        crowded.refusal = Answer({}, 500)
        refresh.run(crowded.host())
        assert crowded.lines.said == []
        assert last(crowded) == before

    def test_it_puts_right_what_others_changed_all_the_same(self, crowded: MemoryDroplet) -> None:
        due(crowded, now=False)
        crowded.tables[4].restore("*filter\n-F INPUT\nCOMMIT\n")
        refresh.run(crowded.host())
        assert crowded.tables[4].verdict(Packet("10.99.0.66")) == "DROP"

    def test_one_that_is_due_refreshes(self, crowded: MemoryDroplet) -> None:
        due(crowded, now=True)
        crowded.peers = fleet(249)
        refresh.run(crowded.host())
        assert last(crowded).droplets == 249

    @pytest.mark.parametrize(
        ("scheduled", "asked"),
        [pytest.param(False, False, id="a person's"), pytest.param(True, True, id="the watcher's")],
    )
    def test_what_somebody_asked_for_is_never_too_early(
        self, crowded: MemoryDroplet, scheduled: bool, asked: bool
    ) -> None:
        due(crowded, now=False)
        crowded.peers = fleet(249)
        refresh.run(crowded.host(scheduled=scheduled), asked=asked)
        assert last(crowded).droplets == 249

    def test_after_a_failure_each_turn_tries_again(self, crowded: MemoryDroplet) -> None:
        due(crowded, now=True)
        crowded.refusal = Answer({}, 404)
        for _ in range(2):
            with pytest.raises(NoAnswerError):
                refresh.run(crowded.host())

    def test_a_clock_that_was_set_back_holds_nothing_up(self, crowded: MemoryDroplet) -> None:
        found = last(crowded)
        report.store(crowded.files, replace(found, time=found.time + 1e6, not_before=found.time + 2e6))
        crowded.peers = fleet(249)
        refresh.run(crowded.host())
        assert last(crowded).droplets == 249

    def test_a_fleet_that_shrank_goes_by_its_setting_again(self, crowded: MemoryDroplet) -> None:
        crowded.peers = fleet(140)
        refresh.run(crowded.host(), asked=True)
        found = last(crowded)
        assert (found.interval, found.stretched, found.not_before) == (5, False, None)
        assert paced(crowded)[1:] == ["Refreshing every 5 min again, as DROPLAN_INTERVAL says"]

    def test_a_fleet_that_fits_is_left_alone(self, droplet: MemoryDroplet) -> None:
        install.run(droplet.host())
        assert (last(droplet).interval, last(droplet).not_before, paced(droplet)) == (5, None, [])


class TestWhatIsSaid:
    def test_status_says_how_often_and_when_to_go_over(self, crowded: MemoryDroplet) -> None:
        text = " ".join(status.render(standing.look(crowded.host()), 2e9).split())
        assert "250 Droplets take 3750 requests an hour, each refreshing every 12 min: 5 as set would be more" in text
        assert "from 167 on go over to a shared source (DROPLAN_SHARED)" in text

    def test_a_small_fleet_is_told_too(self, droplet: MemoryDroplet) -> None:
        install.run(droplet.host())
        text = " ".join(status.render(standing.look(droplet.host()), 2e9).split())
        assert "3 Droplets take 72 requests an hour; from 167 on go over to a shared source" in text

    def test_the_next_refresh_is_the_one_that_is_due(self, crowded: MemoryDroplet) -> None:
        found = last(crowded)
        later = found.time + 7_000
        report.store(crowded.files, replace(found, not_before=later))
        next_run = standing.look(crowded.host()).next_run
        assert next_run
        assert later < next_run <= later + 360

    def test_metrics_name_the_interval_as_it_is(self, crowded: MemoryDroplet) -> None:
        assert b"droplan_interval_seconds 720\n" in (crowded.files.read(paths.METRICS) or b"")


class TestWatcher:
    def test_it_asks_for_what_the_schedule_would_let_pass(self) -> None:
        assert "--asked" in children.REFRESH

    @pytest.mark.parametrize(
        ("document", "seconds"),
        [
            ({"interval": 12, "set_interval": 5}, 720.0),
            ({"interval": 5, "set_interval": 5}, None),
            ({"interval": 5}, None),
            ({"interval": None, "set_interval": None}, None),
            ([], None),
        ],
    )
    def test_it_reads_the_interval_from_the_report(
        self, tmp_path: Path, document: object, seconds: float | None
    ) -> None:
        (tmp_path / "status.json").write_text(json.dumps(document))
        assert State(str(tmp_path), str(tmp_path / "lock")).stretched() == seconds

    def test_nothing_is_overdue_before_a_stretched_interval_has_passed_twice(self) -> None:
        found = Overdue(300.0, 1000.0, 1000.0, 0.0)
        found.every(720.0)
        assert not found.due(700.0)
        assert not found.missed
        assert found.due(1440.0)
