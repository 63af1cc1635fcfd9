"""The site, built once from a copy of what it is made from."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.bed.cache import CHECKOUT

PARTS = (
    "docs",
    "script",
    "requirements",
    "mkdocs.yml",
    "ansible",
    "terraform",
    "cloud-init",
    "droplan_boot",
    "tests/system",
)
LOOSE = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "README.md", "CODE_OF_CONDUCT.md", "LICENSE")


def copied(target: Path) -> Path:
    """Lay what the site is made from at ``target``."""
    for name in (*PARTS, *LOOSE):
        source, place = CHECKOUT / name, target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, place) if source.is_dir() else shutil.copy(source, place)
    for folder in ("tests/el", ".github"):
        shutil.copytree(CHECKOUT / folder, target / folder)
    return target


def build(checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = os.environ.get("DROPLAN_CACHE") or str(CHECKOUT / ".cache")
    return subprocess.run(
        ["script/site"],
        cwd=checkout,
        env={**os.environ, "DROPLAN_CACHE": kept, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout = copied(tmp_path_factory.mktemp("checkout"))
    done = build(checkout, GITHUB_REPOSITORY="fork/renamed")
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout / "dist" / "site"
