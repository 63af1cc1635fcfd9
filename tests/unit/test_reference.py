"""The reference is what the program itself goes by."""

from __future__ import annotations

import pytest

from droplan_boot import settings
from tests.golden import reference


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_a_page_is_what_the_program_goes_by(name: str) -> None:
    written = (reference.FOLDER / name).read_text()
    assert written == reference.PAGES[name](), "run `python -m tests.golden.reference`, and read what it changed"


@pytest.mark.parametrize("name", settings.NAMES)
def test_every_setting_says_what_it_means(name: str) -> None:
    assert reference.MEANINGS[name][0]


def test_every_key_of_a_list_of_objects_is_shown() -> None:
    assert "| `peers[].name` |" in reference.json_page()
