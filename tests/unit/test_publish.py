"""A publisher decides: what a listing means, whose turn it is, how often to ask."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_boot import paths
from droplan_boot.errors import UsageError
from droplan_boot.host import openssl
from droplan_boot.host.command import Commands
from droplan_boot.host.files import Files
from droplan_boot.publish import lease, merge, pace, settings
from droplan_boot.publish.lease import Lease, Turn, Watched
from droplan_boot.publish.merge import Known, Sweep
from droplan_boot.publish.pace import Pace
from droplan_boot.sources.digitalocean.model import ipv4
from droplan_boot.sources.listing import Droplet
from droplan_boot.sources.shared.base import Fleet


def droplets(*numbers: int) -> dict[int, Droplet]:
    return {n: Droplet(n, f"web-{n}", "nyc3", (), "vpc", (ipv4(f"10.132.0.{n}"),), ()) for n in numbers}


def known(*numbers: int) -> Known:
    return Known(Fleet(droplets(*numbers)))


def sweep(*numbers: int, began: float = 10.0, complete: bool = True) -> Sweep:
    return Sweep(began, began + 5, began, droplets(*numbers), complete)


class TestMerge:
    def test_present_is_accepted_even_of_a_list_that_moved(self) -> None:
        found, _ = merge.merged(known(1), sweep(1, 2, complete=False), 9)
        assert set(found.fleet.droplets) == {1, 2}

    def test_absent_is_asked_about_and_stays_until_then(self) -> None:
        found, ask = merge.merged(known(1, 2), sweep(1), 9)
        assert ask == (2,)
        assert set(found.fleet.droplets) == {1, 2}

    def test_the_answer_decides(self) -> None:
        found, _ = merge.merged(known(1, 2, 3), sweep(1), 9)
        found = merge.answered(found, 2, None, 16.0)
        found = merge.answered(found, 3, droplets(3)[3], 16.0)
        assert set(found.fleet.droplets) == {1, 3}

    def test_more_than_can_be_asked_about_are_gone_after_two_complete_lists_one_after_the_other(self) -> None:
        found, ask = merge.merged(known(1, 2, 3), sweep(1, began=10), 0)
        assert ask == ()
        assert set(found.fleet.droplets) == {1, 2, 3}
        found, _ = merge.merged(found, sweep(1, began=16), 0)
        assert set(found.fleet.droplets) == {1}

    def test_two_lists_that_overlap_in_time_are_not_enough(self) -> None:
        found, _ = merge.merged(known(1, 2), sweep(1, began=10), 0)
        found, _ = merge.merged(found, sweep(1, began=14), 0)
        assert set(found.fleet.droplets) == {1, 2}

    def test_a_list_that_moved_removes_nobody(self) -> None:
        found = known(1, 2)
        for began in (10, 20, 30):
            found, _ = merge.merged(found, sweep(1, began=began, complete=False), 0)
        assert set(found.fleet.droplets) == {1, 2}

    def test_who_was_seen_in_between_begins_anew(self) -> None:
        found, _ = merge.merged(known(1, 2), sweep(1, began=10), 0)
        found, _ = merge.merged(found, sweep(1, 2, began=20), 0)
        found, _ = merge.merged(found, sweep(1, began=30), 0)
        assert set(found.fleet.droplets) == {1, 2}

    def test_a_page_that_is_older_than_the_404_does_not_bring_anybody_back(self) -> None:
        found = merge.answered(known(1, 2), 2, None, 12.0)
        found, _ = merge.merged(found, sweep(1, 2, began=10), 9)
        assert set(found.fleet.droplets) == {1}
        found, _ = merge.merged(found, sweep(1, 2, began=20), 9)
        assert set(found.fleet.droplets) == {1, 2}

    @given(st.integers(0, 10**6))
    def test_whatever_happens_meanwhile_nobody_who_was_always_there_is_ever_missing(self, seed: int) -> None:
        chance = random.Random(seed)
        there = set(range(1, 41))
        always = set(range(1, 21))
        found = known(*there)
        for turn in range(12):
            listed = set()
            for page in range(4):  # each page is of another moment
                there -= set(chance.sample(sorted(there - always), min(2, len(there - always))))
                there |= set(chance.sample(range(41, 80), 2))
                slipped = set(chance.sample(sorted(there), 3))
                listed |= {n for n in there - slipped if n % 4 == page}
            found, ask = merge.merged(found, sweep(*listed, began=turn * 10.0, complete=False), 5)
            for number in ask:
                found = merge.answered(
                    found, number, droplets(number)[number] if number in there else None, turn * 10.0 + 7
                )
            assert always <= set(found.fleet.droplets)


class TestLease:
    def test_nobodys_is_created_or_taken(self) -> None:
        assert lease.turn("me", None, None, 0) is Turn.CREATE
        assert lease.turn("me", Lease(), None, 0) is Turn.TAKE

    def test_anothers_is_taken_when_its_beat_stood_still_by_ones_own_clock(self) -> None:
        found = Lease("other", 7)
        seen = lease.watched(None, found, 100.0)
        assert lease.turn("me", found, seen, 100.0 + lease.LAPSE_S - 1) is Turn.WAIT
        assert lease.turn("me", found, seen, 100.0 + lease.LAPSE_S) is Turn.TAKE

    def test_each_beat_starts_the_time_anew(self) -> None:
        seen = lease.watched(None, Lease("other", 7), 100.0)
        seen = lease.watched(seen, Lease("other", 8), 140.0)
        assert seen == Watched("other", 8, 140.0)

    def test_another_that_says_it_stands_by_does_not(self) -> None:
        found = Lease("other", 7)
        seen = lease.watched(None, found, 100.0)
        said = lease.standing_by(found, "third")
        assert said
        assert lease.watched(seen, said, 140.0) == seen

    def test_who_has_not_said_for_long_that_it_stands_by_is_left_out(self) -> None:
        found = lease.standing_by(Lease("me", 7), "other")
        assert found
        for _ in range(lease.STANDBY_BEATS):
            found = lease.beaten(found, "me")
        assert found.standby
        assert not lease.beaten(found, "me").standby

    def test_one_comes_back_as_it_was_written(self) -> None:
        made = Lease("me-1", 7, 9, 10, (("other-2", 3),), (("base/0", 5),), ((1, "+", "web-1"),))
        assert lease.parse(lease.render(made)) == made

    @pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{}", b'{"holder":"x","beat":"y"}'])
    def test_rubbish_is_nobodys(self, data: bytes) -> None:
        assert lease.parse(data) == Lease()


class TestPace:
    def test_no_minute_and_no_hour_has_more_requests_than_allowed(self) -> None:
        asked, now = Pace(), 0.0
        times = []
        while now < 7200:
            now += asked.wait(now)
            if asked.wait(now) <= 0:
                asked.note(now)
                times.append(now)
            now += 0.01
        for span, most in ((60.0, 240), (3600.0, 4500)):
            assert max(sum(1 for t in times if start <= t < start + span) for start in times[::50]) <= most
        assert len(times) > 8000

    def test_what_the_api_asks_to_wait_is_waited(self) -> None:
        assert Pace(until=130.0).wait(100.0) == 30.0

    @pytest.mark.parametrize("droplets", [3, 200, 201, 1000, 10_000])
    def test_listings_and_looks_together_stay_within_the_hour(self, droplets: int) -> None:
        every = Pace().between_listings(0.0, droplets, actions=True)
        assert 3600 / every * pace.pages(droplets) + 3600 / pace.ACTIONS_S <= 4400

    def test_a_token_that_is_nearly_used_up_by_others_is_spared(self) -> None:
        assert Pace(remaining=100).between_listings(0.0, 1000, actions=True) > 300

    def test_members_of_any_size_of_fleet_ask_less_than_500_times_a_second(self) -> None:
        for size in (10, 1000, 10_000, 100_000):
            assert size / pace.members(size) < 500
        assert pace.members(10_000) <= 31


class TestSettings:
    KEY = openssl.public_key(Commands(), openssl.make_key(Commands()))
    LINES = (
        "DIGITALOCEAN_TOKEN=dop_v1_0\nDROPLAN_SHARED=https://nyc3.digitaloceanspaces.com/b/p/\n"
        "DROPLAN_SHARED_KEY=ID:SECRET\nDROPLAN_SIGNING_KEY=/etc/droplan/fleet.key\n"
    )

    def test_the_file_alone_is_read(self, files: Files) -> None:
        files.write(paths.PUBLISH, self.LINES.encode(), 0o600)
        found = settings.load(files)
        assert (found.token, found.shared) == ("dop_v1_0", "https://nyc3.digitaloceanspaces.com/b/p")
        assert found.signing_key == Path("/etc/droplan/fleet.key")
        assert "SECRET" not in repr(found)
        assert "dop_v1" not in repr(found)

    @pytest.mark.parametrize("name", ["TOKEN", "DROPLAN_SHARED=", "SHARED_KEY", "SIGNING_KEY"])
    def test_what_is_missing_is_named(self, files: Files, name: str) -> None:
        lines = "\n".join(line for line in self.LINES.splitlines() if name not in line) + "\n"
        files.write(paths.PUBLISH, lines.encode(), 0o600)
        with pytest.raises(UsageError, match=r"is missing in /etc/droplan/publish\.env"):
            settings.load(files)

    def test_there_being_none_is_said(self, files: Files) -> None:
        with pytest.raises(UsageError, match=r"publish\.env is missing"):
            settings.load(files)
