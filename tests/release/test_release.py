"""script/release, in clones: what belongs together is made, what does not is refused with a sentence."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.bed.cache import CHECKOUT

CACHE = os.environ.get("DROPLAN_CACHE") or str(CHECKOUT / ".cache")
VERSION = "7.8.9"

# Root's program unpacks itself into /var/lib/droplan: not into this machine's, which other tests lay overlays over.
ELSEWHERE = ("unshare", "--mount", "sh", "-ec", 'mount -t tmpfs none /var/lib; exec "$@"', "sh")


def git(place: Path, *words: str) -> None:
    names = [
        "-c",
        "user.name=T",
        "-c",
        "user.email=t@example.com",
        "-c",
        "tag.gpgSign=false",
        "-c",
        "core.hooksPath=/dev/null",
    ]
    subprocess.run(["git", *names, *words], cwd=place, check=True, capture_output=True)


def release(place: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DROPLAN_CACHE": CACHE, **variables}
    return subprocess.run(
        ["script/release", *words],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose version is dated and tagged."""
    place = tmp_path / "droplan"
    subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(place)], check=True)
    for name in ("script/release", "script/build"):
        shutil.copy(CHECKOUT / name, place / name)
    code = place / "droplan_boot" / "__init__.py"
    code.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{VERSION}"', code.read_text()))
    log = place / "CHANGELOG.md"
    log.write_text(
        log.read_text().replace("# Changelog\n", f"# Changelog\n\n## {VERSION} (2030-01-02)\n- Peers: new.\n", 1)
    )
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message", "Release")
    git(place, "tag", f"v{VERSION}")
    return place


def change(place: Path, name: str, old: str, new: str) -> None:
    path = place / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


class TestRefusals:
    def test_a_tag_that_is_not_the_version(self, clone: Path) -> None:
        done = release(clone, "v7.8.10")
        assert done.returncode == 1
        assert done.stderr == (
            "release: the tag is v7.8.10 and droplan_boot/__init__.py says 7.8.9: change one of them, and tag anew\n"
        )

    def test_a_version_that_the_changelog_calls_unreleased(self, clone: Path) -> None:
        change(clone, "CHANGELOG.md", "2030-01-02", "unreleased")
        done = release(clone, f"v{VERSION}")
        assert (done.returncode, "calls 7.8.9 unreleased: write the date" in done.stderr) == (1, True)

    def test_a_version_that_the_changelog_does_not_know(self, clone: Path) -> None:
        change(clone, "CHANGELOG.md", f"## {VERSION}", "## 7.8.8")
        done = release(clone, f"v{VERSION}")
        assert (done.returncode, "has no section '## 7.8.9 (DATE)'" in done.stderr) == (1, True)

    def test_what_is_not_committed(self, clone: Path) -> None:
        change(clone, "LICENSE", "MIT", "TIM")
        done = release(clone, f"v{VERSION}")
        assert (done.returncode, "is not committed" in done.stderr) == (1, True)

    def test_a_tag_on_another_commit(self, clone: Path) -> None:
        git(clone, "commit", "--quiet", "--allow-empty", "--message", "Later")
        done = release(clone, f"v{VERSION}")
        assert (done.returncode, "names another commit" in done.stderr) == (1, True)

    def test_a_module_that_would_read_what_the_archive_does_not_hold(self, clone: Path) -> None:
        change(clone, "terraform/main.tf", "locals {", 'locals {\n  more = file("${path.module}/../LICENSE")')
        done = release(clone, "--dry-run")
        assert (done.returncode, "reads other files outside its directory" in done.stderr) == (1, True)


def test_a_tag_makes_all_that_a_release_consists_of(clone: Path) -> None:
    done = release(clone, f"v{VERSION}", GITHUB_REPOSITORY="fork/droplan")
    assert done.returncode == 0, done.stderr
    out = clone / "dist" / "release"
    module, role = f"terraform-digitalocean-droplan-{VERSION}", f"droplan-ansible-{VERSION}"
    lines = [line.split("  ") for line in (out / "SHA256SUMS").read_text().splitlines()]
    sums = {name: digest for digest, name in lines}
    assert sorted(sums) == sorted(
        [
            "bootstrap.py",
            f"{role}.tar.gz",
            "droplan.cdx.json",
            "droplan.pyz",
            "droplan.pyz.sha256",
            f"{module}.tar.gz",
        ]
    )
    assert sums == {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in sums}
    assert (
        VERSION
        in subprocess.run(
            [*ELSEWHERE, "python3", str(out / "droplan.pyz"), "--version"], capture_output=True, text=True, check=True
        ).stdout
    )
    assert json.loads((out / "droplan.cdx.json").read_text())["bomFormat"] == "CycloneDX"

    notes = (out / "NOTES.md").read_text()
    assert notes.startswith("- Peers: new.\n")
    where = f"https://github.com/fork/droplan/releases/download/v{VERSION}"
    assert f"--url {where}/droplan.pyz --sha256 {sums['droplan.pyz']}" in notes
    assert f"'{sums['bootstrap.py']}  bootstrap.py'" in notes
    assert "gh attestation verify droplan.pyz --repo fork/droplan" in notes

    with tarfile.open(out / f"{module}.tar.gz") as tar:
        inside = {member.name: member for member in tar.getmembers()}
        main = tar.extractfile(f"{module}/main.tf")
        assert main
        assert "path.module}/.." not in main.read().decode()
    assert {
        f"{module}/{name}" for name in ("main.tf", "variables.tf", "outputs.tf", "README.md", "user-data.yaml")
    } <= set(inside)
    assert {(member.uid, member.gid, member.uname) for member in inside.values()} == {(0, 0, "")}
    with tarfile.open(out / f"{role}.tar.gz") as tar:
        assert f"{role}/roles/droplan/tasks/main.yml" in tar.getnames()

    for name in (module, role):
        assert astray(out / f"{name}.tar.gz") == []

    before = (out / "SHA256SUMS").read_bytes()
    assert release(clone, f"v{VERSION}", GITHUB_REPOSITORY="fork/droplan").returncode == 0
    assert (out / "SHA256SUMS").read_bytes() == before, "again gives the same bytes"


def astray(archive: Path) -> list[str]:
    """Find what its pages do not know: whose it is, or what a link leads to."""
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
        folders = {str(parent) for name in names for parent in Path(name).parents}
        pages = {name: tar.extractfile(name) for name in names if name.endswith(".md")}
        texts = {name: page.read().decode() for name, page in pages.items() if page}
    assert texts
    found = [f"{name}: OWNER" for name, text in texts.items() if "OWNER" in text]
    for name, text in texts.items():
        for target in re.findall(r"\]\(([^)\s#:]+)[)#]", text):
            place = os.path.normpath(Path(name).parent / target)
            found += [f"{name}: {target}"] if place not in names | folders else []
    return found


@pytest.mark.skipif(not shutil.which("terraform"), reason="needs terraform (1.9 or later)")
def test_the_modules_archive_passes_its_own_tests(clone: Path, tmp_path: Path) -> None:
    assert release(clone, "--dry-run").returncode == 0
    name = f"terraform-digitalocean-droplan-{VERSION}"
    with tarfile.open(clone / "dist" / "release" / f"{name}.tar.gz") as tar:
        tar.extractall(tmp_path / "alone")
    place = tmp_path / "alone" / name
    for words in (["init", "-input=false"], ["test"]):
        done = subprocess.run(
            ["terraform", *words, "-no-color"], cwd=place, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:]
