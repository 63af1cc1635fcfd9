"""How verbs speak to a person: lines of 80 columns whose commands can be copied, and one of a thing is one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import droplan_boot
from droplan_boot.plural import counted
from droplan_boot.verbs import words

INDENT = " " * 14
COMMAND = "`systemctl unmask cron; systemctl enable --now cron`"


@pytest.mark.parametrize("before", range(0, 90, 7))
def test_a_command_is_not_broken_wherever_it_begins(before: int) -> None:
    lines = words.wrap(f"{'x' * 6} {'many words ' * (before // 11)}({COMMAND}), which lets them in", INDENT)
    assert any(COMMAND in line for line in lines)
    assert max(map(len, lines)) <= words.WIDTH


@pytest.mark.parametrize("before", range(0, 30, 3))
def test_a_command_longer_than_a_line_is_broken_between_its_words(before: int) -> None:
    command = f"`{'firewall-cmd --permanent ' * 4}--reload`"
    lines = words.wrap(f"{'x' * before} {command}".strip(), INDENT)
    assert max(map(len, lines)) <= words.WIDTH
    assert " ".join(line.strip() for line in lines).endswith(command), "no word of it is cut"


def test_what_is_in_no_backquotes_is_broken_as_ever() -> None:
    lines = words.wrap("word " * 40)
    assert len(lines) == 3
    assert all(len(line) > 70 for line in lines[:2])


@pytest.mark.parametrize("before", range(60, 80))
def test_a_name_is_not_broken_at_its_hyphens(before: int) -> None:
    lines = words.wrap(f"{'x' * before} peer-away 10.132.0.100", INDENT)
    assert any("peer-away" in line for line in lines)


@given(st.lists(st.sampled_from(["a", "well-known", "`droplan help peers`", "(`x --y`)", "word"]), max_size=60))
def test_wrapping_loses_nothing_but_line_ends(parts: list[str]) -> None:
    text = " ".join(parts)
    lines = words.wrap(text, "  ")
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", text)
    assert all(line.count("`") % 2 == 0 for line in lines), "no command goes on in the next line"


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [(0, "peer", "0 peers"), (1, "peer", "1 peer"), (2, "peer", "2 peers"), (1, "address", "1 address"),
     (3, "address", "3 addresses"), (1, "allowed network", "1 allowed network")],
)  # fmt: skip
def test_one_is_singular(number: int, noun: str, said: str) -> None:
    assert counted(number, noun) == said


NOUNS = "peers|packets|Droplets|changes|addresses|sources|connections|requests|networks|services"
ALWAYS_MANY = {
    "lockout.py": "of several peers, or `all`",
    "budget.py": "of the limit, which is thousands",
    "explain.py": "said where there are two at least",
    "reporting.py": "where so many refresh that the interval is stretched",
}


def test_no_sentence_puts_a_number_before_a_plural_that_may_be_one() -> None:
    for path in sorted(Path(droplan_boot.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                for value, after in zip(node.values, node.values[1:]):
                    follows = str(after.value) if isinstance(after, ast.Constant) else ""
                    wrong = isinstance(value, ast.FormattedValue) and re.match(rf" ({NOUNS})\b", follows)
                    assert not wrong or path.name in ALWAYS_MANY, f"{path}:{node.lineno}: {ast.unparse(node)}"
