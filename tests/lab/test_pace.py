"""A fleet too large for the token's budget, as the stand-in API counts what it is asked."""

from __future__ import annotations

import pytest

from tests.bed import probe
from tests.bed.program import LOG, METRICS, REFRESH, STATUS, Program, scattered


@pytest.fixture
def program(installed: Program) -> Program:
    """Return a Droplet among 250 that has just learned how many they are."""
    installed.reset()
    installed.list_droplets(*scattered(249 - len(installed.lab.peer_droplets)), *installed.lab.peer_droplets)
    installed.refresh()
    installed.lab.do.forget_requests()
    return installed


def turn(program: Program) -> int:
    """Run what cron runs; return how many requests that cost."""
    program.lab.do.forget_requests()
    # cron's file sleeps before, to spread the fleet; the script it runs does not.
    done = program.droplet.run([REFRESH], check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return len(program.lab.do.requests("api"))


def test_an_early_turn_costs_no_request_and_no_line(program: Program) -> None:
    log, report = program.read(LOG), program.read(STATUS)
    assert turn(program) == 0
    assert (program.read(LOG), program.read(STATUS)) == (log, report)


def test_the_turn_that_is_due_asks(program: Program) -> None:
    program.come()
    assert turn(program) == 3
    assert turn(program) == 0


def test_an_early_turn_closes_again_what_others_opened(program: Program) -> None:
    program.droplet.run(["nft", "flush", "ruleset"])
    assert probe(program.lab.stranger, program.droplet, patience=0.7).tcp
    assert turn(program) == 0
    assert probe(program.lab.stranger, program.droplet, patience=0.7).nothing
    assert probe(program.lab.peers[0], program.droplet).tcp


def test_the_watcher_s_look_up_is_not_let_pass(program: Program) -> None:
    program.lab.do.forget_requests()
    done = program.run("refresh", "--scheduled", "--asked")
    assert done.returncode == 0
    assert len(program.lab.do.requests("api")) == 3


def test_status_metrics_and_log_say_to_what_and_why(program: Program) -> None:
    text = " ".join(program.run("status").stdout.split())
    assert "250 Droplets take 3750 requests an hour, each refreshing every 12 min: 5 as set" in text
    assert "from 167 on go over to a shared source (DROPLAN_SHARED)" in text
    assert "droplan_interval_seconds 720\n" in program.read(METRICS)
    assert "Refreshing every 12 min instead of every 5: 250 Droplets" in program.read(LOG)
    assert program.report()["set_interval"] == 5


def test_the_fleet_s_hour_stays_within_four_fifths_of_what_the_token_has(program: Program) -> None:
    report = program.report()
    program.come()
    assert report["droplets"] * turn(program) * 60 / report["interval"] <= 4000
