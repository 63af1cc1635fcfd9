"""Who is a peer: what DigitalOcean said goes in, addresses come out."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_boot.access import peers, reasons
from droplan_boot.errors import NoAnswerError
from droplan_boot.settings import Settings
from droplan_boot.sources.listing import Droplet, Listing
from droplan_boot.sources.own import Metadata

SELF = Metadata(droplet_id=1, region="nyc3", private=(), public=())


def droplet(
    number: int,
    private: str = "",
    *,
    region: str = "nyc3",
    tags: tuple[str, ...] | None = (),
    vpc: str | None = "v-own",
    public: str = "",
) -> Droplet:
    return Droplet(
        number,
        f"droplet-{number}",
        region,
        tags,
        vpc,
        tuple(ipaddress.IPv4Address(one) for one in private.split()),
        tuple(ipaddress.ip_address(one) for one in public.split()),
    )


ACCOUNT = [
    droplet(1, "10.0.0.1", tags=("web",), public="203.0.113.1"),
    droplet(2, "10.0.0.2", tags=("Web", "x"), public="203.0.113.2 2604::2"),
    droplet(3, "10.0.0.3 10.9.0.3", tags=("db",)),
    droplet(4, "10.0.0.4", region="fra1", tags=("web",), vpc="v-peered", public="203.0.113.4"),
    droplet(5, "10.0.0.5", vpc="v-other"),
    droplet(6),
]


PEERED = [("v-own", "v-peered")]


def select(
    account: Sequence[Droplet], settings: Settings, peerings: Sequence[tuple[str, str]] = tuple(PEERED)
) -> peers.Peers:
    listing = Listing(tuple(account), tuple(peerings), 0.0)
    return peers.select(SELF, listing, scope=settings.scope, tags=settings.tags)


@pytest.mark.parametrize(
    ("settings", "private", "public"),
    [
        (Settings(), "10.0.0.2 10.0.0.3 10.0.0.5 10.9.0.3", "203.0.113.2 2604::2"),
        (Settings(tags=("web",)), "10.0.0.2", "203.0.113.2 2604::2"),
        (Settings(tags=("WEB",), scope="account"), "10.0.0.2 10.0.0.4", "203.0.113.2 203.0.113.4 2604::2"),
        (Settings(scope="vpc"), "10.0.0.2 10.0.0.3 10.0.0.4 10.9.0.3", "203.0.113.2 203.0.113.4 2604::2"),
        (
            Settings(scope="account"),
            "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.9.0.3",
            "203.0.113.2 203.0.113.4 2604::2",
        ),
        (Settings(tags=("nobody",)), "", ""),
    ],
    ids=["region", "tag", "tag in the account", "vpc", "account", "a tag of nobody's"],
)
def test_scope_and_tag_select_the_peers(settings: Settings, private: str, public: str) -> None:
    found = select(ACCOUNT, settings)
    assert " ".join(map(str, found.private)) == private
    assert " ".join(map(str, found.public)) == public


def test_this_droplet_is_never_its_own_peer() -> None:
    assert select(ACCOUNT[:1], Settings(scope="account")) == peers.Peers(())


def test_an_address_that_two_droplets_have_counts_once() -> None:
    twins = [droplet(2, "10.0.0.7"), droplet(3, "10.0.0.7")]
    assert len(select([ACCOUNT[0], *twins], Settings()).private) == 1


@given(st.permutations(ACCOUNT))
def test_the_order_of_the_answer_does_not_matter(shuffled: list[Droplet]) -> None:
    # Rules would be written anew for nothing otherwise.
    wanted = Settings(scope="account")
    found, usual = select(shuffled, wanted), select(ACCOUNT, wanted)
    assert (found.private, found.public) == (usual.private, usual.public)


_TAGS = st.sampled_from(["web", "WEB", "db", "k8s:x"])
_OTHERS = st.builds(
    droplet,
    st.integers(2, 9),
    st.sampled_from(["", "10.0.0.2", "10.0.0.3 10.0.0.4"]),
    region=st.sampled_from(["nyc3", "fra1"]),
    tags=st.lists(_TAGS, max_size=2).map(tuple),
    vpc=st.sampled_from(["v-own", "v-peered", "v-other"]),
)


@given(
    st.lists(_OTHERS, unique_by=lambda one: one.id),
    st.sampled_from(["region", "vpc", "account"]),
    st.lists(_TAGS, max_size=2).map(tuple),
    st.sampled_from([[], PEERED, [("v-peered", "v-own")], [("v-peered", "v-other")]]),
)
def test_what_explain_says_a_droplet_lacks_is_what_keeps_it_out(
    others: list[Droplet], scope: str, tags: tuple[str, ...], peerings: list[tuple[str, str]]
) -> None:
    own = ACCOUNT[0]
    found = peers.select(SELF, Listing((own, *others), tuple(peerings), 0.0), scope=scope, tags=tags)
    lacks = {one.id: reasons.lacking(one, own, peerings, scope=scope, tags=tags) for one in others}
    inside = {number for number, lack in lacks.items() if lack in (None, "no-address")}
    assert {one.id for one in found.droplets} == inside
    kept_out = {one.id: {"tag": "lacks-tag"}.get(why, f"other-{why}") for one, why in found.others}
    assert kept_out == {number: lack for number, lack in lacks.items() if number not in inside}


class TestFieldsThatTheTokenMayNotSee:
    def test_a_tag_needs_tags(self) -> None:
        with pytest.raises(NoAnswerError, match="DO_TAG needs a token with the scope tag:read"):
            select([ACCOUNT[0], droplet(2, tags=None)], Settings(tags=("web",)))

    def test_the_scope_vpc_needs_vpcs(self) -> None:
        with pytest.raises(NoAnswerError, match="DROPLAN_SCOPE=vpc needs a token with the scope vpc:read"):
            select([ACCOUNT[0], droplet(2, vpc=None)], Settings(scope="vpc"))

    def test_our_own_vpc_must_be_known_too(self) -> None:
        with pytest.raises(NoAnswerError, match="vpc:read"):
            select([droplet(1, vpc=None)], Settings(scope="vpc"))

    def test_what_is_not_needed_may_be_missing(self) -> None:
        assert select([ACCOUNT[0], droplet(2, "10.0.0.2", tags=None, vpc=None)], Settings()).private


def test_peered_vpcs_are_those_that_share_a_peering_with_ours() -> None:
    account = [
        droplet(1),
        droplet(2, "10.0.0.2"),
        *(droplet(number, f"10.0.0.{number}", vpc=f"v-{vpc}") for number, vpc in enumerate("abcd", start=3)),
    ]
    wanted = Settings(scope="vpc")
    found = select(account, wanted, [("v-own", "v-a"), ("v-b", "v-own"), ("v-c", "v-d")])
    assert [one.vpc for one in found.droplets] == ["v-own", "v-a", "v-b"]
    assert [one.vpc for one in select(account, wanted, []).droplets] == ["v-own"]


def test_the_peers_are_known_by_name_too() -> None:
    assert [one.name for one in select(ACCOUNT, Settings(tags=("web",))).droplets] == ["droplet-2"]


@pytest.mark.parametrize(
    ("listing", "words"),
    [
        (Listing(tuple(ACCOUNT[1:]), (), 0.0), "the account of this token has no Droplet 1, which is this one"),
        (Listing(tuple(ACCOUNT), (), 0.0, "the list of droplets is incomplete (5 of 6 entries)"), "5 of 6 entries"),
    ],
    ids=["another account's", "incomplete"],
)
def test_a_listing_that_is_not_whole_or_not_ours_names_no_peers(listing: Listing, words: str) -> None:
    with pytest.raises(NoAnswerError, match=re.escape(words)):
        peers.select(SELF, listing, scope="account")
