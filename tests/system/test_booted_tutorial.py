"""docs/tutorial.md, typed line by line: a newcomer gets where it says, and sees what it shows."""

from __future__ import annotations

import pytest

from tests.system import tutorial
from tests.system.tutorial import PAGE, Line

WRITTEN = list(tutorial.lines(PAGE.read_text()))


@pytest.fixture(scope="module")
def said(roots: None, pyz: bytes) -> list[Line]:
    """Each line of the page, with what was answered."""
    return list(tutorial.typed(PAGE.read_text(), pyz))


def of(said: list[Line], chapter: int, *words: str) -> list[Line]:
    """Return a chapter's lines that hold some words."""
    return [line for line in said if line.chapter == chapter and all(word in line.command for word in words)]


def reached(said: list[Line], chapter: int) -> dict[str, list[str]]:
    """Tell how each who tried to come in fared in a chapter."""
    found: dict[str, list[str]] = {}
    for line in of(said, chapter, "curl"):
        found.setdefault(line.place, []).append(line.shown.strip())
    return found


def test_every_chapter_has_lines() -> None:
    assert sorted({line.chapter for line in WRITTEN}) == [1, 2, 3, 4, 5, 6, 7]


def test_what_the_page_shows_is_what_is_said(said: list[Line]) -> None:
    assert [(line.place, line.command, line.settled) for line in WRITTEN] == [
        (line.place, line.command, line.settled) for line in said
    ]


def test_no_line_fails_but_to_say_that_droplan_only_observes(said: list[Line]) -> None:
    failed = [(line.chapter, line.command, line.code) for line in said if line.code]
    assert failed == [(3, "droplan status", 5)]


def test_nothing_is_closed_before_the_last_step_but_one(said: list[Line]) -> None:
    assert reached(said, 1) == {"db-1": ["in"], "monitor": ["in"]}
    assert reached(said, 4) == {"monitor": ["in"]}


def test_it_begins_by_observing_and_names_who_would_be_shut_out(said: list[Line]) -> None:
    (status,) = of(said, 3, "droplan status")
    assert status.shown.startswith("OBSERVING")
    (blocked,) = of(said, 4, "droplan blocked")
    assert "would have been shut out" in blocked.shown
    shown = " ".join(blocked.shown.split())
    assert "10.132.0.10: no Droplet with the tag tutorial (DO_TAG); `droplan explain 10.132.0.10`" in shown


def test_it_ends_closed_to_all_but_peers_and_who_was_named(said: list[Line]) -> None:
    status = of(said, 6, "droplan status")[-1]
    assert status.shown.startswith("OK")
    assert reached(said, 6) == {"db-1": ["in"], "monitor": ["in", "out"]}


def test_taken_off_it_is_as_before(said: list[Line]) -> None:
    assert reached(said, 7) == {"monitor": ["in"]}


def test_a_run_that_differs_in_times_only_leaves_the_page_as_it_is() -> None:
    page = "## 1. A\n```console\nweb-1# date\n2026/03/25 01:14:02 up\nweb-1# true\n```\n"
    again = [Line(1, "web-1", "date", "2027/01/02 03:04:05 up\n"), Line(1, "web-1", "true")]
    assert tutorial.pasted(page, again) == page
    down = [Line(1, "web-1", "date", "2027/01/02 03:04:05 down\n"), Line(1, "web-1", "true", "what\n")]
    assert tutorial.pasted(page, down) == page.replace("2026/03/25 01:14:02 up", "2027/01/02 03:04:05 down").replace(
        "true\n", "true\nwhat\n"
    )
