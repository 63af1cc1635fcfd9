"""docs/security.md points at a test for each claim; none of them may have been renamed or removed."""

from __future__ import annotations

import re

import pytest

from tests.bed.cache import CHECKOUT

PAGE = (CHECKOUT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_what_the_page_names_is_there(path: str, name: str) -> None:
    text = (CHECKOUT / path).read_text()
    assert not name or re.search(rf"^\s*(?:def|class) {name}\b", text, re.MULTILINE)


def test_every_claim_names_one() -> None:
    claims = PAGE.partition("## Claims")[2].partition("## What is not protected")[0]
    listed = re.findall(r"^- .*(?:\n  .*)*", claims, re.MULTILINE)
    assert len(listed) > 15
    assert [claim for claim in listed if "`tests/" not in claim] == []
