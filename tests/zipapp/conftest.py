"""The zipapp under test, built once from this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed.cache import CHECKOUT
from tests.bed.zipapp import ZipappDroplet, fresh_droplet

SOURCES = ("droplan_boot", "pyz", "script", "requirements", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def copy_sources(target: Path) -> Path:
    """Lay what script/build reads at ``target``, as a source archive would: without git."""
    target.mkdir(parents=True)
    for name in SOURCES:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(CHECKOUT / name, target / name)
    return target


def build(checkout: Path, cache: Path | None = None, umask: int = 0o022, **variables: str) -> Path:
    """Run a checkout's script/build and return its dist directory."""
    kept = cache or Path(os.environ.get("DROPLAN_CACHE", CHECKOUT / ".cache"))
    subprocess.run(
        ["sh", "-c", f"umask {umask:04o}; exec script/build"],
        cwd=checkout,
        env={**os.environ, "DROPLAN_CACHE": str(kept), **variables},
        check=True,
        timeout=600,
    )
    return checkout / "dist"


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dist directory, built from a copy of this checkout."""
    return build(copy_sources(tmp_path_factory.mktemp("build") / "checkout"))


@pytest.fixture(scope="session")
def pyz(dist: Path) -> Path:
    """The zipapp."""
    return dist / "droplan.pyz"


@pytest.fixture
def fresh(pyz: Path) -> Iterator[ZipappDroplet]:
    """A Droplet on which droplan has never run."""
    with fresh_droplet(pyz) as made:
        yield made


@pytest.fixture
def used(fresh: ZipappDroplet) -> ZipappDroplet:
    """A Droplet on which droplan has run, and so is unpacked."""
    assert fresh.start().returncode == 0
    return fresh
