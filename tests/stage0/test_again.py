"""Runs that meet, and runs after one that was killed."""

from __future__ import annotations

import fcntl
import signal
from pathlib import Path

import pytest

from tests.bed.stage0.droplet import SYSTEM_PYTHON, Stage0Droplet, finish
from tests.bed.stage0.server import LoopbackServer, Pause, Reply
from tests.stage0.conftest import Published


def test_runs_side_by_side_fetch_once_and_both_install(
    python: str, droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    pause = Pause(published.body)
    server.offer("/droplan.pyz", pause)
    first = droplet.start(python, *published.arguments, environment=published.trust, wait=True)
    assert pause.reached.wait(60)

    second = droplet.start(python, *published.arguments, environment=published.trust, wait=True)
    assert second.stderr
    assert "waiting for another bootstrap to finish" in second.stderr.readline()
    pause.released.set()

    assert finish(first).installed
    assert finish(second).installed
    assert server.requests == ["/droplan.pyz"]


def test_a_run_that_waits_in_vain_says_so(
    python: str, droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    droplet.directory.mkdir()
    with (droplet.directory / ".bootstrap.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = droplet.run(python, *published.arguments, environment=published.trust)

    assert outcome.code == 19, outcome.stderr
    assert "another bootstrap holds /opt/droplan/.bootstrap.lock" in outcome.last_line
    assert sum(droplet.waited) == 600
    assert server.requests == []


def test_a_run_killed_in_the_middle_of_a_download_is_made_good_by_the_next(
    python: str, droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    pause = Pause(published.body)
    server.offer("/droplan.pyz", pause, Reply(published.body))
    run = droplet.start(python, *published.arguments, environment=published.trust)
    assert pause.reached.wait(60)
    run.kill()

    assert finish(run).code == -9
    assert droplet.left_behind in ([], [droplet.pyz.name + ".part"])
    assert droplet.run(python, *published.arguments, environment=published.trust).installed
    assert droplet.left_behind == [droplet.pyz.name]


def test_an_interrupted_run_removes_what_it_began(
    python: str, droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    pause = Pause(published.body)
    server.offer("/droplan.pyz", pause)
    run = droplet.start(python, *published.arguments, environment=published.trust)
    assert pause.reached.wait(60)
    run.send_signal(signal.SIGINT)

    outcome = finish(run)
    assert (outcome.code, outcome.stdout) == (130, "")
    assert droplet.left_behind == []


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
def test_what_a_killed_run_left_is_removed(leftover: str, droplet: Stage0Droplet, published: Published) -> None:
    left = droplet.directory / Path(leftover)
    left.parent.mkdir(parents=True)
    left.touch()

    assert droplet.run(SYSTEM_PYTHON, *published.arguments, environment=published.trust).installed

    assert droplet.left_behind == [droplet.pyz.name]
