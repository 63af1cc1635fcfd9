"""How the zipapp starts when nothing is in its way."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from droplan_boot import __version__
from tests.bed.zipapp import NOBODY, STATE, STORE, SYSTEM_PYTHON, ZipappDroplet, fresh_droplet, interpreters


def identity(tree: Path) -> dict[str, tuple[int, int]]:
    """What tells a tree that was left alone from one that was made again."""
    return {str(p): (p.lstat().st_ino, p.lstat().st_mtime_ns) for p in [tree, *tree.rglob("*")]}


class TestFirstStart:
    def test_unpacks_one_tree_that_only_root_can_change(self, used: ZipappDroplet) -> None:
        (tree,) = used.trees()
        everything = [used.real(STATE), used.real(STORE), *used.real(STORE).rglob("*")]
        assert all(p.lstat().st_uid == 0 and not p.lstat().st_mode & 0o022 for p in everything)
        assert (tree / "site-packages/droplan_boot/cli.pyc").is_file()

    @pytest.mark.parametrize("umask", ["0000", "0077"])
    def test_gives_the_tree_the_same_modes_under_any_umask(self, fresh: ZipappDroplet, umask: str) -> None:
        shell = f"umask {umask}; exec {SYSTEM_PYTHON} -IS {fresh.archive} --version"
        assert fresh.run("sh", "-c", shell).returncode == 0
        (tree,) = fresh.trees()
        modes = {p.lstat().st_mode & 0o7777 for p in [tree, *tree.rglob("*")]}
        assert modes == {0o755, 0o644}

    def test_writes_nothing_but_below_var_lib_droplan(self, used: ZipappDroplet) -> None:
        assert [p.name for p in used.real(Path("/var/lib")).iterdir()] == ["droplan"]
        assert [p.name for p in used.real(Path("/srv")).iterdir()] == ["droplan.pyz"]
        assert list(used.real(Path("/tmp")).iterdir()) == []


class TestLaterStart:
    def test_leaves_the_tree_as_it_is(self, used: ZipappDroplet) -> None:
        (tree,) = used.trees()
        before = identity(tree)
        again = used.start()
        assert (again.returncode, again.stderr) == (0, "")
        assert identity(tree) == before

    def test_compiles_nothing_for_all_of_it_was_compiled_when_it_was_unpacked(self, used: ZipappDroplet) -> None:
        (tree,) = used.trees()
        packed = zipfile.ZipFile(used.real(used.archive)).namelist()
        assert {f"{name}c" for name in packed if name.startswith("site-packages/") and name.endswith(".py")} == {
            str(path.relative_to(tree)) for path in tree.rglob("*.pyc")
        }
        assert [*tree.rglob("*.py"), *tree.rglob("__pycache__")] == []
        traced = used.run(SYSTEM_PYTHON, "-v", "-IS", used.archive, "--version").stderr
        read = [line for line in traced.splitlines() if "code object from" in line and f"{STORE}/{tree.name}" in line]
        assert read
        assert "wrote" not in traced

    def test_imports_nothing_that_only_unpacking_needs(self, used: ZipappDroplet) -> None:
        timed = used.run(SYSTEM_PYTHON, "-X", "importtime", "-IS", used.archive, "--version").stderr
        imported = {line.split("|")[-1].strip() for line in timed.splitlines()}
        assert "droplan_boot.cli" in imported
        assert imported.isdisjoint({"unpack", "zipfile", "json", "shutil", "py_compile", "site", "requests", "iptc"})


class TestAnyWayOfStarting:
    def test_as_the_installed_program_with_another_first_line(self, used: ZipappDroplet) -> None:
        archive = used.real(used.archive).read_bytes()
        program = used.real(Path("/srv/droplan"))
        _, rest = archive.split(b"\n", 1)
        program.write_bytes(b"#!/usr/bin/python3   -IS\n" + rest)
        program.chmod(0o755)
        before = used.trees()
        started = used.run("/srv/droplan", "--version")
        assert started.returncode == 0, started.stderr
        assert __version__ in started.stdout
        assert used.trees() == before, "the first line is no part of the build"

    def test_through_a_symbolic_link_and_by_a_relative_path(self, fresh: ZipappDroplet) -> None:
        fresh.real(Path("/srv/link")).symlink_to("droplan.pyz")
        for argv in (["/srv/link"], ["./droplan.pyz"], [SYSTEM_PYTHON, "droplan.pyz"], [SYSTEM_PYTHON, "link"]):
            started = fresh.run(*argv, "--version", cwd="/srv")
            assert (started.returncode, started.stderr) == (0, ""), argv
            assert __version__ in started.stdout

    def test_with_an_exit_code_of_its_own(self, used: ZipappDroplet) -> None:
        assert used.start("no-such-verb").returncode == 2

    def test_with_another_one_where_its_words_could_not_be_written(self, used: ZipappDroplet) -> None:
        command = f"{SYSTEM_PYTHON} -IS {used.archive} --version >/dev/full"
        ended = used.run("sh", "-c", command)
        assert (ended.returncode, ended.stderr) == (1, "")

    def test_by_an_unprivileged_user_it_runs_and_writes_nothing(self, fresh: ZipappDroplet) -> None:
        started = fresh.run(fresh.archive, "--version", user=NOBODY)
        assert (started.returncode, started.stderr) == (0, "")
        assert __version__ in started.stdout
        assert list(fresh.real(Path("/var/lib")).iterdir()) == []

    @pytest.mark.parametrize("verb", ["status", "refresh", "install", "restore", "uninstall"])
    def test_a_verb_by_an_unprivileged_user_ends_in_one_sentence_about_root(
        self, fresh: ZipappDroplet, verb: str
    ) -> None:
        started = fresh.run(fresh.archive, verb, user=NOBODY)
        assert started.returncode not in (0, -6)
        assert "Traceback" not in started.stderr
        assert "root" in started.stderr
        assert len(started.stderr.splitlines()) == 1


@pytest.mark.parametrize("python", interpreters())
class TestEveryPython:
    def test_runs_from_a_tree_of_its_own(self, pyz: Path, python: str) -> None:
        with fresh_droplet(pyz) as made:
            for _ in range(2):
                started = made.start(python=python)
                assert (started.returncode, started.stderr) == (0, "")
                assert __version__ in started.stdout
            assert len(made.trees()) == 1

    def test_imports_all_that_was_packed(self, pyz: Path, python: str) -> None:
        with fresh_droplet(pyz) as made:
            assert made.start(python=python).returncode == 0
            (tree,) = made.trees()
            inside = STORE / tree.name / "site-packages"
            code = (
                f"import sys; sys.dont_write_bytecode = True; sys.path.insert(0, {str(inside)!r})\n"
                "import requests, distro, iptc, iptc.xtables\n"
                "print(*(m.__file__ for m in (requests, distro, iptc)), iptc.xtables._lib_xtwrapper._name)"
            )
            imported = made.run(python, "-IS", "-c", code)
            assert imported.returncode == 0, imported.stderr
            files = imported.stdout.split()
            assert len(files) == 4
            assert all(f.startswith(str(inside)) for f in files)


def test_pythons_at_hand_include_the_systems() -> None:
    assert SYSTEM_PYTHON in interpreters()
    assert shutil.which(SYSTEM_PYTHON)
