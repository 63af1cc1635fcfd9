"""DROPLAN_MODE=observe, judged by packets: all is as without droplan, strangers are named, and then shut out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import pytest

from tests.bed import PUBLISHED_PORT, Connection, Lab, Reach, connects, probe
from tests.bed.program import METRICS, SETTINGS, Program
from tests.bed.reach import ECHO_PORT
from tests.bed.watching import blocked, eventually, watching

BACKENDS = [
    pytest.param(pair, id="-".join(pair), marks=[pytest.mark.nightly] if pair == ("nft", "iptables") else [])
    for pair in product(("nft", "legacy"), ("auto", "iptables", "nftables"))
    if pair != ("legacy", "nftables")
]
"""At night the one that observes in mangle as legacy-iptables does, and writes its door as nft-auto does."""


class Met(NamedTuple):
    """What each meets at the Droplet."""

    stranger: Reach
    public: Reach
    peer: Reach
    banned: Reach
    published: bool


def met(lab: Lab) -> Met:
    return Met(
        probe(lab.stranger, lab.droplet),
        probe(lab.stranger, lab.droplet, link="eth0"),
        probe(lab.peers[0], lab.droplet),
        probe(lab.peers[1], lab.droplet),
        connects(lab.stranger, lab.droplet, PUBLISHED_PORT),
    )


class Observed(NamedTuple):
    """A Droplet where droplan observes, and how it was before."""

    program: Program
    before: Met
    filters: list[str]


@pytest.fixture(scope="module", params=BACKENDS)
def observed(request: pytest.FixtureRequest) -> Iterator[Observed]:
    variant, backend = request.param
    with Lab(variant) as lab:
        lab.publish_port()
        program = Program(lab)
        # The host's own: it bans a peer, refuses everybody UDP, and has a rule that reads like one of ours.
        program.edit(
            f"-A INPUT -s {lab.peers[1].address} -j DROP",
            f"-A INPUT -i eth1 -p udp --dport {ECHO_PORT} -j REJECT",
            "-A INPUT -i eth9 -j DROP",
        )
        before, filters = met(lab), program.filters()
        program.install(
            DROPLAN_MODE="observe",
            DROPLAN_BACKEND=backend,
            DROPLAN_FAIL_CLOSED="true",
            DROPLAN_LOCK_METADATA="true",
        )
        yield Observed(program, before, filters)


def test_the_host_as_it_was_lets_in_and_refuses(observed: Observed) -> None:
    before = observed.before
    assert before.public.everything
    assert before.published
    assert (before.stranger.tcp, before.stranger.udp, before.stranger.icmp, before.stranger.tcp6) == (
        True,
        False,
        True,
        True,
    )
    assert (before.banned.tcp, before.banned.udp, before.banned.icmp) == (False, False, False)
    assert not before.peer.udp


def test_nothing_is_dropped_and_nothing_newly_accepted(observed: Observed) -> None:
    assert met(observed.program.lab) == observed.before
    assert observed.program.filters() == observed.filters


def test_nor_after_a_refresh(observed: Observed) -> None:
    assert "unchanged" in observed.program.refresh().stdout
    assert met(observed.program.lab) == observed.before


def test_a_stranger_s_connection_goes_on(observed: Observed) -> None:
    with Connection(observed.program.lab.stranger, observed.program.droplet) as theirs:
        assert theirs.echoes()
        observed.program.refresh()
        assert theirs.echoes()


def test_whoever_is_not_root_reaches_the_metadata_service(observed: Observed) -> None:
    somebody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    asked = ["curl", "-s", "-m", "3", "-o", "/dev/null", "http://169.254.169.254/metadata/v1.json"]
    assert observed.program.droplet.run([*somebody, *asked], check=False).returncode == 0


def test_status_check_and_metrics_say_so(observed: Observed) -> None:
    shown = observed.program.run("status")
    assert shown.stdout.startswith("OBSERVING  DROPLAN_MODE=observe")
    assert shown.returncode == 5
    assert "observing" in observed.program.problems()
    checked = observed.program.run("check")
    assert (checked.returncode, checked.stdout.split(" - ")[0]) == (1, "DROPLAN WARNING")
    assert 'droplan_mode{mode="observe"} 1\n' in observed.program.read(METRICS)


def test_explain_says_that_it_passes_and_what_would_shut_it_out(observed: Observed) -> None:
    said = observed.program.run("explain", observed.program.lab.stranger.address).stdout
    assert said.startswith("ACCEPT")
    assert "only observes" in said
    assert "DROPLAN_MODE=enforce" in said


def test_a_restore_observes_again(observed: Observed) -> None:
    if observed.program.droplet.run(["sh", "-c", "command -v nft"], check=False).returncode == 0:
        observed.program.droplet.run(["nft", "delete", "table", "inet", "droplan"], check=False)
    assert "only observes" in observed.program.run("restore").stdout
    assert met(observed.program.lab) == observed.before
    assert observed.program.status()["drift"] == []


def test_going_to_enforce_says_whom_it_cuts_and_shuts_strangers_out(observed: Observed) -> None:
    """The last of the module: it ends the observing."""
    program, lab = observed.program, observed.program.lab
    with watching(program):
        assert connects(lab.stranger, lab.droplet, ECHO_PORT)
        eventually(lambda: blocked(program)["sources"])
    (noted,) = [each for each in blocked(program)["sources"] if each["source"] == lab.stranger.address]
    assert noted["observed"]
    assert f"tcp/{ECHO_PORT}" in {each["service"] for each in noted["services"]}
    assert lab.peers[0].address not in {each["source"] for each in blocked(program)["sources"]}
    assert "would have been shut out" in program.run("blocked").stdout
    with Connection(lab.stranger, lab.droplet) as theirs:
        assert theirs.echoes()
        done = program.run("install", DROPLAN_MODE="enforce")
        assert done.returncode == 0, done.stderr
        assert not theirs.echoes(patience=0.7)
    said = done.stdout
    cut = re.search(rf"Will cut \d+ connections? from {lab.stranger.address} to tcp/{ECHO_PORT}\n", said)
    assert cut, said
    shut = said.find(f"Will shut out {lab.stranger.address}, who last came")
    assert cut.start() < shut < said.find("settings /etc/droplan/droplan.env"), said
    assert "DROPLAN_MODE=enforce\n" in program.read(SETTINGS)
    assert probe(lab.stranger, lab.droplet).nothing
    assert probe(lab.peers[0], lab.droplet).tcp
    assert not connects(lab.stranger, lab.droplet, PUBLISHED_PORT)
    assert program.status()["mode"] == "enforce"
    assert not program.run("status").stdout.startswith("OBSERVING")
