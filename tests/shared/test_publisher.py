"""Publishers: what they publish, who of two does, and what is never lost or doubled between them."""

from __future__ import annotations

import dataclasses
import os

import pytest

from droplan_boot.errors import DroplanError, NoAnswerError
from droplan_boot.host.command import Commands
from droplan_boot.publish import lease
from droplan_boot.publish.publisher import REISSUE_S
from droplan_boot.sources.shared import head
from droplan_boot.sources.shared.head import Head
from droplan_boot.sources.shared.store import Condition
from tests.bed.account import fleet
from tests.bed.shared.api import Api
from tests.bed.shared.fleet import Keys, TestFleet, running
from tests.bed.shared.proxy import Proxy, StoreFault


def published(fleet_: TestFleet) -> Head:
    """Return the head in the store, which must be well signed."""
    found = fleet_.store().get("head")
    assert found
    return head.verified(Commands(), found.body, [fleet_.keys.public], fleet_.address)


def test_what_is_published_once_is_what_members_believe(fleet_of_three: TestFleet) -> None:
    fleet_of_three.publisher().once()
    assert fleet_of_three.believed() == {1000, 1001, 1002}
    leased = fleet_of_three.store().get("lease")
    assert leased
    assert lease.parse(leased.body).holder == ""


def test_gpu_droplets_are_published_as_well(fleet_of_three: TestFleet, api: Api) -> None:
    api.create(dataclasses.replace(fleet(1, first_id=7)[0], gpu=True))
    fleet_of_three.publisher().once()
    assert fleet_of_three.believed() == {7, 1000, 1001, 1002}


def test_a_droplet_comes_and_goes_within_the_heads_interval(fleet_of_three: TestFleet, api: Api) -> None:
    publisher = fleet_of_three.publisher()
    running(publisher, 30)
    api.create(*fleet(1, first_id=2000))
    running(publisher, 12)
    assert fleet_of_three.believed() == {1000, 1001, 1002, 2000}
    api.destroy(1001)
    running(publisher, 12)
    assert fleet_of_three.believed() == {1000, 1002, 2000}


@pytest.mark.parametrize(("allowed", "status"), [(False, 200), (True, 500), (True, 404)])
def test_without_actions_listings_find_the_same(
    fleet_of_three: TestFleet, api: Api, allowed: bool, status: int
) -> None:
    api.actions_allowed, api.actions_status = allowed, status
    publisher = fleet_of_three.publisher()
    running(publisher, 30)
    api.create(*fleet(1, first_id=2000))
    api.destroy(1001)
    running(publisher, 25)
    assert fleet_of_three.believed() == {1000, 1002, 2000}


def test_who_slips_between_two_pages_is_not_shut_out(fleet_of_three: TestFleet, api: Api) -> None:
    api.actions_allowed = False
    api.create(*fleet(600, first_id=3000))
    publisher = fleet_of_three.publisher()
    running(publisher, 30)
    everyone = set(api.droplets)
    gone = iter(range(3599, 3000, -1))
    removed = set()

    def shrink(path: str) -> None:
        """Destroy a Droplet of the first page after it was read: all after it move up by one, across page borders."""
        if "page=1" in path and "gpus" not in path and "droplets?" in path:
            return
        if "droplets?" in path and "gpus" not in path:
            number = next(gone)
            removed.add(number)
            api.destroy(number)

    api.before = shrink
    running(publisher, 40)
    api.before = lambda path: None
    running(publisher, 40)
    assert removed
    assert fleet_of_three.believed() == everyone - removed


def test_an_api_that_is_down_is_not_covered_up_by_signing_the_old_list_anew(
    fleet_of_three: TestFleet, api: Api
) -> None:
    publisher = fleet_of_three.publisher()
    running(publisher, 20)
    api.status = 503
    down_since = fleet_of_three.clock.time()
    running(publisher, 3600)
    assert published(fleet_of_three).issued <= down_since
    with pytest.raises(NoAnswerError, match="it expired"):
        fleet_of_three.believed()
    api.status = 200
    running(publisher, 60)
    assert fleet_of_three.believed() == {1000, 1001, 1002}


def test_an_account_without_droplets_is_another_account(fleet_of_three: TestFleet, api: Api) -> None:
    publisher = fleet_of_three.publisher()
    running(publisher, 20)
    api.destroy(1000, 1001, 1002, acted=False)
    running(publisher, 120)
    assert fleet_of_three.believed() == {1000, 1001, 1002}


class TestTwo:
    def test_one_publishes_and_the_other_stands_by(self, fleet_of_three: TestFleet) -> None:
        first, second = fleet_of_three.publisher("a"), fleet_of_three.publisher("b")
        running(first, 20)
        second.step()
        assert first.holding.held
        assert second.holding.held is None
        running(first, 15)  # it goes on although the other has written into the lease that it stands by
        leased = fleet_of_three.store().get("lease")
        assert leased
        found = lease.parse(leased.body)
        assert found.holder.startswith("a-")
        assert [name[:2] for name, _ in found.standby] == ["b-"]

    def test_the_other_takes_over_75_s_after_the_first_is_killed(self, fleet_of_three: TestFleet, api: Api) -> None:
        first, second = fleet_of_three.publisher("a"), fleet_of_three.publisher("b")
        running(first, 20)
        second.step()
        before = published(fleet_of_three)
        killed = fleet_of_three.clock.monotonic()
        api.create(*fleet(1, first_id=2000), acted=False)
        while published(fleet_of_three).publisher != "b":
            second.clock.sleep(second.step())
        assert fleet_of_three.clock.monotonic() - killed <= 75
        running(second, 15)
        assert published(fleet_of_three).version > before.version
        assert fleet_of_three.believed() == {1000, 1001, 1002, 2000}

    def test_one_that_was_frozen_writes_nothing_when_it_wakes_up(self, fleet_of_three: TestFleet, api: Api) -> None:
        first, second = fleet_of_three.publisher("a"), fleet_of_three.publisher("b")
        running(first, 20)
        second.step()
        api.destroy(1001)
        running(second, 80)
        assert published(fleet_of_three).publisher == "b"
        head_now = fleet_of_three.store().get("head")
        # It knows of 1001 still, and wants to publish that.
        first.taken += 300
        first.known = dataclasses.replace(first.known)
        first.step()
        assert first.holding.held is None
        assert fleet_of_three.store().get("head") == head_now
        # Even past the lease: the head is another version than it wrote.
        assert not first.written.publish(first.known.fleet, first.taken, 5, int(first.clock.time()))
        assert fleet_of_three.believed() == {1000, 1002}

    def test_one_that_takes_over_again_does_not_bring_back_what_it_knew(
        self, fleet_of_three: TestFleet, api: Api
    ) -> None:
        first, second = fleet_of_three.publisher("a"), fleet_of_three.publisher("b")
        running(first, 20)
        second.step()
        api.destroy(1001)
        running(second, 80)
        first.step()
        second.holding.release()
        api.status = 503  # so that nothing but what it knows can be published
        running(first, 10)
        assert published(fleet_of_three).publisher == "a"
        assert fleet_of_three.believed() == {1000, 1002}

    @pytest.mark.parametrize("after", range(12))
    def test_killed_at_any_request_the_other_goes_on_and_no_version_is_published_twice(
        self, fleet_of_three: TestFleet, api: Api, proxy: Proxy, after: int
    ) -> None:
        first, second = fleet_of_three.publisher("a"), fleet_of_three.publisher("b")
        first.step()
        api.create(*fleet(1, first_id=2000))
        # Its last write is any of these, and arrived or not.
        proxy.fault(StoreFault(path="PUT", after=after // 2, reset=True, done=bool(after % 2)))
        seen: dict[int, bytes] = {}

        def look() -> None:
            found = fleet_of_three.store().get("head")
            if found:
                version = head.claimed_version(found.body)
                assert seen.setdefault(version, found.body) == found.body

        for _ in range(4):
            first.clock.sleep(min(first.step(), 5))
            look()
        proxy.fault()
        for _ in range(30):
            second.clock.sleep(min(second.step(), 5))
            look()
        assert published(fleet_of_three).publisher == "b"
        assert fleet_of_three.believed() == {1000, 1001, 1002, 2000}

    def test_answers_of_500_although_it_was_done_neither_lose_nor_double(
        self, fleet_of_three: TestFleet, proxy: Proxy, api: Api
    ) -> None:
        publisher = fleet_of_three.publisher()
        proxy.fault(StoreFault(path="PUT", status=500, done=True))
        running(publisher, 20)
        proxy.fault()
        running(publisher, 20)
        assert fleet_of_three.believed() == {1000, 1001, 1002}
        assert publisher.holding.held

    def test_a_token_that_is_refused_lets_the_other_go_on(self, fleet_of_three: TestFleet, api: Api) -> None:
        first, second = fleet_of_three.publisher("a"), fleet_of_three.publisher("b", token="other")
        running(first, 20)
        api.tokens = {"other"}
        first.clock.sleep(12)
        first.step()
        assert first.holding.held is None
        running(second, 5)
        assert published(fleet_of_three).publisher == "b"

    def test_once_beside_another_ends_with_a_sentence(self, fleet_of_three: TestFleet) -> None:
        first, second = fleet_of_three.publisher("a"), fleet_of_three.publisher("b")
        running(first, 5)
        alive = second.clock.sleep

        def sleep(seconds: float) -> None:
            alive(seconds)
            first.step()

        second.clock.sleep = sleep  # type: ignore[method-assign]
        with pytest.raises(DroplanError, match="another publisher is at work here"):
            second.once()


class TestStoreWithoutConditions:
    def test_two_publishers_are_told_apart_and_one_ends(self, fleet_of_three: TestFleet) -> None:
        first, second = fleet_of_three.publisher("a"), fleet_of_three.publisher("b")
        for publisher in (first, second):
            plain = dataclasses.replace(publisher.holding.store, conditional=Condition.NONE)
            publisher.holding.store = publisher.written.store = plain
        running(first, 20)
        assert fleet_of_three.believed() == {1000, 1001, 1002}
        second.holding.held = first.holding.held  # it overwrote the first's lease
        first.holding.store.put("lease", lease.render(lease.Lease("b-2", 9)))
        first.clock.sleep(30)
        with pytest.raises(DroplanError, match="b-2 publishes here as well"):
            first.step()


class TestHealing:
    @pytest.mark.parametrize("what", ["head", "base", "both", "half a base", "rubbish"])
    def test_what_is_gone_or_broken_in_the_store_is_written_again(
        self, fleet_of_three: TestFleet, what: str, api: Api
    ) -> None:
        publisher = fleet_of_three.publisher()
        running(publisher, 30)
        store, now = fleet_of_three.store(), published(fleet_of_three)
        if what in ("head", "both"):
            store.delete("head")
        if what in ("base", "both"):
            store.delete(now.base.name)
        if what == "half a base":
            found = store.get(now.base.name)
            assert found
            store.put(now.base.name, found.body[: len(found.body) // 2])
        if what == "rubbish":
            store.put("head", os.urandom(400))
        running(publisher, 30)
        assert published(fleet_of_three).version > now.version
        assert fleet_of_three.believed() == {1000, 1001, 1002}

    def test_a_head_that_cannot_be_verified_is_overwritten_with_a_higher_version(
        self, fleet_of_three: TestFleet, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        stranger = Keys.made(tmp_path_factory.mktemp("stranger") / "key")
        other = dataclasses.replace(fleet_of_three, keys=stranger)
        other.publisher().once()
        store = fleet_of_three.store()
        found = store.get("head")
        assert found
        version = head.claimed_version(found.body)
        far = found.body.replace(str(version).encode(), str(version + 10**6).encode(), 1)
        store.put("head", far)
        fleet_of_three.publisher().once()
        assert published(fleet_of_three).version > version + 10**6

    def test_a_bucket_that_was_emptied_goes_on_above_what_members_saw(self, fleet_of_three: TestFleet) -> None:
        fleet_of_three.publisher().once()
        fleet_of_three.believed()
        for name in ("head", "lease"):
            fleet_of_three.store().delete(name)
        fleet_of_three.clock.sleep(5)
        fleet_of_three.publisher().once()
        assert fleet_of_three.believed() == {1000, 1001, 1002}


def test_keys_are_rotated_without_a_gap(fleet_of_three: TestFleet, tmp_path_factory: pytest.TempPathFactory) -> None:
    new = Keys.made(tmp_path_factory.mktemp("new") / "key")
    fleet_of_three.publisher().once()
    both = (fleet_of_three.keys.public, new.public)
    fleet_of_three.member(trust=both).listing()
    before = published(fleet_of_three).version
    fleet_of_three.clock.sleep(5)
    fleet_of_three.publisher(keys=new).once()
    fleet_of_three.member(trust=both).listing()
    fleet_of_three.member(trust=(new.public,)).listing()
    with pytest.raises(NoAnswerError, match="a key that is not trusted here"):
        fleet_of_three.member(trust=(fleet_of_three.keys.public,)).listing()
    found = fleet_of_three.store().get("head")
    assert found
    assert head.claimed_version(found.body) > before


def test_bases_that_no_head_names_are_removed_in_the_end(fleet_of_three: TestFleet, api: Api) -> None:
    publisher = fleet_of_three.publisher()
    running(publisher, 20)
    old = published(fleet_of_three).base.name
    api.create(*fleet(400, first_id=5000), acted=False)
    running(publisher, 20)
    assert published(fleet_of_three).base.name != old
    # Members that read an old head a moment ago still want it, and for as long as any head of its time may be kept.
    fleet_of_three.clock.sleep(3 * head.LIFETIME_S - 100)
    running(publisher, 20)
    assert fleet_of_three.store().get(old)
    fleet_of_three.clock.sleep(REISSUE_S)
    running(publisher, 20)
    assert fleet_of_three.store().get(old) is None
    assert fleet_of_three.believed() == set(api.droplets)
