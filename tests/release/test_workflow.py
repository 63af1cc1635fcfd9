"""The workflow `release`, step by step on this machine: what a tag pushed to a fork would do, but the upload."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.bed.cache import CHECKOUT
from tests.release.test_release import CACHE, VERSION, clone

__all__ = ["clone"]

WORKFLOW = (CHECKOUT / ".github" / "workflows" / "release.yml").read_text()
# What only GitHub's machines do, and what stands for it here.
ACTIONS = {
    "actions/checkout": "the clone",
    "actions/upload-artifact": "dist/release stays where it is",
    "actions/download-artifact": "dist/release is copied to release",
    "actions/attest-build-provenance": "left out: it signs by who GitHub says that the machine is",
}
# Programs that act on the world: they write down what they are asked.
RECORDED = ("apt-get", "gh")


class Step(NamedTuple):
    """A step of the workflow that runs a command."""

    job: str
    run: str
    folder: str


def steps() -> list[Step]:
    """Read the steps with a command; YAML as this project writes it."""
    found = []
    for job, body in re.findall(r"^  (\w+):\n((?:    .*\n|\n)+)", WORKFLOW.partition("\njobs:\n")[2], re.MULTILINE):
        for step in re.split(r"^      - ", body, flags=re.MULTILINE)[1:]:
            command = re.search(r"^(?: {8})?run: (?:\|\n((?: {10}.*\n)+)|(.+)\n)", step, re.MULTILINE)
            folder = re.search(r"^ +working-directory: (.+)$", step, re.MULTILINE)
            if command:
                found.append(Step(job, textwrap.dedent(command[1] or command[2]), folder[1] if folder else "."))
    return found


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    """A folder of programs that only write down their arguments, one a line."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in RECORDED:
        (folder / name).write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>{tmp_path}/{name}.asked\n')
        (folder / name).chmod(0o755)
    return folder


def test_no_action_is_used_that_has_no_stand_in_here() -> None:
    assert set(re.findall(r"uses: ([\w./-]+)@", WORKFLOW)) == set(ACTIONS)


def test_no_step_was_overlooked() -> None:
    assert len(steps()) == len(re.findall(r"\brun:", WORKFLOW)) >= 4


def test_its_steps_draft_all_that_a_release_consists_of(clone: Path, stand_ins: Path, tmp_path: Path) -> None:
    publisher = tmp_path / "publisher"
    environment = {
        **os.environ,
        "DROPLAN_CACHE": CACHE,
        "GITHUB_REF_NAME": f"v{VERSION}",
        "GITHUB_REPOSITORY": "fork/droplan",
    }
    recorded = {**environment, "PATH": f"{stand_ins}:{os.environ['PATH']}"}
    for step in steps():
        if step.job == "publish" and not publisher.exists():
            shutil.copytree(clone / "dist" / "release", publisher / "release")
        place = {"build": clone, "publish": publisher}[step.job] / step.folder
        words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step.run]
        there = recorded if re.search(rf"\b({'|'.join(RECORDED)})\b", step.run) else environment
        done = subprocess.run(words, cwd=place, env=there, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{step.run}\n{done.stdout}{done.stderr}"

    asked = (tmp_path / "gh.asked").read_text().splitlines()
    assert asked[:3] == ["release", "create", f"v{VERSION}"]
    assert {"--draft", "--verify-tag"} <= set(asked), "nobody's release before its sums are signed"
    assert asked[asked.index("--notes-file") + 1] == "release/NOTES.md"
    attached = {Path(word).name for word in asked if word.startswith("release/")} - {"NOTES.md"}
    sums = (publisher / "release" / "SHA256SUMS").read_text().splitlines()
    assert attached == {"SHA256SUMS", *(line.split("  ")[1] for line in sums)}
