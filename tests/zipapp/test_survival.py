"""What the zipapp's start survives: kills, power losses, full disks, other starts, other versions."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bed.zipapp import STATE, STORE, SYSTEM_PYTHON, ZipappDroplet, fresh_droplet
from tests.zipapp.conftest import build, copy_sources

UNFINISHED = STORE / ".unfinished"


def until(what: Callable[[], bool], seconds: float = 30) -> None:
    """Poll for something that must come."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.0005)


def sentence(started: subprocess.CompletedProcess[str]) -> str:
    """The one line that a start which failed left for a person to read."""
    assert started.returncode == 1
    assert started.stdout == ""
    (line,) = started.stderr.splitlines()
    assert line.startswith("droplan: ")
    return line


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zipapp of a later version."""
    checkout = copy_sources(tmp_path_factory.mktemp("newer") / "checkout")
    package = checkout / "droplan_boot/__init__.py"
    package.write_text(re.sub(r'__version__ = ".*"', '__version__ = "99.0.0"', package.read_text()))
    return build(checkout) / "droplan.pyz"


class TestParallelFirstStarts:
    def test_twenty_all_succeed_and_leave_one_tree(self, fresh: ZipappDroplet) -> None:
        command = fresh.command(SYSTEM_PYTHON, "-IS", fresh.archive, "--version")
        starts = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(20)
        ]
        results = [start.communicate(timeout=120) for start in starts]
        assert [start.returncode for start in starts] == [0] * 20, results
        assert {stderr for _, stderr in results} == {""}
        assert len(fresh.trees()) == 1


class TestKilledWhileUnpacking:
    @pytest.mark.parametrize("reached", ["", "site-packages/charset_normalizer", "site-packages/urllib3/util"])
    def test_the_next_start_begins_again_and_leaves_no_rest(self, fresh: ZipappDroplet, reached: str) -> None:
        command = fresh.command(SYSTEM_PYTHON, "-IS", fresh.archive, "--version")
        start = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        until((fresh.real(UNFINISHED) / reached).exists)
        os.killpg(start.pid, 9)
        assert start.wait() == -9
        assert [tree.name for tree in fresh.trees()] == [".unfinished"], "killed too late to show anything"
        again = fresh.start()
        assert (again.returncode, again.stderr) == (0, "")
        assert [tree.name for tree in fresh.trees()] != [".unfinished"]
        assert len(fresh.trees()) == 1


def contents(tree: Path) -> dict[Path, tuple[int, int, bytes]]:
    """Owner, mode and bytes of every file and directory; of those that tell times, without their bytes."""
    found = {}
    for path in [tree, *tree.rglob("*")]:
        timeless = path.is_file() and path.suffix != ".pyc" and path.name != "manifest"
        status = path.lstat()
        found[path.relative_to(tree)] = (status.st_uid, status.st_mode, path.read_bytes() if timeless else b"")
    return found


def emptied(tree: Path) -> None:
    os.truncate(tree / "site-packages/droplan_boot/cli.pyc", 0)


def every_file_emptied(tree: Path) -> None:
    for path in tree.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def a_source_beside_it(tree: Path) -> None:
    (tree / "site-packages/droplan_boot/cli.py").write_text("raise SystemExit('not droplan')")


def zeros_of_the_same_size(tree: Path) -> None:
    path = tree / "site-packages/requests/sessions.pyc"
    path.write_bytes(bytes(path.stat().st_size))


def removed(tree: Path) -> None:
    (tree / "site-packages/libxtwrapper.so").unlink()


def added(tree: Path) -> None:
    (tree / "site-packages/argparse.py").write_text("raise SystemExit('not droplan')")


def manifest_emptied(tree: Path) -> None:
    os.truncate(tree / "manifest", 0)


def manifest_cut_short(tree: Path) -> None:
    os.truncate(tree / "manifest", (tree / "manifest").stat().st_size // 2)


def manifest_removed(tree: Path) -> None:
    (tree / "manifest").unlink()


def writable_by_others(tree: Path) -> None:
    (tree / "site-packages/idna/core.pyc").chmod(0o666)


def owned_by_another(tree: Path) -> None:
    os.chown(tree / "site-packages/droplan_boot", 1000, 1000)


def a_link_in_place_of_a_file(tree: Path) -> None:
    path = tree / "site-packages/certifi/core.pyc"
    path.rename(tree.parent / "core.pyc")
    path.symlink_to(tree.parent / "core.pyc")


def a_file_in_place_of_the_tree(tree: Path) -> None:
    tree.rename(tree.with_name("old"))
    tree.write_text("")


DAMAGE = [
    emptied, every_file_emptied, a_source_beside_it, zeros_of_the_same_size, removed, added, manifest_emptied,
    manifest_cut_short, manifest_removed, writable_by_others, owned_by_another, a_link_in_place_of_a_file,
    a_file_in_place_of_the_tree,
]  # fmt: skip


class TestDamagedTree:
    @pytest.mark.parametrize("damage", DAMAGE)
    def test_is_made_again(self, used: ZipappDroplet, damage: Callable[[Path], None]) -> None:
        (tree,) = used.trees()
        before = contents(tree)
        damage(tree)
        again = used.start()
        assert (again.returncode, again.stderr) == (0, "")
        assert used.trees() == [tree], "the damaged one is gone"
        assert contents(tree) == before


class TestPowerLoss:
    def test_every_file_and_directory_is_written_through_before_the_tree_gets_its_name(
        self, fresh: ZipappDroplet, tmp_path: Path
    ) -> None:
        trace = tmp_path / "trace"
        watched = ["strace", "-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o", str(trace)]
        command = fresh.command(SYSTEM_PYTHON, "-IS", fresh.archive, "--version")
        subprocess.run([*watched, *command], check=True, stdout=subprocess.DEVNULL)
        calls = trace.read_text()
        named = re.search(r'rename\w*\(.*"(/var/lib/droplan/zipapp/\.unfinished)", .*"([^"]*cpython[^"/]*)"', calls)
        assert named
        before, after = calls[: named.start()], calls[named.end() :]
        (tree,) = fresh.trees()
        synced = set(re.findall(r"fsync\(\d+<(.*?)>\)\s+= 0", before))
        written = {str(UNFINISHED / p.relative_to(tree)) for p in [tree, *tree.rglob("*")]}
        assert written <= synced
        assert {str(STATE), str(STORE)} <= set(re.findall(r"fsync\(\d+<(.*?)>\)\s+= 0", after))


class TestDisk:
    def test_a_full_disk_is_named_and_left_no_fuller(self, pyz: Path) -> None:
        with fresh_droplet(pyz, "size=1m") as made:
            said = sentence(made.start())
            assert "full" in said
            assert "free 10 MB" in said
            assert made.trees() == []
            assert made.run("mount", "-o", "remount,size=20m", "/var/lib").returncode == 0
            assert made.start().returncode == 0

    def test_a_disk_without_inodes_is_named(self, pyz: Path) -> None:
        with fresh_droplet(pyz, "nr_inodes=50") as made:
            assert "full" in sentence(made.start())

    def test_a_read_only_file_system_is_named(self, pyz: Path) -> None:
        with fresh_droplet(pyz) as made:
            assert made.run("mount", "-o", "remount,ro", "/var/lib").returncode == 0
            assert "read-only" in sentence(made.start())

    def test_on_a_read_only_file_system_what_is_unpacked_still_runs(self, used: ZipappDroplet) -> None:
        assert used.run("mount", "-o", "remount,ro", "/var/lib").returncode == 0
        assert used.start().returncode == 0

    def test_noexec_is_named_once_and_droplan_runs(self, pyz: Path) -> None:
        with fresh_droplet(pyz, "noexec") as made:
            first, second = made.start(), made.start()
            assert (first.returncode, second.returncode) == (0, 0)
            assert "noexec" in first.stderr
            assert len(first.stderr.splitlines()) == 1
            assert second.stderr == ""

    def test_a_damaged_archive_is_named(self, fresh: ZipappDroplet) -> None:
        archive = fresh.real(fresh.archive)
        data = bytearray(archive.read_bytes())
        place = data.index(b"site-packages/requests/sessions.py") + 200
        data[place : place + 50] = bytes(50)
        archive.write_bytes(data)
        assert "damaged" in sentence(fresh.start())
        assert fresh.trees() == []


class TestOtherVersions:
    def test_a_newer_version_removes_the_older_tree(self, used: ZipappDroplet, newer: Path) -> None:
        (old,) = used.trees()
        used.real(used.archive).write_bytes(newer.read_bytes())
        assert "99.0.0" in used.start().stdout
        (new,) = used.trees()
        assert new != old

    def test_a_tree_that_somebody_runs_from_stays_until_he_is_done(self, used: ZipappDroplet, newer: Path) -> None:
        (old,) = used.trees()
        used.real(used.archive).write_bytes(newer.read_bytes())
        with (old / "manifest").open() as running:
            fcntl.flock(running, fcntl.LOCK_SH)
            assert used.start().returncode == 0
            assert old in used.trees()
        (current,) = (tree for tree in used.trees() if tree != old)
        manifest_removed(current)
        assert used.start().returncode == 0
        assert used.trees() == [current]

    def test_a_running_droplan_holds_its_tree(self, used: ZipappDroplet) -> None:
        (tree,) = used.trees()
        code = (
            "import fcntl, os, runpy, sys\n"
            "os._exit = sys.exit\n"  # so that we can look at the process before it ends
            f"sys.path[0] = sys.argv[0] = {str(used.archive)!r}\n"
            "sys.argv[1:] = ['--version']\n"
            "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
            "except SystemExit as end: assert not end.code\n"
            f"manifest = open({str(STORE / tree.name / 'manifest')!r})\n"
            "try: fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
            "except BlockingIOError: print('held')"
        )
        started = used.run(SYSTEM_PYTHON, "-IS", "-c", code)
        assert started.stdout.split()[-1] == "held", started.stderr

    def test_trees_for_two_pythons_live_side_by_side(self, used: ZipappDroplet) -> None:
        (tree,) = used.trees()
        other = tree.with_name(tree.name.split("-")[0] + "-cpython-399-9999")
        other.mkdir()
        manifest_removed(tree)
        assert used.start().returncode == 0
        assert used.trees() == sorted([tree, other])

    def test_an_archive_replaced_while_it_starts_is_refused(self, fresh: ZipappDroplet, newer: Path) -> None:
        # The start-up code of one version meets the contents of another.
        code = (
            "import sys, zipimport\n"
            f"sys.path[0] = sys.argv[0] = {str(fresh.archive)!r}\n"
            "main = zipimport.zipimporter(sys.argv[0]).get_code('__main__')\n"
            "open(sys.argv[0], 'wb').write(open('/srv/newer.pyz', 'rb').read())\n"
            "zipimport._zip_directory_cache.clear()\n"
            "exec(main, {'__name__': '__main__'})"
        )
        fresh.real(Path("/srv/newer.pyz")).write_bytes(newer.read_bytes())
        started = fresh.run(SYSTEM_PYTHON, "-IS", "-c", code)
        assert "was replaced while it was started" in sentence(started)
        assert fresh.trees() == []


def test_a_python_that_is_too_old_is_named(pyz: Path) -> None:
    # No such Python need be at hand: the sentence comes from the version that the interpreter tells.
    code = (
        "import sys\n"
        f"sys.version_info = (3, 6, 15, 'final', 0); sys.path.insert(0, {str(pyz)!r})\n"
        "import zipimport\n"
        "exec(zipimport.zipimporter(sys.path[0]).get_code('__main__'), {'__name__': '__main__'})"
    )
    started = subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=False)
    assert "needs Python 3.9 or newer" in sentence(started)
