"""The site builds strictly, and every link and picture of what was built leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.site.conftest import build, copied

MARK = "xterm-256color"
"""What is in the recording of the demo only."""


def recorded(site: Path) -> list[str]:
    """List what holds the recording of that which the search and programs read."""
    return [index for index in ("llms.txt", "search/search_index.json") if MARK in (site / index).read_text()]


class Page(HTMLParser):
    """What a page points at, what it holds to be pointed at, and its words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if value is None:
                continue
            if name == "id":
                self.anchors.add(value)
            elif name == "src" or (name == "href" and tag in ("a", "link")):
                self.targets.append(value)


def dead(site: Path) -> Iterator[str]:
    """Find what leads nowhere. Addresses of other hosts are not asked: there is no network where this is tested."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    for path, page in pages.items():
        for target in page.targets:
            where = urlsplit(target)
            if where.scheme or where.netloc:
                continue
            place = (path.parent / unquote(where.path)).resolve() if where.path else path
            place = place / "index.html" if place.is_dir() else place
            anchors = pages[place].anchors | {"__"} if place in pages else {unquote(where.fragment)}
            if not place.exists() or (where.fragment and unquote(where.fragment) not in anchors):
                yield f"{path.relative_to(site.resolve())}: {target}"


def test_no_link_and_no_picture_leads_nowhere(site: Path) -> None:
    assert list(dead(site)) == []


def test_a_link_that_leads_nowhere_would_be_found(site: Path) -> None:
    page = site / "zz.html"
    page.write_text('<a href="nowhere.html">a</a><img src="none.svg"><a href="index.html#no-such-place">b</a>')
    found = list(dead(site))
    page.unlink()
    assert found == ["zz.html: nowhere.html", "zz.html: none.svg", "zz.html: index.html#no-such-place"]


def test_a_fork_s_site_names_the_fork(site: Path) -> None:
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    assert [path for path, text in pages.items() if "OWNER" in text] == []
    assert "gh attestation verify droplan.pyz --repo fork/renamed" in pages[site / "how-to" / "verify.html"]
    assert 'href="https://github.com/fork/renamed"' in pages[site / "index.html"]


def test_nothing_is_fetched_from_elsewhere_to_show_a_page(site: Path) -> None:
    for path in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|iframe)[^>]* src="(https?:[^"]+)|<link[^>]* rel="stylesheet"[^>]* href="(https?:[^"]+)',
            path.read_text(),
        )
        assert loaded == [], path


def test_the_index_for_programs_names_every_page_once(site: Path) -> None:
    named = re.findall(r"\((\S+\.html)\)", (site / "llms.txt").read_text())
    assert len(named) > 35
    assert len(set(named)) == len(named)
    assert [name for name in named if not (site / name).is_file()] == []


def test_the_recording_stands_on_one_page_and_is_a_picture_until_it_can_be_played(site: Path) -> None:
    pages = {str(path.relative_to(site)): path.read_text() for path in site.rglob("*.html")}
    assert [name for name, text in pages.items() if "asciinema-player.min.js" in text] == ["index.html"]
    assert re.search(r'<img alt="[^"]+" src="demo.svg"', pages["index.html"])
    assert MARK in (site / "assets" / "demo.cast").read_text()
    assert recorded(site) == []


def test_a_recording_in_what_programs_and_the_search_read_would_be_found(tmp_path: Path) -> None:
    checkout = copied(tmp_path)
    cast = (checkout / "docs" / "assets" / "demo.cast").read_text()
    page = checkout / "docs" / "tutorial.md"
    page.write_text(f"{page.read_text()}\n```\n{cast}```\n")
    pages = checkout / "mkdocs.yml"
    pages.write_text(pages.read_text().replace("  - Tutorial: tutorial.md", f"  - Tutorial {MARK}: tutorial.md"))
    done = build(checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert recorded(checkout / "dist" / "site") == ["llms.txt", "search/search_index.json"]


def test_the_search_knows_the_settings(site: Path) -> None:
    assert "DROPLAN_ALLOW_PUBLIC" in (site / "search" / "search_index.json").read_text()


@pytest.mark.parametrize("wrong", ["[x](nowhere.md)", "[x](index.md#no-such-place)", "[x](/absolute.md)"])
def test_a_page_that_points_nowhere_does_not_build(wrong: str, tmp_path: Path) -> None:
    checkout = copied(tmp_path)
    page = checkout / "docs" / "tutorial.md"
    page.write_text(page.read_text() + f"\n{wrong}\n")
    done = build(checkout)
    assert done.returncode != 0
    assert "tutorial.md" in done.stdout + done.stderr
