"""Listing the account's Droplets: a complete answer or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_boot.errors import NoAnswerError
from droplan_boot.host.http import Http
from droplan_boot.sources.digitalocean.api import Account
from droplan_boot.sources.listing import Droplet
from tests.bed.memory.doors import Answer, Clock, Script, Transport, session
from tests.unit.test_model import JSON, raw

BASE = "https://api.example"
TOKEN = "dop_v1_" + "0" * 64
OWN = 7
NOW = 1_800_000_000.0


def droplets(*numbers: int, **changes: Any) -> list[dict[str, Any]]:
    return [raw(id=number, **changes) for number in numbers]


def page(key: str, entries: list[Any], total: int, following: str | None = None) -> dict[str, Any]:
    links = {"pages": {"next": following, "last": "x"}} if following else {}
    return {key: entries, "links": links, "meta": {"total": total}}


def listing(
    entries: list[Any], *, key: str = "droplets", path: str = "/v2/droplets", size: int = 200
) -> Callable[[Mapping[str, str]], dict[str, Any]]:
    """Return a list that answers as the API does, page by page."""

    def answer(query: Mapping[str, str]) -> dict[str, Any]:
        number = int(query.get("page", "1"))
        more = len(entries) > number * size
        following = f"{BASE}{path}?page={number + 1}&per_page={size}" if more else None
        return page(key, entries[(number - 1) * size : number * size], len(entries), following)

    return answer


def account(
    plain: Callable[[Mapping[str, str]], Any] | Script,
    gpus: Callable[[Mapping[str, str]], Any] | Script | None = None,
    own: Script | None = None,
    peerings: Callable[[Mapping[str, str]], Any] | Script | None = None,
) -> tuple[Account, Transport]:
    """Return an account with these lists; what is not named is empty or not found."""

    def answer(url: str) -> Script:
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        asked = (
            (own or Answer(None, 404))
            if parts.path == f"/v2/droplets/{OWN}"
            else (peerings or listing([], key="vpc_peerings"))
            if parts.path == "/v2/vpc_peerings"
            else (gpus or listing([]))
            if query.get("type") == "gpus"
            else plain
        )
        if callable(asked):
            return Answer(asked(query))
        return asked

    http, transport = session(answer)
    return account_of(http), transport


def account_of(http: Http, *, tag: str | None = None, peered: bool = False) -> Account:
    """Return the account that is asked over a session."""
    return Account(http, BASE, TOKEN, OWN, tag=tag, peered=peered, clock=lambda: NOW)


def listed(account: Account, tag: str | None = None) -> tuple[Droplet, ...]:
    """Return what a complete listing of ours holds."""
    found = account_of(account.http, tag=tag).listing()
    assert found.own(OWN) in found.droplets
    assert found.taken == NOW
    return found.droplets


def numbers(found: tuple[Any, ...]) -> list[int]:
    return sorted(one.id for one in found)


class TestComplete:
    @pytest.mark.parametrize(("count", "requests"), [(1, 2), (200, 2), (201, 3), (1000, 6)])
    def test_all_pages_are_read_200_at_a_time_and_the_gpu_list(self, count: int, requests: int) -> None:
        found, transport = account(listing(droplets(*range(OWN, OWN + count))))
        assert numbers(listed(found)) == list(range(OWN, OWN + count))
        assert len(transport.asked) == requests
        assert all("per_page=200" in url for url in transport.urls)
        assert all(request.headers["Authorization"] == f"Bearer {TOKEN}" for request in transport.asked)

    def test_ten_thousand_take_51_requests_at_most_52(self) -> None:
        found, transport = account(listing(droplets(*range(1, 10_001))))
        assert len(listed(found)) == 10_000
        assert len(transport.asked) <= 52

    def test_gpu_droplets_are_among_them_each_once(self) -> None:
        found, _ = account(listing(droplets(1, OWN)), listing(droplets(8, OWN)))
        assert numbers(listed(found)) == [1, OWN, 8]

    @pytest.mark.parametrize("links", [{}, None, {"pages": {}}, {"pages": None}, {"pages": {"next": ""}}])
    def test_the_last_page_says_so_in_several_ways(self, links: object) -> None:
        last = {**page("droplets", droplets(OWN), 1), "links": links}
        found, _ = account(Answer(last))
        assert numbers(listed(found)) == [OWN]

    def test_links_may_be_absent(self) -> None:
        last = page("droplets", droplets(OWN), 1)
        del last["links"]
        assert numbers(listed(account(Answer(last))[0])) == [OWN]


def changing(*answers: dict[str, Any]) -> Callable[[Mapping[str, str]], dict[str, Any]]:
    """Return a list that is another each time it is asked for; the last answer stays."""
    left = list(answers)
    return lambda query: left.pop(0) if len(left) > 1 else left[0]


class TestIncomplete:
    @pytest.mark.parametrize(
        ("what", "answers", "words"),
        [
            ("the total is higher", [page("droplets", droplets(OWN), 2)], "incomplete (1 of 2 entries)"),
            ("the total is lower", [page("droplets", droplets(OWN, 8), 1)], "incomplete (2 of 1 entries)"),
            ("one entry twice", [page("droplets", droplets(OWN, OWN), 2)], "incomplete (1 of 2 entries)"),
            ("the list is empty", [page("droplets", [], 0)], f"has no Droplet {OWN}, which is this one"),
            ("ours is not there", [page("droplets", droplets(8), 1)], f"has no Droplet {OWN}, which is this one"),
            (
                "a page repeats",
                [page("droplets", droplets(OWN), 3, f"{BASE}/2"), page("droplets", droplets(OWN), 3)],
                "of 3 entries",
            ),
            ("the next page is this one", [page("droplets", droplets(OWN), 1, f"{BASE}/2")], "go round in circles"),
            ("no total", [{"droplets": droplets(OWN), "meta": {}}], "'total' is missing"),
            ("no meta", [{"droplets": droplets(OWN)}], "'meta' is missing"),
            ("total is text", [{"droplets": droplets(OWN), "meta": {"total": "1"}}], "'total' is str"),
            ("no list", [{"meta": {"total": 0}}], "'droplets' is missing"),
            ("a list of nothing", [{"droplets": None, "meta": {"total": 0}}], "'droplets' is NoneType"),
            ("no object", [[]], "malformed"),
        ],
        ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
    )
    def test_it_is_no_answer(self, what: str, answers: list[dict[str, Any]], words: str) -> None:
        left = list(answers)

        def answer(query: Mapping[str, str]) -> dict[str, Any]:
            # The first page begins anew whenever the list is read again.
            return left[1] if len(left) > 1 and "per_page" not in query else left[0]

        found, transport = account(answer)
        with pytest.raises(NoAnswerError) as caught:
            listed(found)
        assert words in str(caught.value)
        assert "the rules stay" in str(caught.value)
        assert TOKEN not in str(caught.value)
        assert len(transport.asked) <= 8

    @pytest.mark.parametrize(
        "url",
        [
            "https://elsewhere.example/v2/droplets?page=2",
            "http://api.example/v2/droplets?page=2",
            "https://api.example:8443/v2/droplets?page=2",
            "https://api.example@elsewhere.example/",
            "https://api.example.elsewhere.example/",
            "//elsewhere.example/",
            "/v2/droplets?page=2",
            "file:///etc/shadow",
            "https://[",
            "https://api.example\\@elsewhere.example/",
        ],
    )
    def test_a_next_page_elsewhere_is_not_asked_for_because_the_token_goes_with_it(self, url: str) -> None:
        found, transport = account(Answer(page("droplets", droplets(OWN), 2, url)))
        with pytest.raises(NoAnswerError, match="its next page is on another host, where the token must not go"):
            listed(found)
        assert len(transport.asked) == 1

    def test_a_list_that_changed_while_it_was_read_is_read_again(self) -> None:
        found, transport = account(
            changing(page("droplets", droplets(OWN), 2), page("droplets", droplets(OWN, 8), 2))
        )
        assert numbers(listed(found)) == [OWN, 8]
        assert len(transport.asked) == 3

    def test_one_that_never_holds_still_is_given_up(self) -> None:
        found, transport = account(Answer(page("droplets", droplets(OWN), 2)))
        with pytest.raises(NoAnswerError, match="the list of droplets is incomplete"):
            listed(found)
        assert len(transport.asked) == 3

    def test_pages_that_never_end_are_given_up(self) -> None:
        clock = Clock()

        def endless(url: str) -> Script:
            clock.now += 0.1
            return Answer(page("droplets", droplets(OWN), 1, f"{BASE}/v2/droplets?page={clock.now}"))

        http, _ = session(endless, clock=clock)
        with pytest.raises(NoAnswerError, match=r"api\.example gives no answer"):
            listed(account_of(http))

    def test_a_gpu_list_that_fails_fails_all(self) -> None:
        found, _ = account(listing(droplets(OWN)), Answer(None, 404))
        with pytest.raises(NoAnswerError, match="404"):
            listed(found)


class TestTag:
    def test_digitalocean_filters_the_plain_list_by_tag_but_cannot_the_gpu_list(self) -> None:
        found, transport = account(listing(droplets(OWN)))
        listed(found, tag="env:prod&x")
        assert "tag_name=env%3Aprod%26x" in transport.urls[0]
        assert "type=gpus" in transport.urls[1]
        assert "tag_name" not in transport.urls[1]

    def test_this_droplet_need_not_have_the_tag_but_the_account_must_have_it(self) -> None:
        found, transport = account(listing(droplets(8)), own=Answer({"droplet": raw(id=OWN)}))
        assert numbers(listed(found, tag="web")) == [OWN, 8]
        assert transport.urls[-1] == f"{BASE}/v2/droplets/{OWN}"

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (Answer({"id": "not_found", "message": "not found"}, 404), r"404 \(not found\)"),
            (Answer({"droplet": raw(id=8)}), "Droplet 8 where 7 was asked for"),
            (Answer({"droplet": None}), "'droplet' is NoneType"),
        ],
    )
    def test_another_accounts_token_is_found_out(self, answer: Script, words: str) -> None:
        found, _ = account(listing([]), own=answer)
        with pytest.raises(NoAnswerError, match=words):
            listed(found, tag="web")


def peering(name: str, status: str = "ACTIVE", vpcs: object = ("a", "b")) -> dict[str, Any]:
    return {"id": name, "status": status, "vpc_ids": list(vpcs) if isinstance(vpcs, tuple) else vpcs}


class TestPeerings:
    def test_only_active_ones_count(self) -> None:
        entries = [peering("1"), peering("2", "PROVISIONING", ("c", "d")), peering("3", "DELETING", ("e", "f"))]
        found, _ = account(listing([]), peerings=listing(entries, key="vpc_peerings", path="/v2/vpc_peerings"))
        assert account_of(found.http, peered=True).listing().peerings == (("a", "b"),)

    @pytest.mark.parametrize(
        "entry", [peering("1", vpcs=("a",)), peering("1", vpcs=("a", "b", "c")), peering("1", vpcs=(1, 2)), {}, None]
    )
    def test_one_of_another_shape_is_no_answer(self, entry: object) -> None:
        found, _ = account(listing([]), peerings=Answer(page("vpc_peerings", [entry], 1)))
        with pytest.raises(NoAnswerError):
            account_of(found.http, peered=True).listing()


class TestAnything:
    @given(JSON)
    def test_no_json_makes_it_raise_anything_but_no_answer(self, document: object) -> None:
        found, _ = account(Answer(document))
        with pytest.raises(NoAnswerError):
            listed(found)

    @given(st.sampled_from(["droplets", "links", "meta"]), JSON)
    def test_nor_does_any_part_of_a_page(self, part: str, value: object) -> None:
        found, _ = account(Answer({**page("droplets", droplets(OWN), 1), part: value}))
        try:
            listed(found)
        except NoAnswerError:
            pass

    @given(st.one_of(JSON, st.text().map(BASE.__add__), st.text().map("https://".__add__)))
    def test_nor_does_any_next_page(self, value: object) -> None:
        found, _ = account(Answer({**page("droplets", droplets(OWN), 1), "links": {"pages": {"next": value}}}))
        try:
            listed(found)
        except NoAnswerError:
            pass

    @given(JSON)
    def test_nor_does_any_peering(self, value: object) -> None:
        found, _ = account(listing([]), peerings=Answer(page("vpc_peerings", [value], 1)))
        with pytest.raises(NoAnswerError):
            account_of(found.http, peered=True).listing()


class TestSaidAgain:
    """Asked anew, page by page, what a listing was read from."""

    LISTED = droplets(*range(OWN, OWN + 450))

    def test_where_all_is_said_again_each_page_is_asked_for_once(self) -> None:
        found, transport = account(listing(self.LISTED))
        said = found.listing().said
        before = list(transport.urls)
        assert [url for url, _ in said] == before
        assert account_of(found.http).repeats(said)
        assert transport.urls == 2 * before

    def test_a_page_that_says_something_else_leaves_no_page_to_ask_for_twice(self) -> None:
        said = account(listing(self.LISTED))[0].listing().said
        found, transport = account(listing(self.LISTED[:-1] + droplets(9999)))
        assert not found.repeats(said)
        assert 9999 in numbers(found.listing().droplets)
        assert len(transport.urls) == len({*transport.urls}) == len(said)

    def test_a_list_that_changed_while_it_was_read_tells_nothing_to_compare_with(self) -> None:
        counts = iter((201, 202, *[202] * 9))
        found, _ = account(lambda query: listing(droplets(*range(OWN, OWN + next(counts))))(query))
        listed = found.listing()
        assert not listed.shortfall
        assert listed.said == ()
        assert not found.repeats(listed.said)

    def test_the_token_goes_to_no_other_host_that_the_memory_names(self) -> None:
        found, transport = account(listing(self.LISTED))
        assert not found.repeats([("https://elsewhere.example/v2/droplets", "0" * 64)])
        assert transport.urls == []
