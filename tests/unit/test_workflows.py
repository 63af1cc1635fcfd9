"""What no linter of .github/workflows asks: that whoever reads a pinned hash is told which version it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).parents[2] / ".github" / "workflows").glob("*.yml"))
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
