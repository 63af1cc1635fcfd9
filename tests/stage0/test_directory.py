"""Nothing that somebody other than root can change is executed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.bed.stage0.droplet import SYSTEM_PYTHON, Stage0Droplet
from tests.bed.stage0.server import LoopbackServer
from tests.stage0.conftest import Published

NOBODY = 65534


def world_writable(droplet: Stage0Droplet) -> None:
    droplet.directory.mkdir()
    droplet.directory.chmod(0o777)


def group_writable(droplet: Stage0Droplet) -> None:
    droplet.directory.mkdir()
    droplet.directory.chmod(0o775)


def sticky(droplet: Stage0Droplet) -> None:
    droplet.directory.mkdir()
    droplet.directory.chmod(0o1777)


def of_another_user(droplet: Stage0Droplet) -> None:
    droplet.directory.mkdir()
    os.chown(droplet.directory, NOBODY, NOBODY)


def below_a_writable_directory(droplet: Stage0Droplet) -> None:
    droplet.directory.mkdir()
    droplet.opt.chmod(0o777)


def absent_below_a_writable_directory(droplet: Stage0Droplet) -> None:
    droplet.opt.chmod(0o777)


def a_link(droplet: Stage0Droplet) -> None:
    (droplet.opt / "elsewhere").mkdir()
    droplet.directory.symlink_to("elsewhere")


def a_dangling_link(droplet: Stage0Droplet) -> None:
    droplet.directory.symlink_to("/nowhere")


def a_file(droplet: Stage0Droplet) -> None:
    droplet.directory.touch()


@pytest.mark.parametrize(
    ("arrange", "sentence"),
    [
        (world_writable, "/opt/droplan can be changed by others"),
        (group_writable, "/opt/droplan can be changed by others"),
        (sticky, "/opt/droplan can be changed by others"),
        (of_another_user, "/opt/droplan can be changed by others"),
        (below_a_writable_directory, "/opt can be changed by others"),
        (absent_below_a_writable_directory, "/opt can be changed by others"),
        (a_link, "/opt/droplan is a symbolic link"),
        (a_dangling_link, "/opt/droplan is a symbolic link"),
        (a_file, "/opt/droplan is a symbolic link, or not a directory"),
    ],
)
def test_a_directory_that_is_not_safe_is_refused_before_anything_is_fetched(
    arrange: Callable[[Stage0Droplet], None],
    sentence: str,
    python: str,
    droplet: Stage0Droplet,
    published: Published,
    server: LoopbackServer,
) -> None:
    arrange(droplet)

    outcome = droplet.run(python, *published.arguments, environment=published.trust)

    assert outcome.code == 16, outcome.stderr
    assert sentence in outcome.last_line
    assert server.requests == []
    assert not droplet.pyz.exists()


def link_in_a_writable_directory(tree: Path) -> None:
    (tree / "bin").chmod(0o777)


def target_in_a_writable_directory(tree: Path) -> None:
    (tree / "lib").chmod(0o775)


def link_of_another_user(tree: Path) -> None:
    os.chown(tree / "bin" / "python3", NOBODY, NOBODY, follow_symlinks=False)


def target_of_another_user(tree: Path) -> None:
    os.chown(tree / "lib" / "python3", NOBODY, NOBODY)


def target_that_is_writable(tree: Path) -> None:
    (tree / "lib" / "python3").chmod(0o757)


@pytest.mark.parametrize(
    ("arrange", "culprit"),
    [
        (None, None),
        (link_in_a_writable_directory, "bin"),
        (target_in_a_writable_directory, "lib"),
        (link_of_another_user, "bin/python3"),
        (target_of_another_user, "lib/python3"),
        (target_that_is_writable, "lib/python3"),
    ],
)
def test_a_python_that_others_could_replace_is_passed_over(
    arrange: Callable[[Path], None] | None, culprit: str | None, droplet: Stage0Droplet, published: Published
) -> None:
    """Cron would run it as root from now on."""
    tree = droplet.opt / "tree"
    for name in ("bin", "lib"):
        (tree / name).mkdir(parents=True)
    shutil.copy(SYSTEM_PYTHON, tree / "lib" / "python3")
    (tree / "bin" / "python3").symlink_to("../lib/python3")
    if arrange:
        arrange(tree)

    outcome = droplet.run("/opt/tree/bin/python3", *published.arguments, environment=published.trust)

    assert outcome.installed["python"] == (SYSTEM_PYTHON if culprit else "/opt/tree/bin/python3")
    if culprit:
        assert (
            f"passing over /opt/tree/bin/python3: others than root can change /opt/tree/{culprit}\n" in outcome.stderr
        )


def test_a_file_is_never_written_over_another_nor_through_a_link(stage0: ModuleType, tmp_path: Path) -> None:
    precious, link = tmp_path / "precious", tmp_path / "link"
    precious.write_bytes(b"precious")
    link.symlink_to(tmp_path / "not-there-yet")

    for path in (precious, link):
        with pytest.raises(FileExistsError):
            stage0.create(str(path), 0o644)

    assert precious.read_bytes() == b"precious"
    assert not link.exists()
