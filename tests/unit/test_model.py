"""From DigitalOcean's JSON to Droplets: a well-formed answer, or none."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_boot.errors import NoAnswerError
from droplan_boot.sources.digitalocean import metadata, model
from droplan_boot.sources.listing import Droplet

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def raw(**changes: Any) -> dict[str, Any]:
    """Return a Droplet as the API lists it."""
    return {
        "id": 3164444,
        "name": "web-1",
        "status": "active",
        "region": {"slug": "nyc3", "name": "New York 3"},
        "tags": ["web", "env:prod"],
        "vpc_uuid": "760e09ef-dc84-11e8-981e-3cfdfeaae000",
        "networks": {
            "v4": [
                {"ip_address": "10.128.192.124", "netmask": "255.255.0.0", "gateway": "nil", "type": "private"},
                {
                    "ip_address": "203.0.113.10",
                    "netmask": "255.255.240.0",
                    "gateway": "203.0.112.1",
                    "type": "public",
                },
            ],
            "v6": [{"ip_address": "2604:a880::18:a001", "netmask": 64, "gateway": "2604:a880::1", "type": "public"}],
        },
        **changes,
    }


def v4(address: Any, kind: Any = "private") -> dict[str, Any]:
    return {"v4": [{"ip_address": address, "type": kind}], "v6": []}


def v6(address: Any) -> dict[str, Any]:
    return {"v4": [], "v6": [{"ip_address": address, "type": "public"}]}


class TestDroplet:
    def test_what_we_need_is_taken_and_the_rest_left(self) -> None:
        assert model.droplet(raw()) == Droplet(
            id=3164444,
            name="web-1",
            region="nyc3",
            tags=("web", "env:prod"),
            vpc="760e09ef-dc84-11e8-981e-3cfdfeaae000",
            private=(ipaddress.IPv4Address("10.128.192.124"),),
            public=(ipaddress.ip_address("203.0.113.10"), ipaddress.ip_address("2604:a880::18:a001")),
        )

    @pytest.mark.parametrize("networks", [{"v4": [], "v6": []}, {"v4": []}, {"v4": [], "v6": None}])
    def test_one_that_is_being_created_has_no_address_yet(self, networks: object) -> None:
        found = model.droplet(raw(networks=networks))
        assert (found.private, found.public) == ((), ())

    @pytest.mark.parametrize(
        ("field", "attribute"),
        [("tags", "tags"), ("vpc_uuid", "vpc")],
    )
    def test_a_field_that_the_token_may_not_see_is_unknown_not_empty(self, field: str, attribute: str) -> None:
        document = raw()
        del document[field]
        assert getattr(model.droplet(document), attribute) is None
        assert model.droplet(raw(tags=[])).tags == ()

    @pytest.mark.parametrize(
        "changes",
        [
            {"id": None},
            {"id": "3164444"},
            {"id": True},
            {"id": 0},
            {"id": -5},
            {"id": 3.5},
            {"region": None},
            {"region": "nyc3"},
            {"region": {}},
            {"region": {"slug": None}},
            {"region": {"slug": ""}},
            {"region": {"slug": "nyc3\n"}},
            {"region": {"slug": "x" * 256}},
            {"tags": "web"},
            {"tags": [None]},
            {"tags": ["\x1b[2J"]},
            {"vpc_uuid": 7},
            {"networks": None},
            {"networks": []},
            {"networks": {}},
            {"networks": {"v4": None}},
            {"networks": {"v4": {}}},
            {"networks": {"v4": [None]}},
            {"networks": {"v4": [], "v6": {}}},
            {"networks": v4("10.0.0.1", None)},
            {"networks": v4("10.0.0.1", "secret")},
            {"networks": v4(None)},
            {"networks": v4("")},
            {"networks": v4(167772161)},
            {"networks": v4("10.0.0.1/8")},
            {"networks": v4("10.0.0.256")},
            {"networks": v4(" 10.0.0.1")},
            {"networks": v4("10.0.0.1\n")},
            {"networks": v4("010.0.0.1")},
            {"networks": v4("fd00::1")},
            {"networks": v4("0.0.0.0")},
            {"networks": v4("0.0.0.0/0")},
            {"networks": v4("127.0.0.1")},
            {"networks": v4("224.0.0.1")},
            {"networks": v4("240.0.0.1")},
            {"networks": v4("255.255.255.255")},
            {"networks": v4("169.254.169.254")},
            {"networks": v6("10.0.0.1")},
            {"networks": v6("::")},
            {"networks": v6("::1")},
            {"networks": v6("ff02::1")},
            {"networks": v6("fe80::1")},
            {"networks": v6("2604:a880::1/64")},
            {"networks": v6("2604:a880::1%eth0")},
            {"networks": v6("2604:a880::1%x -j ACCEPT\n-A INPUT -j ACCEPT")},
            {"networks": v6("::ffff:10.0.0.1")},
        ],
        ids=lambda changes: json.dumps(changes)[:60],
    )
    def test_anything_of_another_shape_is_no_answer(self, changes: dict[str, Any]) -> None:
        with pytest.raises(NoAnswerError, match="the rules stay as they are"):
            model.droplet(raw(**changes))

    @pytest.mark.parametrize("field", ["id", "region", "networks"])
    def test_a_field_that_must_be_there_is_named_when_it_is_missing(self, field: str) -> None:
        document = raw()
        del document[field]
        with pytest.raises(NoAnswerError, match=f"'{field}' is missing"):
            model.droplet(document)

    @pytest.mark.parametrize(
        "changes",
        [
            {"networks": v4("1" * 100_000)},
            {"networks": v4("10.0.0.1", "\x1b" * 100_000)},
            {"region": {"slug": "x" * 100_000}},
            {"tags": ["\n" * 100_000]},
        ],
    )
    def test_an_error_is_a_line_of_bounded_length_without_control_characters(self, changes: dict[str, Any]) -> None:
        with pytest.raises(NoAnswerError) as caught:
            model.droplet(raw(**changes))
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()

    @given(JSON)
    def test_no_json_makes_it_raise_anything_but_no_answer(self, value: object) -> None:
        with pytest.raises(NoAnswerError):
            model.droplet(value)

    @given(st.sampled_from(list(raw())), JSON)
    def test_nor_does_any_field(self, field: str, value: object) -> None:
        try:
            model.droplet(raw(**{field: value}))
        except NoAnswerError:
            pass

    @given(st.sampled_from(["v4", "v6", "ip_address", "type"]), JSON)
    def test_nor_does_any_part_of_the_networks(self, field: str, value: object) -> None:
        networks = raw()["networks"]
        (networks if field in networks else networks["v4"][0])[field] = value
        try:
            model.droplet(raw(networks=networks))
        except NoAnswerError:
            pass

    @given(st.text(max_size=60), st.sampled_from(["", "2604::1", "2604::1%", "10.0.0.1", "10.0.0.1/"]))
    def test_an_address_that_is_taken_is_spelled_with_the_characters_of_addresses(
        self, text: str, start: str
    ) -> None:
        for check in (model.ipv4, model.ipv6):
            try:
                found = str(check(start + text))
            except NoAnswerError:
                continue
            assert set(found) <= set("0123456789abcdef.:")


def document(**changes: Any) -> dict[str, Any]:
    """Return a Droplet's metadata."""
    return {
        "droplet_id": 2756294,
        "hostname": "sample-droplet",
        "region": "nyc3",
        "interfaces": {
            "public": [
                {
                    "ipv4": {"ip_address": "203.0.113.20", "netmask": "255.255.192.0", "gateway": "203.0.113.1"},
                    "ipv6": {"ip_address": "2604:a880::400:D0:1", "cidr": 64, "gateway": "2604:a880::400:d0:1"},
                    "anchor_ipv4": {"ip_address": "10.17.0.5", "netmask": "255.255.0.0", "gateway": "10.17.0.1"},
                    "mac": "04:01:2A:0F:2A:01",
                    "type": "public",
                }
            ],
            "private": [
                {
                    "ipv4": {"ip_address": "10.132.255.113", "netmask": "255.255.0.0", "gateway": "10.132.0.1"},
                    "mac": "04:01:2a:0f:2a:02",
                    "type": "private",
                }
            ],
        },
        **changes,
    }


class TestMetadata:
    def test_interfaces_have_a_mac_and_addresses_but_never_the_anchor(self) -> None:
        found = metadata.read(document())
        assert (found.droplet_id, found.region) == (2756294, "nyc3")
        assert [(one.mac, [str(address) for address in one.addresses]) for one in found.public] == [
            ("04:01:2a:0f:2a:01", ["203.0.113.20", "2604:a880::400:d0:1"])
        ]
        assert [(one.mac, [str(address) for address in one.addresses]) for one in found.private] == [
            ("04:01:2a:0f:2a:02", ["10.132.255.113"])
        ]

    @pytest.mark.parametrize("kind", ["public", "private"])
    @pytest.mark.parametrize("empty", ["absent", None, []])
    def test_a_kind_of_interface_may_be_absent_null_or_empty(self, kind: str, empty: object) -> None:
        interfaces = document()["interfaces"]
        if empty == "absent":
            del interfaces[kind]
        else:
            interfaces[kind] = empty
        assert getattr(metadata.read(document(interfaces=interfaces)), kind) == ()

    @pytest.mark.parametrize(
        "changes",
        [
            {"droplet_id": None},
            {"droplet_id": "2756294"},
            {"droplet_id": 0},
            {"region": None},
            {"region": ""},
            {"interfaces": None},
            {"interfaces": []},
            {"interfaces": {"private": {}}},
            {"interfaces": {"private": [None]}},
            {"interfaces": {"private": [{}]}},
            {"interfaces": {"private": [{"mac": 5}]}},
            {"interfaces": {"private": [{"ipv4": "10.0.0.1"}]}},
            {"interfaces": {"private": [{"ipv4": {}}]}},
            {"interfaces": {"private": [{"ipv4": {"ip_address": "127.0.0.1"}}]}},
            {"interfaces": {"public": [{"ipv6": {"ip_address": "10.0.0.1"}}]}},
        ],
        ids=lambda changes: json.dumps(changes)[:60],
    )
    def test_anything_of_another_shape_is_no_answer(self, changes: dict[str, Any]) -> None:
        with pytest.raises(NoAnswerError):
            metadata.read(document(**changes))

    @given(JSON)
    def test_no_json_makes_it_raise_anything_but_no_answer(self, value: object) -> None:
        with pytest.raises(NoAnswerError):
            metadata.read(value)

    @given(st.sampled_from(["ipv4", "ipv6", "anchor_ipv4", "mac", "type"]), JSON)
    def test_nor_does_any_part_of_an_interface(self, field: str, value: object) -> None:
        interfaces = document()["interfaces"]
        interfaces["public"][0][field] = value
        try:
            metadata.read(document(interfaces=interfaces))
        except NoAnswerError:
            pass
