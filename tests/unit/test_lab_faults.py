"""The lab's faults bend an answer exactly where a test says, or that test means nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bed.faults import GONE, Armed, Fault, patched

TRUTH = {"droplets": [{"id": 1}, {"id": 2}], "meta": {"total": 2}}


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        pytest.param({"/meta/total": 9}, {**TRUTH, "meta": {"total": 9}}, id="a value is replaced"),
        pytest.param({"/meta/total": None}, {**TRUTH, "meta": {"total": None}}, id="null is a value"),
        pytest.param({"/meta": GONE}, {"droplets": TRUTH["droplets"]}, id="a field is gone"),
        pytest.param({"/droplets/0": GONE}, {**TRUTH, "droplets": [{"id": 2}]}, id="an item is gone"),
        pytest.param({"/droplets/1/id": "2"}, {**TRUTH, "droplets": [{"id": 1}, {"id": "2"}]}, id="within a list"),
        pytest.param({"/droplets/-": 3}, {**TRUTH, "droplets": [{"id": 1}, {"id": 2}, 3]}, id="a list grows"),
        pytest.param({"/links/pages/next": "u"}, {**TRUTH, "links": {"pages": {"next": "u"}}}, id="parents are made"),
        pytest.param({"": []}, [], id="all is replaced"),
    ],
)
def test_a_patch_changes_its_places_and_nothing_else(patch: dict[str, Any], expected: object) -> None:
    assert patched(TRUTH, patch) == expected
    assert TRUTH == {"droplets": [{"id": 1}, {"id": 2}], "meta": {"total": 2}}


def test_a_fault_is_the_same_at_the_other_end() -> None:
    fault = Fault(path="page=2", nth=1, headers={"Retry-After": "1"}, patch={"/meta": GONE, "/links": None}, drip=0.5)
    assert Fault.from_json(fault.to_json()) == fault


@pytest.mark.parametrize(
    ("fault", "struck"),
    [
        (Fault(), [True, True, True]),
        (Fault(times=1), [True, False, False]),
        (Fault(nth=2), [False, True, False]),
        (Fault(path="page=2"), [False, False, False]),
        (Fault(service="metadata"), [False, False, False]),
        (Fault(refuse=True), [False, False, False]),
    ],
)
def test_a_fault_strikes_the_requests_it_names(fault: Fault, struck: list[bool]) -> None:
    armed = Armed(fault)
    assert [armed.strikes("api", "/v2/droplets?page=1") for _ in range(3)] == struck
