"""Files: written whole or not at all, and nowhere that others than their owner could point us to."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from droplan_boot.errors import DroplanError, UnsafePathError
from droplan_boot.host.files import Files

TARGET = Path("/etc/droplan/droplan.env")


def listing(files: Files, path: Path = TARGET) -> list[str]:
    return sorted(entry.name for entry in files.real(path.parent).iterdir())


class TestWrite:
    @pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
    def test_a_file_gets_its_bytes_and_its_mode_whatever_the_umask(self, mode: int, files: Files) -> None:
        before = os.umask(0o077)
        try:
            files.write(TARGET, b"DO_TAG=web\n", mode)
        finally:
            os.umask(before)
        assert files.real(TARGET).read_bytes() == b"DO_TAG=web\n"
        assert stat.S_IMODE(files.real(TARGET).stat().st_mode) == mode
        assert stat.S_IMODE(files.real(TARGET.parent).stat().st_mode) == 0o755

    def test_of_many_who_write_it_at_once_each_writes_it_whole(self, files: Files) -> None:
        """As those do who report that they did not get the lock."""
        texts = {bytes([65 + number]) * 300_000 for number in range(8)}
        seen: set[bytes | None] = set()

        def write(text: bytes) -> None:
            for _ in range(20):
                files.write(TARGET, text, 0o644, lasting=False)
                seen.add(files.read(TARGET))

        with ThreadPoolExecutor(len(texts)) as pool:
            list(pool.map(write, texts))
        assert seen <= texts
        assert listing(files) == ["droplan.env"]

    def test_nothing_else_is_left_behind(self, files: Files) -> None:
        files.write(TARGET, b"x", 0o600)
        assert listing(files) == ["droplan.env"]

    def test_what_a_killed_run_left_is_no_obstacle(self, files: Files) -> None:
        files.write(TARGET, b"x", 0o600)
        files.real(TARGET).with_name("droplan.env.droplan-new").write_bytes(b"half")
        files.write(TARGET, b"y", 0o600)
        assert files.read(TARGET) == b"y"
        assert listing(files) == ["droplan.env"]

    def test_what_a_killed_run_left_beside_it_is_a_problem_and_goes_with_it(self, files: Files) -> None:
        files.write(TARGET, b"x", 0o600)
        files.real(TARGET).with_name("droplan.env.droplan-new").write_bytes(b"half")
        assert files.problem(TARGET, b"x", 0o600) == "about to be written by a run that was killed"
        assert files.remove(TARGET)
        assert listing(files) == []

    @pytest.mark.parametrize("step", ["fsync", "rename", "fchmod", "open"])
    def test_when_a_step_fails_the_old_file_is_as_it_was(
        self, step: str, files: Files, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files.write(TARGET, b"old", 0o600)

        def full(*args: object, **kwargs: object) -> int:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, step, full)
            with pytest.raises(DroplanError, match=r"^/etc/droplan/droplan.env cannot be written: No space left"):
                files.write(TARGET, b"new", 0o600)
        assert files.read(TARGET) == b"old"
        assert listing(files) == ["droplan.env"]

    def test_bytes_are_on_disk_before_the_name_and_the_name_before_we_go_on(
        self, files: Files, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files.write(TARGET, b"old", 0o600)
        done: list[str] = []
        sync, rename = os.fsync, os.rename

        def synced(descriptor: int) -> None:
            done.append("sync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
            sync(descriptor)

        def renamed(*args: Path) -> None:
            done.append("rename")
            rename(*args)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "rename", renamed)
        files.write(TARGET, b"new", 0o600)
        assert done == ["sync file", "rename", "sync directory"]

    def test_a_link_is_replaced_not_followed(self, files: Files, tmp_path: Path) -> None:
        files.directory(TARGET.parent)
        (tmp_path / "victim").write_bytes(b"precious")
        files.real(TARGET).symlink_to(tmp_path / "victim")
        files.write(TARGET, b"x", 0o600)
        assert (tmp_path / "victim").read_bytes() == b"precious"
        assert not files.real(TARGET).is_symlink()

    def test_so_is_one_in_the_place_of_the_temporary_file(self, files: Files, tmp_path: Path) -> None:
        files.directory(TARGET.parent)
        (tmp_path / "victim").write_bytes(b"precious")
        files.real(TARGET).with_name("droplan.env.droplan-new").symlink_to(tmp_path / "victim")
        files.write(TARGET, b"x", 0o600)
        assert (tmp_path / "victim").read_bytes() == b"precious"

    def test_a_hard_link_elsewhere_keeps_its_bytes(self, files: Files, tmp_path: Path) -> None:
        files.directory(TARGET.parent)
        (tmp_path / "victim").write_bytes(b"precious")
        os.link(tmp_path / "victim", files.real(TARGET))
        files.write(TARGET, b"x", 0o600)
        assert (tmp_path / "victim").read_bytes() == b"precious"

    def test_an_empty_directory_in_its_place_gives_way(self, files: Files) -> None:
        """Docker makes one where a file that is to be mounted is missing."""
        files.directory(TARGET)
        files.write(TARGET, b"x", 0o600)
        assert files.read(TARGET) == b"x"

    def test_a_directory_with_something_in_it_is_left_alone(self, files: Files) -> None:
        files.directory(TARGET / "precious")
        with pytest.raises(UnsafePathError, match="is a directory: move it away"):
            files.write(TARGET, b"x", 0o600)


def put_instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what puts something else in a file's or empty directory's place."""

    def spoil(place: Path) -> None:
        place.rmdir() if place.is_dir() else place.unlink()
        make(place)

    return spoil


def mkfifo(place: Path) -> None:
    os.mkfifo(place)


PARENTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "writable by all": (lambda place: place.chmod(0o777), "can be written by others than root: `chown root:root"),
    "sticky": (lambda place: place.chmod(0o1777), "can be written by others"),
    "a link": (put_instead(lambda place: place.symlink_to("/tmp")), "is not a directory: move it away"),
    "a file": (put_instead(Path.touch), "is not a directory"),
}


class TestDirectory:
    @pytest.mark.parametrize("kind", PARENTS)
    def test_below_one_that_others_could_change_nothing_is_written(self, kind: str, files: Files) -> None:
        spoil, words = PARENTS[kind]
        files.directory(TARGET.parent)
        spoil(files.real(TARGET.parent))
        with pytest.raises(UnsafePathError) as caught:
            files.write(TARGET, b"x", 0o600)
        assert str(caught.value).startswith("/etc/droplan ")
        assert words in str(caught.value)
        assert not os.path.lexists(files.real(TARGET))

    def test_nor_below_one_of_another_owner(self, files: Files) -> None:
        with pytest.raises(UnsafePathError, match="/etc can be written by others than root"):
            Files(files.root, files.owner + 1).write(TARGET, b"x", 0o600)

    def test_all_of_them_are_looked_at_up_to_the_root(self, files: Files) -> None:
        files.directory(TARGET.parent)
        files.real(Path("/etc")).chmod(0o757)
        with pytest.raises(UnsafePathError, match=r"^/etc can be written"):
            files.write(TARGET, b"x", 0o600)

    def test_one_that_cannot_be_made_is_told(self, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*args: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(os, "mkdir", refused)
        with pytest.raises(DroplanError, match=r"^/etc/droplan cannot be made: Read-only file system"):
            files.directory(TARGET.parent)


class TestProblem:
    @pytest.mark.parametrize(
        ("what", "spoil", "problem"),
        [
            ("nothing", lambda place: None, None),
            ("removed", lambda place: place.unlink(), "missing"),
            ("emptied", lambda place: place.write_bytes(b""), "empty"),
            ("longer", lambda place: place.write_bytes(b"wanted and more"), "altered"),
            ("of the same length", lambda place: place.write_bytes(b"wasted"), "altered"),
            ("mode", lambda place: place.chmod(0o644), "mode 0644"),
            ("setuid", lambda place: place.chmod(0o4600), "mode 4600"),
            ("a link", put_instead(lambda place: place.symlink_to("/etc/passwd")), "not a regular file"),
            ("a directory", put_instead(Path.mkdir), "not a regular file"),
            ("a pipe", put_instead(mkfifo), "not a regular file"),
            ("a hard link", lambda place: os.link(place, place.with_name("x")), "hard-linked elsewhere"),
        ],
    )
    def test_it_is_told_in_a_word_or_two(
        self, what: str, spoil: Callable[[Path], object], problem: str | None, files: Files
    ) -> None:
        files.write(TARGET, b"wanted", 0o600)
        spoil(files.real(TARGET))
        assert files.problem(TARGET, b"wanted", 0o600) == problem

    def test_another_owner_is_one(self, files: Files) -> None:
        files.write(TARGET, b"wanted", 0o600)
        found = Files(files.root, files.owner + 1).problem(TARGET, b"wanted", 0o600)
        assert found == f"owned by uid {files.owner}"

    def test_what_is_right_is_not_written_again(self, files: Files) -> None:
        assert files.ensure(TARGET, b"wanted", 0o600) == "missing"
        before = files.real(TARGET).stat()
        assert files.ensure(TARGET, b"wanted", 0o600) is None
        assert files.real(TARGET).stat().st_ino == before.st_ino


class TestRead:
    @pytest.mark.parametrize(
        "make",
        [
            lambda place: None,
            lambda place: place.symlink_to("/etc/passwd"),
            lambda place: place.mkdir(),
            lambda place: os.mkfifo(place),
        ],
        ids=["missing", "link", "directory", "pipe"],
    )
    def test_what_is_no_regular_file_is_none(self, make: Callable[[Path], object], files: Files) -> None:
        files.directory(TARGET.parent)
        make(files.real(TARGET))
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        assert files.read(TARGET) is None
        assert len(list(Path("/proc/self/fd").iterdir())) == descriptors

    def test_below_a_file_there_is_nothing(self, files: Files) -> None:
        files.write(TARGET, b"x", 0o600)
        assert files.read(TARGET / "more") is None
        assert files.problem(TARGET / "more", b"", 0o600) == "missing"

    def test_more_than_the_limit_is_an_error(self, files: Files) -> None:
        files.write(TARGET, b"12345", 0o600)
        assert files.read(TARGET, limit=5) == b"12345"
        with pytest.raises(DroplanError, match="is larger than 4 bytes"):
            files.read(TARGET, limit=4)


LOG = Path("/var/log/droplan.log")


class TestAppend:
    def test_lines_follow_each_other(self, files: Files) -> None:
        for line in (b"one\n", b"two\n"):
            files.append(LOG, line, 0o640, keep=100)
        assert files.read(LOG) == b"one\ntwo\n"

    def test_the_newest_whole_lines_are_kept(self, files: Files) -> None:
        for number in range(30):
            files.append(LOG, b"line %02d\n" % number, 0o640, keep=100)
        kept = (files.read(LOG) or b"").splitlines()
        assert len(kept) <= 12
        assert kept == [b"line %02d" % number for number in range(30 - len(kept), 30)]

    def test_a_directory_that_syslog_may_write_is_accepted(self, files: Files) -> None:
        files.real(LOG.parent).chmod(0o775)
        for _ in range(3):
            files.append(LOG, b"x" * 60 + b"\n", 0o640, keep=100)
        assert (files.read(LOG) or b"").startswith(b"x")

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda place, victim: place.symlink_to(victim), "is a link: remove it"),
            (lambda place, victim: os.link(victim, place), "is not a plain file of root's: remove it"),
            (lambda place, victim: os.mkfifo(place), "cannot be written"),
            (lambda place, victim: place.mkdir(), "cannot be written"),
        ],
        ids=["link", "hard link", "pipe", "directory"],
    )
    def test_words_never_land_elsewhere(
        self, make: Callable[[Path, Path], object], words: str, files: Files, tmp_path: Path
    ) -> None:
        victim = tmp_path / "victim"
        victim.write_bytes(b"precious")
        make(files.real(LOG), victim)
        with pytest.raises(DroplanError, match=words):
            files.append(LOG, b"x\n", 0o640, keep=100)
        assert victim.read_bytes() == b"precious"


class TestRemove:
    def test_a_file_or_link_goes_and_what_is_gone_is_no_error(self, files: Files) -> None:
        files.write(TARGET, b"x", 0o600)
        assert files.remove(TARGET)
        assert not files.remove(TARGET)
        assert files.remove_directory(TARGET.parent)
        assert not files.remove_directory(TARGET.parent)

    def test_a_directory_goes_only_when_it_is_empty(self, files: Files) -> None:
        files.write(TARGET, b"x", 0o600)
        assert not files.remove_directory(TARGET.parent)
        assert files.read(TARGET) == b"x"

    def test_one_that_is_in_a_files_place_is_told(self, files: Files) -> None:
        files.directory(TARGET)
        with pytest.raises(DroplanError, match="cannot be removed"):
            files.remove(TARGET)

    def test_a_tree_goes_without_what_its_links_lead_to(self, files: Files, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "precious").touch()
        files.write(TARGET, b"x", 0o600)
        files.real(TARGET).with_name("link").symlink_to(tmp_path / "elsewhere")
        assert files.remove_tree(TARGET.parent)
        assert not files.exists(TARGET.parent)
        assert (tmp_path / "elsewhere" / "precious").exists()
        assert not files.remove_tree(TARGET.parent)


def test_a_dangling_link_is_there(files: Files) -> None:
    files.directory(TARGET.parent)
    files.real(TARGET).symlink_to("nowhere")
    assert files.exists(TARGET)
