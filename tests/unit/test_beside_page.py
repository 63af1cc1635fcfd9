"""docs/beside.md tells what tests/beside tries, and nothing else."""

from __future__ import annotations

from tests.beside import page


def test_the_page_tells_what_is_tried() -> None:
    assert page.PAGE.read_text() == page.render(), "if the change is meant: python -m tests.beside.page"
