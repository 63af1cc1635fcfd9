"""The bucket: conditions as the real engine keeps them."""

from __future__ import annotations

import pytest

from droplan_boot.host.clock import MachineClock
from droplan_boot.host.http import Http
from droplan_boot.sources.shared.store import UNCHANGED, Condition, Store, StoreError
from tests.bed.shared.engine import OWNER, READER, Engine
from tests.bed.shared.fleet import TestFleet
from tests.bed.shared.proxy import Proxy, StoreFault


def test_the_probe_finds_that_spaces_engine_wants_etags_without_quotes(fleet_of_three: TestFleet) -> None:
    assert fleet_of_three.store().probe() is Condition.UNQUOTED


def test_the_probe_finds_that_a_versioned_bucket_keeps_no_conditions(engine: Engine) -> None:
    address = engine.bucket("versioned", versioned=True)
    assert Store(Http(MachineClock(), 60), address, ":".join(OWNER)).probe() is Condition.NONE


def test_of_two_that_create_one_does(fleet_of_three: TestFleet) -> None:
    first, second = fleet_of_three.store(), fleet_of_three.store()
    assert first.create("lease", b"first")
    assert second.create("lease", b"second") is None
    found = second.get("lease")
    assert found
    assert found.body == b"first"


def test_of_two_that_replace_the_same_version_one_does(fleet_of_three: TestFleet) -> None:
    store = fleet_of_three.store()
    etag = store.create("lease", b"old")
    assert etag
    assert store.replace("lease", b"one", etag)
    assert store.replace("lease", b"two", etag) is None
    found = store.get("lease")
    assert found
    assert found.body == b"one"


def test_what_has_not_changed_is_not_sent_again(fleet_of_three: TestFleet, proxy: Proxy) -> None:
    store = fleet_of_three.store()
    etag = store.put("head", b"h" * 1500)
    reader = fleet_of_three.store(READER)
    assert reader.get("head", etag) is UNCHANGED
    # The bar of an unchanged poll: both directions, headers included.
    assert proxy.passed[-1].sent + proxy.passed[-1].received <= 1024


def test_a_member_can_write_nothing(fleet_of_three: TestFleet) -> None:
    fleet_of_three.store().put("head", b"true")
    member = fleet_of_three.store(READER)
    with pytest.raises(StoreError, match=r"403.* not revoked and may write"):
        member.put("head", b"forged")
    with pytest.raises(StoreError, match="403"):
        member.create("base/0", b"forged")
    with pytest.raises(StoreError, match="403"):
        member.delete("head")
    found = member.get("head")
    assert found
    assert found.body == b"true"


def test_a_wrong_secret_and_an_object_that_is_not_there_get_a_sentence_that_names_both(
    fleet_of_three: TestFleet,
) -> None:
    with pytest.raises(StoreError, match=r"DROPLAN_SHARED_KEY is right and not revoked.* a publisher runs"):
        fleet_of_three.store(READER).get("head")
    with pytest.raises(StoreError, match="DROPLAN_SHARED_KEY is right"):
        fleet_of_three.store(("MEMBER", "wrong")).get("head")


def test_a_publisher_whose_key_may_not_list_is_told_what_the_refused_lease_means(
    fleet_of_three: TestFleet, bucket: str, engine: Engine
) -> None:
    store = fleet_of_three.store(engine.key(bucket, "no list"))
    assert store.probe() is Condition.UNQUOTED
    with pytest.raises(StoreError, match=r"403.*may not read it, or it is not there yet and that key may not list"):
        store.get("lease")
    assert fleet_of_three.store(engine.key(bucket, "readwrite")).get("lease") is None


def test_a_body_that_is_cut_off_is_no_body(fleet_of_three: TestFleet, proxy: Proxy) -> None:
    fleet_of_three.store().put("head", b"h" * 1500)
    proxy.fault(StoreFault(cut=700))
    with pytest.raises(Exception, match=r"gives no answer|700 of 1500"):
        fleet_of_three.store().get("head")
