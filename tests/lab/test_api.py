"""How droplan reads DigitalOcean: what it asks, what it takes for an answer, and what happens when there is none."""

from __future__ import annotations

import dataclasses

import pytest

from tests.bed import GONE, Fault, Lab, connects, fleet, probe
from tests.bed.account import ListedDroplet
from tests.bed.program import ERRORS, SNAPSHOT, Program, scattered, sentence
from tests.bed.reach import ECHO_PORT

DROPLETS = r"/v2/droplets\?"


@pytest.fixture
def lab(program: Program) -> Lab:
    return program.lab


class TestAsking:
    def test_ten_thousand_peers_take_52_requests(self, program: Program, lab: Lab) -> None:
        program.list_droplets(*scattered(9_999), lab.peer_droplets[0])
        program.refresh()
        asked = lab.do.requests("api")
        assert len(asked) == 52, "51 pages of 10,001 Droplets, and the list of GPU Droplets"
        assert sum("type=gpus" in request.target for request in asked) == 1
        assert program.report()["peers"] == 10_000
        assert probe(lab.peers[0], lab.droplet).tcp, "the last of the last page"
        assert probe(lab.stranger, lab.droplet, patience=0.7).nothing

    def test_it_asks_for_big_compressed_pages_and_says_who_it_is(self, program: Program, lab: Lab) -> None:
        program.refresh()
        for request in lab.do.requests("api"):
            assert "per_page=200" in request.target
            assert "gzip" in request.headers["Accept-Encoding"]
            assert request.headers["User-Agent"].startswith("droplan/")
            assert request.authorized

    def test_the_metadata_service_never_sees_the_token(self, program: Program, lab: Lab) -> None:
        program.refresh()
        assert [request.authorized for request in lab.do.requests("metadata")] == [False]

    def test_gpu_droplets_are_peers_though_the_plain_list_omits_them(self, program: Program, lab: Lab) -> None:
        program.list_droplets(ListedDroplet(80, "gpu", lab.stranger.address, gpu=True))
        program.refresh()
        assert connects(lab.stranger, lab.droplet, ECHO_PORT)
        assert not connects(lab.peers[0], lab.droplet, ECHO_PORT, patience=0.7)

    def test_droplets_without_an_address_yet_are_no_peers_and_no_trouble(self, program: Program) -> None:
        program.list_droplets(ListedDroplet(81, "new", status="new"), *fleet(2))
        program.refresh()
        assert program.report()["peers"] == 2

    def test_an_address_that_is_listed_twice_counts_once(self, program: Program) -> None:
        twin = fleet(1)[0]
        program.list_droplets(twin, dataclasses.replace(twin, id=82, name="twin"))
        program.refresh()
        assert program.chain("droplan-peers") == [ERRORS, f"-A droplan-peers -s {twin.private}/32 -j ACCEPT"]

    def test_the_droplet_is_not_its_own_peer(self, program: Program, lab: Lab) -> None:
        program.list_droplets()
        program.refresh()
        assert program.chain("droplan-peers") == [ERRORS]


class TestNoAnswer:
    """What is incomplete, malformed or refused is no answer: the rules stay byte for byte as they are."""

    @pytest.mark.parametrize(
        ("fault", "says"),
        [
            pytest.param(Fault(status=404, body="{}"), "404", id="not found"),
            pytest.param(Fault(status=429, body="{}"), "too many requests", id="the hourly limit"),
            pytest.param(
                Fault(status=429, headers={"Retry-After": "3000"}, body="{}"), "too many", id="an hour to wait"
            ),
            pytest.param(
                Fault(status=302, headers={"Location": "http://169.254.169.254/"}), "redirects", id="a redirect"
            ),
            pytest.param(Fault(certificate="untrusted"), "not trusted", id="an untrusted certificate"),
            pytest.param(Fault(certificate="expired"), "not trusted", id="an expired certificate"),
            pytest.param(Fault(certificate="wrong-host"), "not trusted", id="another host's certificate"),
            pytest.param(Fault(body="<html>", status=200), "no JSON", id="a captive portal"),
            pytest.param(Fault(body="\udcff\udcfe", status=200), "no JSON", id="no text"),
            pytest.param(Fault(body="[" * 100_000, status=200), "", id="nested too deeply"),
            pytest.param(Fault(size=17 << 20), "MB", id="an endless page"),
            pytest.param(Fault(patch={"": []}), "", id="a list for an object"),
            pytest.param(Fault(patch={"/droplets": GONE}), "", id="no list"),
            pytest.param(Fault(patch={"/meta": GONE}), "", id="no total"),
            pytest.param(Fault(patch={"/meta/total": 5}), "incomplete", id="one less than the total"),
            pytest.param(Fault(patch={"/droplets": [], "/meta/total": 0}), "no Droplet 2756294", id="an empty list"),
            pytest.param(Fault(patch={"/droplets/1/networks": None}), "", id="no networks"),
            pytest.param(Fault(patch={"/droplets/1/region": GONE}), "", id="no region"),
            pytest.param(Fault(patch={"/droplets/1/id": "x"}), "", id="an id that is none"),
            pytest.param(
                Fault(patch={"/droplets/1/networks/v4/1/ip_address": "10.132.0.333"}),
                "",
                id="an address that is none",
            ),
            pytest.param(
                Fault(patch={"/droplets/1/networks/v4/1/ip_address": "0.0.0.0/0"}), "", id="a network for an address"
            ),
            pytest.param(
                Fault(patch={"/links": {"pages": {"next": "https://www.example.org/v2/droplets?page=2"}}}),
                "another host",
                id="a next page elsewhere",
            ),
            pytest.param(
                Fault(patch={"/links": {"pages": {"next": "https://api.digitalocean.com/v2/droplets?page=1"}}}),
                "",
                id="pages in circles",
            ),
        ],
    )
    def test_the_rules_stay_as_they_are(self, program: Program, lab: Lab, fault: Fault, says: str) -> None:
        before = program.rules(), program.read(SNAPSHOT)
        lab.do.add(ListedDroplet(77, "new", lab.stranger.address))
        lab.do.fault(dataclasses.replace(fault, path=DROPLETS) if fault.of_requests else fault)

        done = program.run("refresh")

        assert done.returncode == 1
        assert says in sentence(done)
        assert lab.token not in done.stderr
        assert (program.rules(), program.read(SNAPSHOT)) == before
        assert program.report()["result"] == "failed"
        assert program.report()["error"] in done.stderr

    def test_a_page_that_is_missing_is_noticed(self, program: Program, lab: Lab) -> None:
        program.list_droplets(*fleet(500))
        program.refresh()
        before = program.rules()
        lab.do.fault(Fault(path=r"[?&]page=2\b", repeat="/v2/droplets?per_page=200&page=1"))
        done = program.run("refresh")
        assert done.returncode == 1
        sentence(done)
        assert program.rules() == before

    def test_another_accounts_token_does_not_close_the_droplet_to_its_peers(self, program: Program, lab: Lab) -> None:
        other = "dop_v1_" + "e" * 64
        lab.do.set_droplets(fleet(3), token=other)
        before = program.rules()
        done = program.run("refresh", DO_KEY=other)
        assert done.returncode == 1
        assert "has no Droplet 2756294, which is this one" in sentence(done)
        assert other not in done.stderr
        assert program.rules() == before

    @pytest.mark.parametrize(
        ("name", "value", "fault", "scope"),
        [
            pytest.param(
                "DO_TAG",
                "web",
                Fault(path="tag_name=web", patch={f"/droplets/{n}/tags": GONE for n in range(3)}),
                "tag:read",
                id="tags",
            ),
            pytest.param(
                "DROPLAN_SCOPE",
                "vpc",
                Fault(path=r"droplets\?(?!.*gpus)", patch={f"/droplets/{n}/vpc_uuid": GONE for n in range(4)}),
                "vpc:read",
                id="VPC",
            ),
        ],
    )
    def test_a_field_that_the_token_may_not_see_is_never_taken_for_none(
        self, program: Program, lab: Lab, name: str, value: str, fault: Fault, scope: str
    ) -> None:
        before = program.rules()
        lab.do.fault(fault)
        done = program.run("refresh", **{name: value})
        assert done.returncode == 1
        assert scope in sentence(done)
        assert program.rules() == before


class TestPassingTrouble:
    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param(Fault(status=500, times=1), id="500"),
            pytest.param(Fault(status=503, times=2), id="503 twice"),
            pytest.param(Fault(status=429, headers={"Retry-After": "1"}, times=1), id="the limit a minute"),
            pytest.param(Fault(reset=True, times=1), id="a reset"),
            pytest.param(Fault(cut=100, times=1), id="an answer cut short"),
            pytest.param(Fault(service="metadata", status=503, times=1), id="the metadata service"),
        ],
    )
    def test_it_is_tried_again(self, program: Program, lab: Lab, fault: Fault) -> None:
        lab.do.fault(fault)
        program.refresh()
        assert len(lab.do.requests(fault.service)) == {"api": 2, "metadata": 1}[fault.service] + (fault.times or 0)

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_a_refusal_is_not(self, program: Program, lab: Lab, status: int) -> None:
        lab.do.fault(Fault(status=status))
        assert program.run("refresh").returncode == 1
        assert len(lab.do.requests("api")) == 1

    @pytest.mark.parametrize("fault", [Fault(status=503), Fault(refuse=True)], ids=["503", "refused"])
    def test_trouble_that_lasts_ends_the_run_and_keeps_the_rules(
        self, program: Program, lab: Lab, fault: Fault
    ) -> None:
        before = program.rules()
        lab.do.fault(fault)
        done = program.run("refresh")
        assert done.returncode == 1
        assert "the rules stay as they are" in sentence(done)
        assert program.rules() == before
        assert len(lab.do.requests("api")) <= 5


class TestInterfaces:
    """The private interface is found by MAC, then by address, and never by its name."""

    def test_it_is_found_by_its_address_when_no_mac_matches(self, program: Program, lab: Lab) -> None:
        before = program.rules()
        lab.do.fault(Fault(service="metadata", patch={"/interfaces/private/0/mac": "02:00:00:00:00:99"}))
        program.refresh()
        assert program.rules() == before

    def test_a_droplet_without_a_public_interface_is_closed_alike(self, program: Program, lab: Lab) -> None:
        before = program.rules()
        lab.do.fault(Fault(service="metadata", patch={"/interfaces/public": GONE}))
        program.refresh()
        assert program.rules() == before

    def test_the_private_interface_may_be_the_only_one_and_named_eth0(self, program: Program, lab: Lab) -> None:
        document = lab.metadata()
        interfaces = dict(document["interfaces"])  # type: ignore[call-overload]
        lab.do.set_metadata(lab.droplet.public.ipv4, {**document, "interfaces": {"private": interfaces["public"]}})
        program.refresh()
        assert program.chain("INPUT")[1] == "-A INPUT -i eth0 -j droplan-peers"
        assert program.status()["interfaces"] == ["eth0"]
