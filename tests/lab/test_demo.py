"""README's first command, as script/demo ends: its story goes as it is told, and the picture of it is of today."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bed.cache import CHECKOUT
from tests.bed.program import ARCHIVE


def told(variant: str) -> str:
    """Have the story told; it ends with 0 where everybody was let in or shut out as it should be."""
    words = [sys.executable, "-m", "tests.bed.demo", str(ARCHIVE), variant]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pictured(svg: Path) -> str:
    """Read a picture's letters."""
    return html.unescape("".join(re.findall(r"<text[^>]*>(.*?)</text>", svg.read_text(), re.DOTALL)))


def close(text: str) -> str:
    """Take out blanks: a picture breaks lines where its frame ends."""
    return re.sub(r"\s", "", text)


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_the_story_goes_as_it_is_told(variant: str) -> None:
    said = told(variant)
    assert "Peers in, strangers out, nothing left behind." in said
    if variant == "nft":
        shown = close(said).partition("#Whoreaches")[2].partition("#peer-2iscreated")[0]
        picture = close(pictured(CHECKOUT / "docs" / "demo.svg")).partition("#Whoreaches")[2]
        assert shown == picture, "`sudo script/recording` makes docs/demo.svg anew: look at it"
