"""Whatever DigitalOcean's API and the metadata service do: no rule changes, one line says why, the next run heals.

Faults that pass by themselves are tried again for some seconds, and a silent server is waited for; those cases run
at the same time, each on a Droplet of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.bed import GONE, Fault, Lab
from tests.bed.harm import NEW, OTHER_TOKEN, Aftermath, Case, Patient, harmless

LIST = r"^/v2/droplets\?per_page=200$"
PAGE = r"/v2/droplets\?per_page=200&page="
API = "https://api.digitalocean.com"
PORTAL = "<!DOCTYPE html><html><title>Welcome to our wireless network</title></html>"
OTHER_SHAPE = "malformed"
INCOMPLETE = "is incomplete"
NO_ANSWER = "gives no answer"


def metadata(**fault: Any) -> tuple[Fault, ...]:
    """Make a fault of the metadata service."""
    return (Fault(service="metadata", **fault),)


def answer(**fault: Any) -> tuple[Fault, ...]:
    """Make a fault of the first page of the list."""
    return (Fault(path=LIST, **fault),)


def patch(changes: Mapping[str, Any]) -> tuple[Fault, ...]:
    """Change the first page of the list."""
    return answer(patch=dict(changes))


def address(value: object) -> tuple[Fault, ...]:
    """Give a peer another private address."""
    return patch({"/droplets/1/networks/v4/1/ip_address": value})


FINAL = [
    # Who answers
    Case("certificate not trusted", "is not trusted", (Fault(certificate="untrusted"),)),
    Case("certificate expired", "certificate has expired", (Fault(certificate="expired"),)),
    Case("certificate of another host", "is not trusted (Hostname mismatch", (Fault(certificate="wrong-host"),)),
    # What status they answer with
    Case("401", "refuses the token (401)", answer(status=401)),
    Case("403", "forbids it (403)", answer(status=403)),
    Case("404", "status 404", answer(status=404)),
    Case("429 for the hour", "too many requests (429)", answer(status=429)),
    Case("429 for longer than we wait", "too many requests (429)", answer(status=429, headers={"Retry-After": "60"})),
    Case("429 with a date", "(429)", answer(status=429, headers={"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"})),
    Case("429 with endless digits", "(429)", answer(status=429, headers={"Retry-After": "9" * 5000})),
    Case("501", "status 501", answer(status=501)),
    Case("204", "204", answer(status=204)),
    Case("a message with control characters", "status 418", answer(status=418, body='{"message": "\\u001b[2J\\n"}')),
    # Redirects: the metadata service would log whatever came
    Case(
        "302 elsewhere", "redirects elsewhere", answer(status=302, headers={"Location": "http://169.254.169.254/x"})
    ),
    Case(
        "307 elsewhere", "redirects elsewhere", answer(status=307, headers={"Location": "https://169.254.169.254/x"})
    ),
    Case("308 here", "redirects elsewhere", answer(status=308, headers={"Location": f"{API}/v2/account"})),
    Case("302 to nonsense", "redirects elsewhere", answer(status=302, headers={"Location": "https://["})),
    # What they say
    Case("a captive portal with 200", "captive portal", answer(status=200, body=PORTAL)),
    Case("JSON cut off", "no JSON", answer(body='{"droplets": [')),
    Case("nothing", "no JSON", answer(body="")),
    Case("JSON nested a million deep", "no JSON", answer(body="[" * 1_000_000)),
    Case("bytes that are no text", "no JSON", answer(body='{"droplets": "\udcff"}')),
    Case("100 MB", "more than 16 MB", answer(size=100 << 20)),
    Case("100 MB with 500", "more than 16 MB", answer(size=100 << 20, status=500)),
    # Of another shape
    Case("a list for an object", OTHER_SHAPE, patch({"": []})),
    Case("null", OTHER_SHAPE, patch({"": None})),
    Case("no droplets", "'droplets' is missing", patch({"/droplets": GONE})),
    Case("droplets null", "'droplets' is NoneType", patch({"/droplets": None})),
    Case("droplets an object", OTHER_SHAPE, patch({"/droplets": {}})),
    Case("a Droplet that is null", OTHER_SHAPE, patch({"/droplets/1": None})),
    Case("id missing", "'id' is missing", patch({"/droplets/1/id": GONE})),
    Case("id a string", "'id' is str", patch({"/droplets/1/id": "2756295"})),
    Case("id true", "'id' is bool", patch({"/droplets/1/id": True})),
    Case("id negative", "'id' is -1", patch({"/droplets/1/id": -1})),
    Case("networks missing", "'networks' is missing", patch({"/droplets/1/networks": GONE})),
    Case("networks null", "'networks' is NoneType", patch({"/droplets/1/networks": None})),
    Case("networks.v4 missing", "'v4' is missing", patch({"/droplets/1/networks/v4": GONE})),
    Case("a network of no kind", "'type' is missing", patch({"/droplets/1/networks/v4/1/type": GONE})),
    Case("a network of a new kind", "type 'tunnel'", patch({"/droplets/1/networks/v4/1/type": "tunnel"})),
    Case("region missing", "'region' is missing", patch({"/droplets/1/region": GONE})),
    Case("region.slug null", "'slug' is NoneType", patch({"/droplets/1/region/slug": None})),
    Case("region.slug with an escape", "where a name belongs", patch({"/droplets/1/region/slug": "ny\x1b[2Jc3"})),
    Case("tags a string", "'tags' is str", patch({"/droplets/1/tags": "web"})),
    Case("a tag of two lines", "where a name belongs", patch({"/droplets/1/tags": ["web\nroot ALL=(ALL)"]})),
    Case("address null", "'ip_address' is NoneType", address(None)),
    Case("address a number", "'ip_address' is int", address(0x0A840003)),
    Case("address a name", "where an IPv4 address belongs", address("peer.example")),
    Case("address with a rule", "where an IPv4 address belongs", address("10.132.0.9 -j ACCEPT\n-A INPUT")),
    Case("address with a blank", "where an IPv4 address belongs", address("10.132.0.9 ")),
    Case("address with a leading zero", "where an IPv4 address belongs", address("010.132.0.9")),
    Case("IPv6 where IPv4 belongs", "where an IPv4 address belongs", address("2604:a880::1")),
    Case("0.0.0.0", "cannot be the address", address("0.0.0.0")),
    Case("0.0.0.0/0", "where an IPv4 address belongs", address("0.0.0.0/0")),
    Case("10.0.0.0/8", "where an IPv4 address belongs", address("10.0.0.0/8")),
    Case("multicast", "cannot be the address", address("224.0.0.1")),
    Case("broadcast", "cannot be the address", address("255.255.255.255")),
    Case("loopback", "cannot be the address", address("127.0.0.1")),
    Case("link-local, as metadata is", "cannot be the address", address("169.254.169.254")),
    Case(
        "IPv6 with a rule for its scope",
        "where an IPv6 address belongs",
        patch({"/droplets/1/networks/v6/0/ip_address": "2604::1%x -j ACCEPT\n-A INPUT -j ACCEPT"}),
    ),
    # Lists that are not whole
    Case("empty list", "has no Droplet 2756294", patch({"/droplets": [], "/meta/total": 0})),
    Case("empty list, true total", INCOMPLETE, patch({"/droplets": []})),
    Case("this Droplet missing", "has no Droplet 2756294", own=False),
    Case("another account's token", "of the account that owns this", environment={"DO_KEY": OTHER_TOKEN}),
    Case("a token that is revoked", "refuses the token", environment={"DO_KEY": "dop_v1_" + "ab" * 32}),
    Case("total too high", INCOMPLETE, patch({"/meta/total": 7})),
    Case("total too low", INCOMPLETE, patch({"/meta/total": 3})),
    Case("total missing", "'total' is missing", patch({"/meta/total": GONE})),
    Case("total a string", "'total' is str", patch({"/meta/total": "5"})),
    Case("total true", "'total' is bool", patch({"/meta/total": True})),
    Case("meta missing", "'meta' is missing", patch({"/meta": GONE})),
    Case("a Droplet listed twice", INCOMPLETE, patch({"/droplets/2/id": 2756295})),
    Case("GPU Droplets fail", "status 404", (Fault(path="type=gpus", status=404),)),
    Case("GPU Droplets lack one", INCOMPLETE, (Fault(path="type=gpus", patch={"/meta/total": 1}),)),
    # Pages
    Case(
        "page missing in the middle",
        INCOMPLETE,
        answer(patch={"/links/pages/next": f"{API}/v2/droplets?per_page=200&page=3"}),
        droplets=450,
    ),
    Case(
        "page that repeats",
        "round in circles",
        (Fault(path=PAGE + "2", repeat="/v2/droplets?per_page=200"),),
        droplets=250,
    ),
    Case(
        "pages in a circle",
        "round in circles",
        (Fault(path=PAGE + "2", patch={"/links/pages/next": f"{API}/v2/droplets?per_page=200"}),),
        droplets=250,
    ),
    Case(
        "page that is its own next",
        "round in circles",
        (Fault(path=PAGE + "2", patch={"/links/pages/next": f"{API}/v2/droplets?per_page=200&page=2"}),),
        droplets=250,
    ),
    Case("no next page", INCOMPLETE, answer(patch={"/links": {}}), droplets=250),
    Case("last page gone", "status 404", (Fault(path=PAGE + "2", status=404),), droplets=250),
    Case("last page empty", INCOMPLETE, (Fault(path=PAGE + "2", patch={"/droplets": []}),), droplets=250),
    *(
        Case(f"next page {where}", "where the token must not go", patch({"/links/pages/next": url}))
        for where, url in {
            "on another host": "https://169.254.169.254/x",
            "without TLS": "http://api.digitalocean.com/x",
            "on another port": "https://api.digitalocean.com:80/x",
            "of another user": "https://api.digitalocean.com@169.254.169.254/x",
            "nowhere": "https://[",
        }.items()
    ),
    Case("next page a number", "'next' is int", patch({"/links/pages/next": 2})),
    Case("links a list", "'links' is list", patch({"/links": [1]})),
    # Metadata
    Case("metadata 404", "no metadata", metadata(status=404)),
    Case("metadata of a captive portal", "no metadata", metadata(body=PORTAL)),
    Case("metadata redirects", "no metadata", metadata(status=302, headers={"Location": f"{API}/x"})),
    Case("metadata empty", "no metadata", metadata(body="")),
    Case("metadata a list", OTHER_SHAPE, metadata(patch={"": []})),
    Case("metadata without id", "'droplet_id' is missing", metadata(patch={"/droplet_id": GONE})),
    Case("metadata of another Droplet", "has no Droplet 99", metadata(patch={"/droplet_id": 99})),
    Case("metadata with the id a string", "'droplet_id' is str", metadata(patch={"/droplet_id": "2756294"})),
    Case("metadata without interfaces", "'interfaces' is missing", metadata(patch={"/interfaces": GONE})),
    Case("metadata without private", "no private interface", metadata(patch={"/interfaces/private": []})),
    Case("metadata with private null", "no private interface", metadata(patch={"/interfaces/private": None})),
    Case("metadata with private an object", OTHER_SHAPE, metadata(patch={"/interfaces/private": {}})),
    Case(
        "metadata of another machine",
        "no interface of this machine",
        metadata(
            patch={
                "/interfaces/private/0/mac": "02:00:00:00:00:01",
                "/interfaces/private/0/ipv4/ip_address": "10.132.0.77",
            }
        ),
    ),
    Case(
        "metadata with an address that is none",
        "where an IPv4 address belongs",
        metadata(patch={"/interfaces/private/0/ipv4/ip_address": "::1"}),
    ),
    Case("metadata 100 MB", "more than 16 MB", metadata(size=100 << 20)),
]

AT_NIGHT = {
    *("501", "307 elsewhere", "null", "droplets an object", "id true", "id negative", "networks null"),
    *("networks.v4 missing", "region.slug null", "address a number", "address a name", "address with a blank"),
    *("address with a leading zero", "10.0.0.0/8", "multicast", "broadcast", "loopback", "total a string"),
    *("total true", "pages in a circle", "links a list", "metadata with private null"),
    *("metadata with private an object", "metadata with the id a string"),
}
"""Each beside one that breaks in the same way, and is met for each commit; the unit tests read any answer at all."""
assert {case.name for case in FINAL} >= AT_NIGHT

PASSING = [
    Case("DNS fails", NO_ANSWER, environment={"DIGITALOCEAN_API_URL": "https://api.digitalocean.invalid"}),
    Case("connection refused", NO_ANSWER, (Fault(refuse=True),)),
    Case("connection reset", NO_ANSWER, (Fault(reset=True),)),
    Case("connection reset on page 2", NO_ANSWER, (Fault(path=PAGE + "2", reset=True),), droplets=250),
    Case("body cut short", NO_ANSWER, answer(cut=1000)),
    Case("429 with a short wait", "too many requests (429)", answer(status=429, headers={"Retry-After": "1"})),
    *(Case(str(status), f"status {status}", answer(status=status)) for status in (500, 502, 503, 504)),
    Case("metadata 500", "no metadata", metadata(status=500)),
    Case("metadata refused", "no metadata", metadata(refuse=True)),
    Case("metadata cut short", "no metadata", metadata(cut=100)),
]

HANGING = [
    Case("API accepts and stays silent", NO_ANSWER, (Fault(deaf=True),)),
    Case("API thinks for ever", NO_ANSWER, (Fault(delay=600),)),
    Case("API trickles", NO_ANSWER, (Fault(drip=2),)),
    Case("API is a black hole", NO_ANSWER, environment={"DIGITALOCEAN_API_URL": "https://10.132.77.77"}),
    Case("DNS is a black hole", NO_ANSWER, environment={"DIGITALOCEAN_API_URL": "https://api.digitalocean.invalid"}),
    Case("metadata thinks for ever", "no metadata", metadata(delay=600)),
    Case("metadata trickles", "no metadata", metadata(drip=2)),
    Case("metadata is a black hole", "no metadata", environment={"DROPLAN_METADATA_URL": "http://10.132.77.77"}),
]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[pytest.mark.nightly] if case.name in AT_NIGHT else [])
        for case in FINAL
    ],
)
def test_what_no_second_try_would_mend_changes_nothing(case: Case, patient: Patient) -> None:
    outcome = patient.meet(case)
    harmless(outcome, case)
    assert not _astray(outcome)


@pytest.fixture(scope="module")
def outcomes() -> Mapping[str, Aftermath]:
    with ThreadPoolExecutor(10) as pool:
        waiting = {case.name: pool.submit(_alone, case) for case in (*HANGING, *PASSING)}
        return {name: outcome.result() for name, outcome in waiting.items()}


@pytest.mark.parametrize("case", PASSING, ids=lambda case: case.name)
def test_what_may_pass_is_tried_again_and_changes_nothing(case: Case, outcomes: Mapping[str, Aftermath]) -> None:
    outcome = outcomes[case.name]
    harmless(outcome, case)
    asked = [request.target for request in outcome.requests]
    assert not asked or max(asked.count(target) for target in asked) in (1, 2, 3, 4, 5), "and not for ever"
    assert not _astray(outcome)


@pytest.mark.parametrize("case", HANGING, ids=lambda case: case.name)
def test_a_refresh_never_takes_a_minute_whoever_keeps_it_waiting(
    case: Case, outcomes: Mapping[str, Aftermath]
) -> None:
    harmless(outcomes[case.name], case, limit=60)


def _alone(case: Case) -> Aftermath:
    with Lab("nft") as lab:
        patient = Patient(lab)
        if case.name == "DNS is a black hole":
            patient.droplet.path("/etc/resolv.conf").write_text("nameserver 10.132.77.78\nnameserver 10.132.77.79\n")
        return patient.meet(case)


def _astray(outcome: Aftermath) -> list[str]:
    """Return the requests that only a run that is led astray makes; the token would have gone with them."""
    return [request.target for request in outcome.requests if request.target in ("/x", "/v2/account")]


class TestMemory:
    def test_a_body_of_100_megabytes_is_not_kept(self, patient: Patient) -> None:
        patient.lab.do.fault(Fault(path=LIST, size=100 << 20))
        assert _peak(patient) < 80 << 10

    def test_nor_is_what_it_expands_to(self, patient: Patient) -> None:
        bomb = _bomb()
        patient.lab.do.fault(Fault(path=LIST, body=bomb, headers={"Content-Encoding": "gzip"}))
        assert _peak(patient) < 80 << 10


def _bomb() -> str:
    import gzip

    return gzip.compress(bytes(200 << 20), 9).decode(errors="surrogateescape")


def _peak(patient: Patient) -> int:
    """Refresh, which must fail; return the most memory it had, in KiB."""
    measure = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = ["/usr/bin/python3", "-c", measure, "/usr/bin/python3", "/srv/droplan.pyz", "refresh", "--scheduled"]
    done = patient.droplet.run(command, env={"DO_KEY": patient.lab.token}, timeout=120)
    found = re.fullmatch(r"1 (\d+)\n", done.stdout)
    assert found, done.stdout
    assert "more than 16 MB" in patient.log()[-1]
    return int(found[1])


def test_a_fault_in_between_is_lived_through(patient: Patient) -> None:
    patient.list_droplets(*patient.lab.peer_droplets)
    patient.learns(3)
    patient.lab.do.add(NEW)
    patient.lab.do.fault(Fault(path=LIST, status=503, times=2), *metadata(status=500, times=1))
    patient.learns(4)


def test_a_list_that_changes_while_it_is_read_is_read_again(patient: Patient) -> None:
    patient.list_droplets(*patient.lab.peer_droplets)
    patient.learns(3)
    patient.lab.do.add(NEW)
    patient.lab.do.fault(Fault(path=LIST, patch={"/meta/total": 4}, times=2))
    patient.learns(4)
