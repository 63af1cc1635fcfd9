"""README's first command, as script/demo ends: its story goes as it is told, and what is shown of it is of today."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.bed.cache import CHECKOUT
from tests.bed.program import ARCHIVE

CAST = CHECKOUT / "docs" / "assets" / "demo.cast"
PICTURE = CHECKOUT / "docs" / "demo.svg"
ANEW = "`sudo script/recording` makes docs/assets/demo.cast and docs/demo.svg anew: look at them"


def told(variant: str) -> str:
    """Have the story told; it ends with 0 where everybody was let in or shut out as it should be."""
    words = [sys.executable, "-m", "tests.bed.demo", str(ARCHIVE), variant]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def recorded(cast: Path) -> str:
    """Read what a recording prints."""
    _, *events = map(json.loads, cast.read_text().splitlines())
    return re.sub(r"\x1b\[\d*m", "", "".join(text for _, _, text in events)).replace("\r\n", "\n")


def drawn(svg: Path) -> list[str]:
    """Read a moving picture's lines, each once, in the order in which it first shows them."""
    rows = re.findall(r'<g id="g\d+">(.*?)</g>', svg.read_text())
    texts = (html.unescape("".join(re.findall(r"<text[^>]*>(.*?)</text>", row))).rstrip() for row in rows)
    return [text for text in texts if text]


def telling(lines: Iterable[str]) -> list[str]:
    """Take the part that a glance at README is for: who got in before and after, and why. Each line once."""
    once = list(dict.fromkeys(line.rstrip() for line in lines if line.strip()))
    (start,) = (n for n, line in enumerate(once) if line.startswith("# Who reaches"))
    (end,) = (n for n, line in enumerate(once) if line.startswith("# peer-2 is created"))
    return once[start:end]


def course(story: str) -> list[str]:
    """Take the headings and the commands: what is said in between may name what this machine has, or a time."""
    return [line for line in story.splitlines() if re.match(r"# |\$ droplan ", line)]


@pytest.mark.parametrize("variant", ["nft", pytest.param("legacy", marks=pytest.mark.nightly)])
def test_the_story_goes_as_it_is_told(variant: str) -> None:
    said = told(variant)
    assert "Peers in, strangers out, nothing left behind." in said
    if variant == "nft":
        shown = recorded(CAST)
        assert telling(said.splitlines()) == telling(shown.splitlines()) == telling(drawn(PICTURE)), ANEW
        assert course(said) == course(shown), ANEW


def test_the_picture_is_drawn_from_the_recording() -> None:
    lines = (line.rstrip() for line in recorded(CAST).splitlines() if line.strip())
    assert list(dict.fromkeys(lines)) == drawn(PICTURE), ANEW


def test_the_recording_tells_nothing_of_the_machine_it_was_made_on() -> None:
    head, *events = map(json.loads, CAST.read_text().splitlines())
    assert head.pop("width") <= 100, "or nobody can read it on a phone"
    assert head.pop("height") <= 30
    env = {"SHELL": "/bin/sh", "TERM": "xterm-256color"}
    assert head == {"version": 2, "title": "sudo script/demo", "env": env}
    assert {kind for _, kind, _ in events} == {"o"}
    times = [0.0, *(time for time, _, _ in events)]
    assert max(later - earlier for earlier, later in zip(times, times[1:])) <= 15, "a reader waits for nothing"
    assert set(re.findall(r"(?<![\w/.])/\w+", recorded(CAST))) == {"/etc", "/opt", "/usr", "/var"}


def test_the_picture_asks_nobody_and_runs_nothing() -> None:
    svg = PICTURE.read_text()
    assert len(svg) < 200_000
    assert not re.search(r"<script|@import|@font-face|url\(|<image|href=\"(?!#)", svg)
