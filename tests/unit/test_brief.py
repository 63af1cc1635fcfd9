"""What is decoded of the API's answers: all that anybody reads, whatever else they hold and however it is written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from droplan_boot.errors import NoAnswerError
from droplan_boot.sources.digitalocean import brief, model
from droplan_boot.sources.digitalocean.brief import Brief
from tests.bed import account
from tests.bed.account import ListedDroplet

URL = "https://api.digitalocean.com/v2/droplets"

FLEET = [
    ListedDroplet(7, "web", "10.132.0.7", "104.236.0.7", "2604:a880::7", tags=("web", "eu")),
    ListedDroplet(8, "gpu", "10.132.0.8", gpu=True),
    ListedDroplet(9, "far", "10.110.0.9", region="fra1"),
    ListedDroplet(10, "new", status="off"),
]

COMPACT = (",", ":")
"""Separators, as DigitalOcean writes."""

SPACED = (", ", ": ")
"""Separators, as Python does."""


def listed(*droplets: ListedDroplet) -> list[dict[str, Any]]:
    return [account.listing(one) for one in droplets]


def page(droplets: list[dict[str, Any]], separators: tuple[str, str] = COMPACT) -> bytes:
    return json.dumps({"droplets": droplets, "meta": {"total": len(droplets)}}, separators=separators).encode()


def read(document: bytes) -> list[Any]:
    return [model.droplet(one) for one in Brief().decoded(URL, document)["droplets"]]


@pytest.mark.parametrize("separators", [COMPACT, SPACED, (", ", ":"), (" , ", " : ")])
def test_every_droplet_is_the_one_that_the_whole_answer_tells(separators: tuple[str, str]) -> None:
    assert read(page(listed(*FLEET), separators)) == [model.droplet(one) for one in listed(*FLEET)]


@pytest.mark.parametrize("separators", [COMPACT, SPACED])
def test_nobody_decodes_what_nobody_reads(separators: tuple[str, str]) -> None:
    first, *_ = Brief().decoded(URL, page(listed(*FLEET), separators))["droplets"]
    assert "image" not in first
    assert "size" not in first
    assert first["region"] == {"slug": "nyc3"}
    assert first["networks"] == listed(FLEET[0])[0]["networks"]


@pytest.mark.parametrize("separators", [COMPACT, SPACED])
@pytest.mark.parametrize(
    "name",
    [
        'x,"size":{}',
        'x, "size": {}',
        '\\","region":{"slug":"fra1"},"x":"',
        '","image":{"',
        ',"region":{',
    ],
)
def test_a_name_that_looks_like_a_member_stays_a_name(name: str, separators: tuple[str, str]) -> None:
    droplets = listed(*FLEET)
    droplets[1]["name"] = droplets[2]["image"]["name"] = name
    assert [one.name for one in read(page(droplets, separators))] == ["web", name, "far", "new"]


def test_of_more_values_than_are_known_apart_each_is_read() -> None:
    droplets = listed(*(ListedDroplet(n, f"n{n}", region=f"reg{n}") for n in range(1, 3 * brief._KNOWN)))
    assert [one.region for one in read(page(droplets))] == [f"reg{n}" for n in range(1, 3 * brief._KNOWN)]
    *_, last = Brief().decoded(URL, page(droplets))["droplets"]
    assert last["region"] == droplets[-1]["region"], "its text is compared with no more than those"


def test_a_value_is_known_on_the_next_page_and_another_that_begins_like_it_is_not_taken_for_it() -> None:
    account_of = Brief()
    one, other = listed(FLEET[0]), listed(FLEET[0])
    one[0]["region"], other[0]["region"] = {"slug": "nyc1"}, {"slug": "nyc1", "name": "New York 1"}
    for droplets in (one, other, one):
        (found,) = account_of.decoded(URL, page(droplets))["droplets"]
        assert found["region"] == {"slug": "nyc1"}
    other[0]["region"]["slug"] = "nyc2"
    (found,) = account_of.decoded(URL, page(other))["droplets"]
    assert found["region"] == {"slug": "nyc2"}


@pytest.mark.parametrize("region", [None, "nyc3", [], {}, {"name": "New York 3"}, {"slug": None}, {"slug": ["nyc3"]}])
def test_a_region_of_the_wrong_shape_is_no_answer(region: object) -> None:
    droplets = listed(*FLEET)
    droplets[1]["region"] = region
    with pytest.raises(NoAnswerError, match=r"'(region|slug)' is "):
        read(page(droplets))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>sign in</html>",
        page(listed(*FLEET))[:-1],
        page(listed(*FLEET))[:1500],
        b'{"droplets":[{"id":1,"image":{"id":}}]}',
        b'{"a":1,"image":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
        b'{"a":"\xff"}',
    ],
    ids=["nothing", "a portal", "all but the end", "half", "a broken image", "a deep one", "no UTF-8"],
)
def test_what_is_no_json_is_no_answer(document: bytes) -> None:
    with pytest.raises(NoAnswerError, match=r"api\.digitalocean\.com answers with something that is no JSON"):
        Brief().decoded(URL, document)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_what_json_may_be_written_in_is_read(encoding: str) -> None:
    document = page(listed(*FLEET)).decode().encode(encoding)
    assert read(document) == [model.droplet(one) for one in listed(*FLEET)]
