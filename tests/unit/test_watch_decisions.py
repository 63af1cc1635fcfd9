"""What the watcher decides, on a clock of the test's own."""

from __future__ import annotations

import random

import pytest

from droplan_boot.watch import lookups
from droplan_boot.watch.healing import TIMES, Healing
from droplan_boot.watch.lookups import Lookups
from droplan_boot.watch.overdue import Overdue
from droplan_boot.watch.rulesets import MAYBE, SURE


def stranger(_source: str) -> bool:
    """Nobody is a peer."""
    return False


def made() -> Lookups:
    return Lookups(lambda: True, 0.0)


def knocks(found: Lookups, source: str, *times: float) -> list[float]:
    """Knock and have it looked up when that is due; return when it was."""
    looked = []
    for at in times:
        found.knocked(source, at)
        if found.due(at, stranger):
            looked.append(at)
            found.ended(at, True)
    return looked


class TestLookups:
    def test_a_new_source_is_looked_up_at_once(self) -> None:
        assert knocks(made(), "10.132.0.5", 7.0) == [7.0]

    def test_nobody_is_looked_up_who_did_not_knock(self) -> None:
        found = made()
        assert not found.due(0.0, stranger)
        assert found.next(0.0) is None

    def test_a_droplet_that_the_api_lists_late_is_found_with_its_third_syn(self) -> None:
        assert knocks(made(), "10.132.0.5", 0, 1, 3, 7) == [0, 3]

    def test_whoever_knocks_on_is_looked_up_ever_more_seldom(self) -> None:
        looked = knocks(made(), "10.132.0.5", *range(24 * 3600))
        pauses = [after - before for before, after in zip(looked, looked[1:])]
        assert pauses[:6] == [2, 8, 32, 128, 512, 2048]
        assert set(pauses[6:]) == {3600}
        assert len(looked) <= 6 + 24 + 1

    def test_all_who_knocked_are_answered_by_one(self) -> None:
        found = made()
        for number in range(100):
            found.knocked(f"10.132.0.{number}", 0.0)
        assert found.due(0.0, stranger)
        assert not found.due(0.0, stranger)

    def test_ten_at_once_and_one_more_a_minute(self) -> None:
        found = made()
        looked = []
        for at in range(600):
            for n in range(50):
                found.knocked(f"10.132.{at % 250}.{n}", at)
            looked += [at] if found.due(at, stranger) else []
        assert looked[:10] == list(range(10))
        assert [after - before for before, after in zip(looked[10:], looked[11:])] == [60] * 8

    def test_a_flood_of_spoofed_sources_is_bounded_in_memory_and_in_look_ups(self) -> None:
        found = made()
        chance = random.Random(1)
        looked = 0
        for n in range(200_000):
            source = f"10.132.{chance.randrange(256)}.{chance.randrange(256)}"
            looked += len(knocks(found, source, n / 10_000))
        assert looked == 10
        assert len(found._pauses) + len(found._wanted) <= 2 * lookups.REMEMBERED

    def test_none_while_the_api_has_little_left(self) -> None:
        left = [False]
        found = Lookups(lambda: left[0], 0.0)
        assert knocks(found, "10.132.0.5", 0, 1, 2) == []
        left[0] = True
        assert knocks(found, "10.132.0.5", 3) == [3]

    def test_none_for_a_peer_that_asks_for_what_it_may_not(self) -> None:
        found = made()
        found.knocked("10.132.0.3", 0.0)
        assert not found.due(0.0, lambda source: source == "10.132.0.3")
        assert found.next(0.0) is None

    def test_after_failures_nobody_is_for_a_growing_while(self) -> None:
        found = made()
        looked = []
        for at in range(400):
            found.knocked(f"10.132.1.{at % 250}", at)
            if found.due(at, stranger):
                looked.append(at)
                found.ended(at, False)
        assert looked == [0, 30, 90, 210]

    def test_until_one_succeeds(self) -> None:
        found = made()
        found.ended(0.0, False)
        found.ended(0.0, False)
        found.ended(60.0, True)
        found.ended(60.0, False)
        assert not knocks(found, "10.132.0.5", 89)
        assert knocks(found, "10.132.0.6", 90)

    def test_it_wakes_for_whoever_knocked_during_a_rest(self) -> None:
        found = made()
        found.ended(0.0, False)
        found.knocked("10.132.0.5", 1.0)
        assert found.next(1.0) == 30.0


def repaired(found: Healing, process: str, at: float) -> None:
    found.heard(SURE, process, at)
    found.began()
    found.ended(True, at)


class TestHealing:
    def test_nothing_heard_is_nothing_to_do(self) -> None:
        assert Healing().next() is None

    def test_a_change_of_ours_is_looked_at_once_it_settled(self) -> None:
        found = Healing()
        found.heard(SURE, "nft", 5.0)
        assert found.next() == pytest.approx(5.1)
        found.heard(SURE, "nft", 5.05)
        assert found.next() == pytest.approx(5.15)

    def test_at_the_latest_after_half_a_second(self) -> None:
        found = Healing()
        for n in range(100):
            found.heard(SURE, "nft", n / 20)
        assert found.next() == pytest.approx(0.5)

    def test_what_is_heard_while_it_is_looked_at_is_looked_at_again(self) -> None:
        found = Healing()
        found.heard(SURE, "nft", 0.0)
        found.began()
        assert found.next() is None
        found.heard(SURE, "nft", 0.2)
        found.ended(True, 0.4)
        assert found.next() == pytest.approx(0.4)

    def test_ten_changes_a_second_beside_ours_cost_ever_fewer_looks(self) -> None:
        assert len(looks(MAYBE, 600.0)) <= 16

    def test_ten_a_second_of_ours_that_leave_them_right_are_looked_at_within_the_bar(self) -> None:
        began = looks(SURE, 60.0)
        assert all(after - before <= 1.6 for before, after in zip(began, began[1:]))

    def test_after_looks_in_vain_what_certainly_is_ours_is_not_put_off(self) -> None:
        found = Healing()
        for n in range(10):
            found.heard(MAYBE, "iptables", n * 100.0)
            found.began()
            found.ended(False, n * 100.0)
        found.heard(SURE, "nft", 901.0)
        assert found.next() == pytest.approx(902.0)

    def test_looks_in_vain_are_forgotten_after_a_quiet_while(self) -> None:
        found = Healing()
        for quiet, pause in ((0.0, 1.0), (30.0, 2.0), (10_000.0, 1.0)):
            found.quiet(quiet)
            found.heard(MAYBE, "iptables", quiet)
            found.began()
            found.ended(False, quiet)
            found.heard(MAYBE, "iptables", quiet)
            assert found.next() == quiet + pause
            found.began()

    def test_who_undoes_it_five_times_in_a_minute_is_left_alone_and_named(self) -> None:
        found = Healing()
        for n in range(TIMES - 1):
            repaired(found, "firewalld", n * 10.0)
        assert found.quarrel == ""
        repaired(found, "firewalld", 45.0)
        assert found.quarrel == "firewalld"
        found.heard(SURE, "firewalld", 46.0)
        assert found.next() is None

    def test_five_times_in_an_hour_are_no_quarrel(self) -> None:
        found = Healing()
        for n in range(TIMES * 3):
            repaired(found, "firewalld", n * 20.0)
        assert found.quarrel == ""

    def test_the_next_refresh_ends_it(self) -> None:
        found = Healing()
        for n in range(TIMES):
            repaired(found, "", n)
        assert found.quarrel == "a program that the kernel did not name"
        found.refreshed()
        found.heard(SURE, "nft", 10.0)
        assert found.next() is not None


def looks(level: int, seconds: float) -> list[float]:
    """Change something ten times a second, which never is amiss; return when it was looked at."""
    found = Healing()
    began = []
    for tick in range(int(seconds * 10)):
        at = tick / 10
        found.heard(level, "kube-proxy", at)
        due = found.next()
        if due is not None and due <= at:
            began.append(at)
            found.began()
            found.ended(False, at)
    return began


class TestOverdue:
    def test_it_is_an_interval_late(self) -> None:
        found = Overdue(300.0, 1000.0, 1100.0, 50.0)
        assert found.next() == 550.0
        assert not found.due(549.0)
        assert found.due(550.0)

    def test_then_an_interval_later_again(self) -> None:
        found = Overdue(300.0, 1000.0, 1000.0, 0.0)
        assert found.due(600.0)
        assert not found.due(600.0)
        assert found.next() == 900.0

    def test_a_run_puts_it_off(self) -> None:
        found = Overdue(300.0, 1000.0, 1000.0, 0.0)
        assert found.look(1300.0, False, 301.0)
        assert found.next() == 901.0

    def test_the_same_mark_is_no_run(self) -> None:
        found = Overdue(300.0, 1000.0, 1000.0, 0.0)
        assert not found.look(1000.0, False, 500.0)
        assert found.next() == 600.0

    @pytest.mark.parametrize("wall", [-1e9, 0.0, 1e12])
    def test_a_clock_that_was_set_neither_hastens_it_nor_puts_it_off(self, wall: float) -> None:
        found = Overdue(300.0, 1000.0, wall, 0.0)
        assert found.next() == 600.0
        assert found.look(wall - 1e9, False, 10.0)
        assert found.next() == 610.0

    def test_the_first_of_all_is_the_schedules(self) -> None:
        assert Overdue(300.0, None, 5000.0, 0.0).next() == 600.0

    def test_that_the_schedule_missed_it_is_told_until_it_runs_again(self) -> None:
        found = Overdue(300.0, 1000.0, 1000.0, 0.0)
        told = [found.missed]
        assert found.due(600.0)
        found.look(1600.0, True, 601.0)
        told.append(found.missed)
        found.look(1900.0, False, 901.0)
        told.append(found.missed)
        assert told == [False, True, False]
