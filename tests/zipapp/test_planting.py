"""Nothing that an unprivileged user can plant is executed by root.

Each test plants as uid nobody, wherever that is allowed or a person may have been careless, code that would
leave a file behind. Then root starts droplan.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bed.zipapp import NOBODY, STATE, STORE, SYSTEM_PYTHON, ZipappDroplet

MODULES = [
    "os",
    "sys",
    "site",
    "sitecustomize",
    "usercustomize",
    "fcntl",
    "runpy",
    "zipimport",
    "encodings",
    "unpack",
    "zipfile",
    "json",
    "argparse",
    "requests",
    "iptc",
    "droplan_boot",
    "_bootstrap",
]
MARK = Path("/tmp/executed")


def plant(droplet: ZipappDroplet, directory: str) -> None:
    """Put modules with likely names into a directory, as nobody, that leave MARK when they are imported."""
    payload = f"open({str(MARK)!r}, 'w').close()"
    lines = [f"mkdir -p {directory}/.local/lib/python3.11/site-packages {directory}/.shiv"]
    for name in MODULES:
        lines.append(f'echo "{payload}" > {directory}/{name}.py')
    lines.append(f'echo "import os; {payload}" > {directory}/x.pth')
    lines.append(f"cp {directory}/*.py {directory}/*.pth {directory}/.local/lib/python3.11/site-packages/")
    planted = droplet.run("sh", "-ec", "\n".join(lines), user=NOBODY)
    assert planted.returncode == 0, planted.stderr


def executed(droplet: ZipappDroplet) -> bool:
    """Whether what was planted has run."""
    return droplet.real(MARK).exists()


def refusal(started: subprocess.CompletedProcess[str]) -> str:
    """The sentence with which droplan refused to start."""
    assert started.returncode == 1
    assert started.stdout == ""
    (line,) = started.stderr.splitlines()
    return line


class TestStartedByRoot:
    @pytest.fixture
    def planted(self, fresh: ZipappDroplet) -> ZipappDroplet:
        plant(fresh, "/tmp/plant")
        return fresh

    def test_in_a_strangers_directory(self, planted: ZipappDroplet) -> None:
        assert planted.run(planted.archive, "--version", cwd="/tmp/plant").returncode == 0
        assert not executed(planted)

    @pytest.mark.parametrize("variable", ["PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "HOME", "SHIV_ROOT"])
    def test_with_a_variable_that_names_a_strangers_directory(self, planted: ZipappDroplet, variable: str) -> None:
        assert planted.run(planted.archive, "--version", env={variable: "/tmp/plant"}).returncode == 0
        assert not executed(planted)
        assert [tree.parent for tree in planted.trees()] == [planted.real(STORE)]

    @pytest.mark.parametrize(
        "variables",
        [
            {"SHIV_MODULE": "sitecustomize"},
            {"SHIV_ENTRY_POINT": "sitecustomize"},
            {"SHIV_CONSOLE_SCRIPT": "x"},
            {"SHIV_INTERPRETER": "1"},
            {"SHIV_PREPEND_PYTHONPATH": "/tmp/plant"},
            {"SHIV_FORCE_EXTRACT": "1"},
            {"PYTHONSTARTUP": "/tmp/plant/os.py", "PYTHONINSPECT": "1"},
            {"PYTHONPYCACHEPREFIX": "/tmp/plant"},
        ],
        ids=lambda variables: next(iter(variables)),
    )
    def test_with_a_variable_that_redirects_shiv_or_python(
        self, planted: ZipappDroplet, variables: dict[str, str]
    ) -> None:
        environment = {"PYTHONPATH": "/tmp/plant", **variables}
        started = planted.run(planted.archive, "--version", env=environment)
        assert started.returncode == 0
        assert "droplan" in started.stdout
        assert not executed(planted)

    def test_by_a_python_that_was_not_told_to_be_isolated(self, planted: ZipappDroplet) -> None:
        # Python itself runs sitecustomize before any program can refuse; what droplan imports is our matter.
        assert (
            planted.run(
                "sh", "-c", "cd /tmp/plant && mv argparse.py keep && rm *.py && mv keep argparse.py"
            ).returncode
            == 0
        )
        started = planted.run(SYSTEM_PYTHON, planted.archive, "--help", env={"PYTHONPATH": "/tmp/plant"})
        assert (started.returncode, started.stderr) == (0, "")
        assert not executed(planted)


class TestPlantedModulesWork:
    def test_or_the_tests_above_would_show_nothing(self, fresh: ZipappDroplet) -> None:
        plant(fresh, "/tmp/plant")
        fresh.run(SYSTEM_PYTHON, "-c", "import requests", cwd="/tmp/plant")
        assert executed(fresh)


class TestCarelessDirectories:
    """The state directory as a person or another program may have left it."""

    @pytest.mark.parametrize("path", [STATE, STORE])
    @pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
    def test_writable_by_others_is_refused_with_its_mode(self, used: ZipappDroplet, path: Path, mode: int) -> None:
        used.real(path).chmod(mode)
        said = refusal(used.start())
        assert f"{path} can be written by others" in said
        assert f"{mode:04o}" in said

    @pytest.mark.parametrize("path", [STATE, STORE])
    def test_a_strangers_is_refused(self, used: ZipappDroplet, path: Path) -> None:
        assert used.run("chown", str(NOBODY), str(path)).returncode == 0
        assert f"owner {NOBODY}" in refusal(used.start())

    @pytest.mark.parametrize("path", [STATE, STORE])
    def test_a_link_is_refused(self, fresh: ZipappDroplet, path: Path) -> None:
        plant(fresh, "/tmp/plant")
        fresh.real(path).parent.mkdir(exist_ok=True)
        fresh.real(path).symlink_to("/tmp/plant")
        assert f"{path} is not a directory" in refusal(fresh.start())
        assert not executed(fresh)

    def test_a_tree_that_a_stranger_made_is_never_run(self, used: ZipappDroplet) -> None:
        (tree,) = used.trees()
        inside = STORE / tree.name
        cli = inside / "site-packages/droplan_boot/cli.py"  # goes before the compiled one
        # As careless as can be: all of it was the stranger's for a while, and only the top was taken back.
        assert used.run("chown", "-R", str(NOBODY), str(inside)).returncode == 0
        payload = f"open({str(MARK)!r}, 'w').close()"
        assert used.run("sh", "-c", f'echo "{payload}" > {cli}', user=NOBODY).returncode == 0
        assert used.run("chown", "root", str(inside)).returncode == 0
        assert used.start().returncode == 0
        assert not executed(used)
