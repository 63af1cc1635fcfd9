"""Commands and settings that the pages print are ones that droplan takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from droplan_boot import settings
from droplan_boot.commands import COMMANDS, find

CHECKOUT = Path(__file__).parents[2]
GENERATED = {"errors.md", "problems.md", "rules.md", "beside.md", "json.md"}
PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md", "cloud-init/*.md", "terraform/**/*.md", "ansible/*.md")
    for path in sorted(CHECKOUT.glob(pattern))
    if path.name not in GENERATED | {"CHANGELOG.md"}
]
PUBLISHER = {"DROPLAN_SIGNING_KEY"}  # of /etc/droplan/publish.env
OURS = {"DROPLAN_CACHE", "DROPLAN_RELEASES"}  # of the scripts


def code(text: str) -> str:
    """Return what is printed as code: blocks, fenced or indented, and words in backquotes."""
    fenced = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^(?: {4}|\t).+$", text, re.MULTILINE)
    words = re.findall(r"`([^`\n]+)`", text)
    return "\n".join((*fenced, *indented, *words))


def commands(text: str) -> list[list[str]]:
    """Find calls of droplan: verb and words."""
    found = re.findall(r"(?:^|[\s/;(\"])droplan(?:\.pyz)? ([a-z]+(?: [^\n;|)#<>&]*)?)", code(text), re.MULTILINE)
    return [words for words in (_split(one) for one in found) if find(words[0])]


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def refused(words: list[str]) -> str:
    """Say what the verb does not take; "" where it takes all."""
    verb = find(words[0])
    assert verb
    known = {name for argument in verb.arguments for name in argument.names}
    return " ".join(word for word in words[1:] if word.startswith("--") and word.split("=")[0] not in known)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_a_page_prints_no_option_that_droplan_does_not_take(path: Path) -> None:
    assert [(words, refused(words)) for words in commands(path.read_text()) if refused(words)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_a_page_prints_no_setting_that_there_is_not(path: Path) -> None:
    named = set(re.findall(r"\b(?:DROPLAN|DO)_[A-Z_]+\b", path.read_text()))
    assert named - {*settings.NAMES} - PUBLISHER - OURS == set()


def test_every_how_to_is_one_click_from_the_first_page() -> None:
    nav = (CHECKOUT / "mkdocs.yml").read_text().partition("  - How to:\n")[2].partition("  - Reference:\n")[0]
    pages = re.findall(r": (\S+\.md)$", nav, re.MULTILINE)
    linked = set(re.findall(r"\]\(([^)#]+\.md)", (CHECKOUT / "docs" / "index.md").read_text()))
    elsewhere = {f"how-to/{name}.md": f"../{name}/README.md" for name in ("cloud-init", "terraform", "ansible")}
    assert len(pages) > 15
    assert {elsewhere.get(page, page) for page in pages} - linked == set()


def test_all_verbs_are_printed_somewhere() -> None:
    printed = {words[0] for path in PAGES for words in commands(path.read_text())}
    assert {command.name for command in COMMANDS if not command.hidden} - printed == set()


def test_an_option_that_droplan_does_not_take_would_be_found() -> None:
    (words,) = commands("```sh\nsudo droplan refresh --dry-run --frobnicate\n```")
    assert refused(words) == "--frobnicate"
