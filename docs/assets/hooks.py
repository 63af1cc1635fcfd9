"""What MkDocs does for us beside: pages from files that live elsewhere, links out of docs/, our address, llms.txt.

And what a reader's browser runs, served from here: script/site says where it is.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

ELSEWHERE = {
    "how-to/cloud-init.md": "cloud-init/README.md",
    "how-to/terraform.md": "terraform/README.md",
    "how-to/ansible.md": "ansible/README.md",
    "reference/changes.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security-policy.md": "SECURITY.md",
}
"""Pages whose text is where people look for it in the repository, by their place on the site."""

PLACEHOLDER = "OWNER/droplan"
"""What stands in the pages for the repository on GitHub, which names itself where it builds the site."""

PICTURE = "demo.svg"
"""The picture on the first page in whose place its recording is played."""

_LINK = re.compile(r"(\]\()([^)#\s:]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from elsewhere."""
    from mkdocs.structure.files import File

    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Name the repository; turn a link of it into one of the site or, where there is no such page, into it."""
    uri = page.file.src_uri
    source = ELSEWHERE.get(uri, f"docs/{uri}")
    pages = {text: place for place, text in ELSEWHERE.items()}

    def rewrite(found: re.Match[str]) -> str:
        target, anchor = found[2], found[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        place = pages.get(path)
        if place is None and path == "README.md":
            place = "index.md"
        if place is None and path.startswith("docs/") and files.get_file_from_path(path[5:]):
            place = path[5:]
        if place:
            return f"{found[1]}{posixpath.relpath(place, posixpath.dirname(uri) or '.')}{anchor})"
        if not (ROOT / path).exists():
            return found[0]  # MkDocs says so, strictly
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{found[1]}{config.repo_url.rstrip('/')}/{kind}/main/{path}{anchor})"

    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(found[0])
        return f"\0{len(kept) - 1}\0"

    text = _LINK.sub(rewrite, _FENCE.sub(keep, markdown))
    return _at_home(re.sub("\0(\\d+)\0", lambda found: kept[int(found[1])], text))


def on_config(config: Any) -> Any:
    """Name the repository; have pages load what draws the diagrams from the site, where script/site found it."""
    config.repo_url = _at_home(config.repo_url)
    if _shipped("MERMAID"):
        config.extra_javascript.append("assets/mermaid.min.js")
    return config


def _at_home(text: str) -> str:
    return text.replace(PLACEHOLDER, os.environ.get("GITHUB_REPOSITORY") or PLACEHOLDER)


def on_page_content(html: str, **_: Any) -> str:
    """Have the page with the recording's picture, and no other, load what plays it."""
    if f'src="{PICTURE}"' not in html or not _shipped("PLAYER"):
        return html
    scripts = "".join(f'<script defer src="assets/{name}.js"></script>' for name in ("asciinema-player.min", "demo"))
    return f'{html}<link rel="stylesheet" href="assets/asciinema-player.css">{scripts}'


def _shipped(what: str) -> list[Path]:
    place = os.environ.get(f"DROPLAN_{what}")
    return sorted(Path(place).glob("*")) if place else []


def on_post_build(config: Any) -> None:
    """Lay what browsers run into the site, and llms.txt: a line a page, for programs that read them (llmstxt.org)."""
    for path in (*_shipped("MERMAID"), *_shipped("PLAYER")):
        shutil.copyfile(path, Path(config.site_dir, "assets", path.name))
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", ""]

    def walk(entries: list[Any]) -> None:
        for entry in entries:
            for title, value in entry.items():
                if isinstance(value, list):
                    lines.extend(["", f"## {title}", ""])
                    walk(value)
                else:
                    lines.append(f"- [{title}]({value.removesuffix('.md').replace('README', 'index')}.html)")

    walk(config.nav)
    Path(config.site_dir, "llms.txt").write_text("\n".join([*lines, ""]))
