"""docs/scale.md says what the program's own pace comes to: ``sudo script/bench scale`` writes table and plot anew."""

from __future__ import annotations

from bench import scale
from tests.bed.cache import CHECKOUT


def test_the_arithmetic_is_that_of_this_program() -> None:
    page = (CHECKOUT / "docs/scale.md").read_text()
    for row in scale.rows():
        assert f"{row}\n" in page


def test_the_plot_is_that_of_this_program() -> None:
    assert (CHECKOUT / "docs/scale.svg").read_text() == scale.drawn()
