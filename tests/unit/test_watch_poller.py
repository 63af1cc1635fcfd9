"""The watcher's one lasting child: it polls, is started again after growing pauses, and ends with the watcher."""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path

import pytest

from droplan_boot.watch.poller import FIRST_PAUSE_S, LONGEST_PAUSE_S, Poller

SLEEPS = "import signal; signal.pause()"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Return where the program is."""
    return tmp_path / "droplan.py"


def poller(script: Path, text: str) -> Poller:
    script.write_text(text)
    return Poller([sys.executable, "-I", "-S", str(script)], 0.0)


def pid(polling: Poller) -> int:
    assert polling._pid
    return polling._pid


def ended(process: int) -> None:
    """Wait until a process has ended, and leave it to be waited for."""
    descriptor = os.pidfd_open(process)
    try:
        assert select.select([descriptor], [], [], 20)[0], "it has not ended"
    finally:
        os.close(descriptor)


def test_it_is_started_at_once_and_left_alone_while_it_runs(script: Path) -> None:
    polling = poller(script, SLEEPS)
    assert polling.next() == 0.0
    assert polling.look(0.0) == ""
    first = pid(polling)
    assert polling.next() is None
    assert polling.look(1000.0) == ""
    assert pid(polling) == first
    polling.end()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_it_is_told_what_to_do(script: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    polling = poller(script, f"import sys; open({str(told)!r}, 'w').write(' '.join(sys.argv[1:]))")
    polling.look(0.0)
    ended(pid(polling))
    assert told.read_text() == "poll"
    polling.look(0.0)


def test_one_that_ends_is_started_again_after_growing_pauses(script: Path) -> None:
    polling, now, pauses = poller(script, "raise SystemExit(2)"), 0.0, []
    for _ in range(9):
        assert polling.look(now) == ""
        ended(pid(polling))
        assert (
            polling.look(now) == "What polls the fleet's list ended with status 2: /var/log/droplan.log may say why"
        )
        due = polling.next()
        assert due is not None
        assert polling.look(due - 0.1) == "", "not before its time"
        pauses.append(due - now)
        now = due
    assert pauses[0] == FIRST_PAUSE_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S


def test_one_that_ran_for_long_is_started_again_soon(script: Path) -> None:
    polling = poller(script, SLEEPS)
    for began in (0.0, 2000.0):
        polling.look(began)
        os.kill(pid(polling), signal.SIGKILL)
        ended(pid(polling))
        polling.look(began + 900.0)
        assert polling.next() == began + 900.0 + FIRST_PAUSE_S


def test_a_program_that_is_gone_is_told(tmp_path: Path) -> None:
    polling = Poller([str(tmp_path / "gone")], 0.0)
    assert "cannot be started: No such file or directory" in polling.look(0.0)
    assert polling.next() == LONGEST_PAUSE_S
