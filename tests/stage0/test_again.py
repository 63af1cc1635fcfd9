"""Runs that meet, and runs after one that was killed."""

from __future__ import annotations

import fcntl
import signal
from pathlib import Path

import pytest

from tests.bed.stage0.droplet import SYSTEM_PYTHON, Machine, finish
from tests.bed.stage0.server import Pause, Reply, Server
from tests.stage0.conftest import Release


def test_runs_side_by_side_fetch_once_and_both_install(
    python: str, machine: Machine, release: Release, server: Server
) -> None:
    pause = Pause(release.body)
    server.offer("/droplan.pyz", pause)
    first = machine.start(python, *release.arguments, environment=release.trust, wait=True)
    assert pause.reached.wait(60)

    second = machine.start(python, *release.arguments, environment=release.trust, wait=True)
    assert second.stderr
    assert "waiting for another bootstrap to finish" in second.stderr.readline()
    pause.released.set()

    assert finish(first).installed
    assert finish(second).installed
    assert server.requests == ["/droplan.pyz"]


def test_a_run_that_waits_in_vain_says_so(python: str, machine: Machine, release: Release, server: Server) -> None:
    machine.directory.mkdir()
    with (machine.directory / ".bootstrap.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = machine.run(python, *release.arguments, environment=release.trust)

    assert outcome.code == 19, outcome.stderr
    assert "another bootstrap holds /opt/droplan/.bootstrap.lock" in outcome.last_line
    assert sum(machine.waited) == 600
    assert server.requests == []


def test_a_run_killed_in_the_middle_of_a_download_is_made_good_by_the_next(
    python: str, machine: Machine, release: Release, server: Server
) -> None:
    pause = Pause(release.body)
    server.offer("/droplan.pyz", pause, Reply(release.body))
    run = machine.start(python, *release.arguments, environment=release.trust)
    assert pause.reached.wait(60)
    run.kill()

    assert finish(run).code == -9
    assert machine.left_behind in ([], [machine.pyz.name + ".part"])
    assert machine.run(python, *release.arguments, environment=release.trust).installed
    assert machine.left_behind == [machine.pyz.name]


def test_an_interrupted_run_removes_what_it_began(
    python: str, machine: Machine, release: Release, server: Server
) -> None:
    pause = Pause(release.body)
    server.offer("/droplan.pyz", pause)
    run = machine.start(python, *release.arguments, environment=release.trust)
    assert pause.reached.wait(60)
    run.send_signal(signal.SIGINT)

    outcome = finish(run)
    assert (outcome.code, outcome.stdout) == (130, "")
    assert machine.left_behind == []


@pytest.mark.parametrize(
    "leftover",
    [
        "droplan.pyz.download.part",
        ".python.tar.gz",
        ".python.tar.gz.part",
        ".python.unpacked/python/bin/python3",
        ".python.replaced/bin/python3",
    ],
)
def test_what_a_killed_run_left_is_removed(leftover: str, machine: Machine, release: Release) -> None:
    left = machine.directory / Path(leftover)
    left.parent.mkdir(parents=True)
    left.touch()

    assert machine.run(SYSTEM_PYTHON, *release.arguments, environment=release.trust).installed

    assert machine.left_behind == [machine.pyz.name]
