"""Asking the metadata service who this Droplet is."""

from __future__ import annotations

import ipaddress

import pytest

from droplan_boot.errors import NoAnswerError
from droplan_boot.sources.digitalocean import metadata
from tests.bed.memory.doors import Answer, session
from tests.unit.test_model import document


def test_it_is_read_without_a_token() -> None:
    http, transport = session([Answer(document())])
    assert metadata.fetch(http, "http://169.254.169.254").droplet_id == 2756294
    assert transport.urls == ["http://169.254.169.254/metadata/v1.json"]
    assert "Authorization" not in transport.asked[0].headers


@pytest.mark.parametrize("answer", [Answer(None, 404), Answer(body=b"<html>"), OSError("No route to host")])
def test_elsewhere_than_on_a_droplet_it_says_so(answer: Answer | Exception) -> None:
    http, _ = session(lambda url: answer)
    with pytest.raises(NoAnswerError, match=r"^no metadata: .* droplan runs on DigitalOcean Droplets only$"):
        metadata.fetch(http, "http://169.254.169.254")


def with_netmask(netmask: object) -> dict[str, object]:
    interface = {"mac": "04:01:2a:0f:2a:02", "ipv4": {"ip_address": "10.132.0.1", "netmask": netmask}}
    return {"droplet_id": 7, "region": "nyc3", "interfaces": {"private": [interface]}}


@pytest.mark.parametrize(
    ("netmask", "network"),
    [("255.255.0.0", "10.132.0.0/16"), ("255.255.240.0", "10.132.0.0/20"), ("255.255.255.240", "10.132.0.0/28")],
)
def test_the_netmask_tells_the_private_networks_range(netmask: str, network: str) -> None:
    assert metadata.read(with_netmask(netmask)).private[0].networks == (ipaddress.ip_network(network),)


def test_without_a_netmask_the_range_is_not_known() -> None:
    assert metadata.read(with_netmask(None)).private[0].networks == ()


@pytest.mark.parametrize("netmask", ["0.0.0.0", "0.0.255.255", "128.0.0.0", "255.0.255.0", "16", "nil", 16])
def test_a_netmask_that_is_none_or_spans_the_world_is_no_answer(netmask: object) -> None:
    with pytest.raises(NoAnswerError):
        metadata.read(with_netmask(netmask))
