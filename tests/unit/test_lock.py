"""The lock: one at a time, across processes, and never for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from droplan_boot.errors import DroplanError, LockedError
from droplan_boot.host import flock, lock

HOLDER = """
import sys
from pathlib import Path
from droplan_boot.host import flock, lock
with lock.held(Path(sys.argv[1]), wait=0):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the lock is to be."""
    return tmp_path / "droplan.lock"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Return another process, which holds the lock until its stdin ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_another_process_is_waited_for_no_longer_than_asked(holder: subprocess.Popen[bytes], path: Path) -> None:
    with (
        pytest.raises(LockedError, match=r"another program has held .* for 0 s: `fuser -v .*` names it"),
        lock.held(path, wait=0.1),
    ):
        raise AssertionError("two hold it")


@pytest.mark.parametrize("end", ["it lets go", "it is killed"])
def test_when_the_other_ends_it_is_ours(end: str, holder: subprocess.Popen[bytes], path: Path) -> None:
    assert holder.stdin
    if end == "it is killed":
        holder.send_signal(signal.SIGKILL)
    else:
        holder.stdin.close()
    with lock.held(path, wait=30):
        pass


def test_it_can_be_taken_again(path: Path) -> None:
    for _ in range(3):
        with lock.held(path, wait=0):
            pass
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_is_let_go_when_the_work_fails(path: Path) -> None:
    with pytest.raises(RuntimeError), lock.held(path, wait=0):
        raise RuntimeError
    with lock.held(path, wait=0):
        pass


def test_a_file_that_was_replaced_meanwhile_is_not_the_one_to_hold(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = flock.taken
    replaced: list[int] = []

    def then_replaced(descriptor: int) -> bool:
        got = real(descriptor)
        if not replaced:  # somebody cleans /run between our open and our lock
            replaced.append(os.fstat(descriptor).st_ino)
            path.with_suffix(".new").touch()
            path.with_suffix(".new").replace(path)
        return got

    monkeypatch.setattr(flock, "taken", then_replaced)
    with lock.held(path, wait=30):
        assert path.stat().st_ino not in replaced
        with pytest.raises(LockedError), lock.held(path, wait=0):
            pass


@pytest.mark.parametrize("kind", ["link", "directory", "missing directory"])
def test_what_cannot_be_a_lock_is_told(kind: str, path: Path) -> None:
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "directory":
        path.mkdir()
    else:
        path = path / "further"
    with pytest.raises(DroplanError, match="cannot be locked: "), lock.held(path, wait=0):
        pass


def test_children_do_not_inherit_it(path: Path) -> None:
    with lock.held(path, wait=0), subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        held = {str(entry.readlink()) for entry in Path(f"/proc/{child.pid}/fd").iterdir()}
        child.kill()
    assert str(path) not in held
