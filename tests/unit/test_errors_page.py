"""The page of errors lists every sentence that the source can end with, and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.golden import errors


def test_the_page_is_what_the_source_says() -> None:
    assert errors.PAGE.read_text() == errors.render(), "run `python -m tests.golden.errors`, and read what it changed"


def test_a_sentence_is_found_with_its_cause_its_remedy_and_its_exit_code(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "def f(name, why):\n"
        "    if name:\n"
        "        raise UsageError(f'{name} is no tag: set another')\n"
        "    return NoAnswerError(f'{why} is late', 'wait for it')\n"
    )
    assert sorted(errors.sentences(module)) == [("… is late", "wait for it", 1), ("… is no tag", "set another", 2)]
