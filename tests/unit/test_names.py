"""Whom a tag, a Droplet's name or a cluster stands for."""

from __future__ import annotations

import pytest

from droplan_boot.access import allow, names
from droplan_boot.access.allow import Name
from droplan_boot.errors import NoAnswerError
from droplan_boot.sources.listing import Droplet, Listing
from tests.unit.test_peers import PEERED, SELF, droplet

CLUSTER = "bd5f5959-5e1e-4205-a714-a914373942af"
ACCOUNT = (
    droplet(1, "10.0.0.1", tags=("db", "mine")),
    droplet(2, "10.0.0.2 10.9.0.2", tags=("Web",), public="203.0.113.2 2604::2"),
    droplet(3, "10.0.0.3", tags=("web", f"k8s:{CLUSTER}", "k8s")),
    droplet(4, "10.0.0.4", tags=("web", "far"), region="fra1", vpc="v-peered"),
    droplet(5, tags=("new",)),
)


def resolve(value: str, *account: Droplet, scope: str = "region", tags: tuple[str, ...] = ()) -> names.Known:
    listing = Listing(account or ACCOUNT, tuple(PEERED), 0.0)
    return names.resolve(SELF, listing, scope=scope, tags=tags, entries=allow.parse("DROPLAN_ALLOW", value))


def addresses(found: tuple[tuple[Name, tuple[object, ...]], ...]) -> dict[str, str]:
    return {str(name): " ".join(map(str, held)) for name, held in found}


@pytest.mark.parametrize(
    ("value", "scope", "private"),
    [
        ("tag:web", "region", "10.0.0.2 10.0.0.3 10.9.0.2"),
        ("tag:WEB", "region", "10.0.0.2 10.0.0.3 10.9.0.2"),
        ("tag:web", "account", "10.0.0.2 10.0.0.3 10.0.0.4 10.9.0.2"),
        ("tag:web", "vpc", "10.0.0.2 10.0.0.3 10.0.0.4 10.9.0.2"),
        ("tag:far", "region", ""),
        ("tag:mine", "region", ""),
        ("tag:new", "region", ""),
        ("droplet:droplet-3", "region", "10.0.0.3"),
        ("droplet:3", "region", "10.0.0.3"),
        ("droplet:droplet-1", "region", ""),
        ("droplet:droplet-4", "region", ""),
        (f"k8s:{CLUSTER.upper()}", "region", "10.0.0.3"),
        (f"tag:k8s:{CLUSTER}", "region", "10.0.0.3"),
    ],
)
def test_a_name_stands_for_the_droplets_in_scope_that_bear_it_and_never_for_this_one(
    value: str, scope: str, private: str
) -> None:
    assert list(addresses(resolve(value, scope=scope).private).values()) == [private]


def test_on_the_public_network_it_stands_for_their_public_addresses() -> None:
    assert addresses(resolve("tcp/22@tag:web").public) == {"tag:web": "203.0.113.2 2604::2"}


def test_a_name_in_several_entries_is_looked_up_once() -> None:
    found = resolve("tcp/22@tag:web,udp/53@tag:Web,droplet:2")
    assert addresses(found.private) == {"tag:web": "10.0.0.2 10.0.0.3 10.9.0.2", "droplet:2": "10.0.0.2 10.9.0.2"}
    assert [one.id for one in found.droplets] == [2, 3]


def test_a_droplet_whose_name_is_a_number_is_not_that_number() -> None:
    pretender = Droplet(9, "3", "nyc3", (), "v-own", droplet(9, "10.0.0.9").private, ())
    assert addresses(resolve("droplet:3", *ACCOUNT, pretender).private) == {"droplet:3": "10.0.0.3"}


def test_all_droplets_of_a_name_are_meant() -> None:
    twin = Droplet(9, "droplet-3", "nyc3", (), "v-own", droplet(9, "10.0.0.9").private, ())
    assert addresses(resolve("droplet:droplet-3", *ACCOUNT, twin).private) == {
        "droplet:droplet-3": "10.0.0.3 10.0.0.9"
    }


class TestWarnings:
    @pytest.mark.parametrize(
        ("value", "warning"),
        [
            ("tcp/22@tag:wbe", "tcp/22@tag:wbe lets nobody in, for no Droplet carries the tag wbe"),
            ("droplet:db-9", "droplet:db-9 lets nobody in, for no Droplet has the name or number db-9"),
            (
                "tag:far",
                "tag:far lets nobody in, for no Droplet that carries the tag far is in scope (DROPLAN_SCOPE=region)",
            ),
        ],
    )
    def test_an_entry_that_lets_nobody_in_is_told_and_is_no_error(self, value: str, warning: str) -> None:
        assert resolve(value).warnings == (warning,)

    def test_a_tag_that_only_this_droplet_carries_is_no_mistake(self) -> None:
        assert resolve("tag:mine", tags=("mine",)).warnings == ()

    def test_neither_is_one_whose_droplet_has_no_address_yet(self) -> None:
        assert resolve("tag:new").warnings == ()

    def test_so_is_a_tag_of_DO_TAG_that_nobody_carries(self) -> None:  # noqa: N802
        assert resolve("", tags=("web", "wbe")).warnings == (
            "DO_TAG=wbe makes nobody a peer, for no Droplet carries the tag wbe",
        )


class TestTokensThatMayNotSeeTags:
    @pytest.mark.parametrize("value", ["tag:web", f"tcp/22@k8s:{CLUSTER}"])
    def test_a_tag_needs_them(self, value: str) -> None:
        with pytest.raises(NoAnswerError, match=r"DROPLAN_ALLOW=\w+:\S+ needs a token with the scope tag:read"):
            resolve(value, ACCOUNT[0], droplet(2, "10.0.0.2", tags=None))

    def test_a_droplets_name_does_not(self) -> None:
        found = resolve("droplet:droplet-2", ACCOUNT[0], droplet(2, "10.0.0.2", tags=None))
        assert addresses(found.private) == {"droplet:droplet-2": "10.0.0.2"}
