"""The tables in the READMEs of the Terraform module and its examples, laid out as terraform-docs does.

``python -m tests.golden.module`` writes them; tests/unit/test_terraform_pages.py compares them. terraform-docs itself
comes from no package index, so this reads what ``terraform fmt``, which a test insists on, makes easy to read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TERRAFORM: Final = Path(__file__).parents[2] / "terraform"
BEGIN: Final = "<!-- BEGIN_TF_DOCS -->\n"
END: Final = "<!-- END_TF_DOCS -->\n"

_BLOCK: Final = re.compile(r"^(\w+)((?: \"[^\"]+\")*) \{(?:\}|\n(.*?)^\})", re.MULTILINE | re.DOTALL)
# Up to the next argument or block at the same depth: a value may go on over lines that stand deeper, or close it.
_ARGUMENT: Final = re.compile(r"^  (\w+) += (.+(?:\n(?:   .*|  [\])}].*))*)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of a .tf file.

    Args:
        kind: such as ``variable``.
        labels: such as its name.
        body: what is between its braces.
    """

    kind: str
    labels: tuple[str, ...]
    body: str

    @property
    def arguments(self) -> dict[str, str]:
        """Its own arguments, as they are written."""
        return {name: value.strip() for name, value in _ARGUMENT.findall(self.body)}

    @property
    def description(self) -> str:
        """Its sentence."""
        return str(json.loads(self.arguments.get("description", '""')))


def directories() -> list[Path]:
    """Return where there is a page: the module, and each example."""
    return [TERRAFORM, *sorted(path.parent for path in TERRAFORM.glob("examples/*/main.tf"))]


def blocks(directory: Path) -> list[Block]:
    """Read the blocks of a directory's files."""
    text = "\n".join(path.read_text() for path in sorted(directory.glob("*.tf")))
    found = _BLOCK.findall(re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    return [Block(kind, tuple(re.findall(r'"([^"]+)"', labels)), body) for kind, labels, body in found]


def page(directory: Path) -> str:
    """Return a directory's README with its tables as they should be; where it had none, they come last."""
    before, _, rest = (directory / "README.md").read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before if rest else before + chr(10)}{BEGIN}{tables(blocks(directory))}{END}{after}"


def tables(found: list[Block]) -> str:
    """Lay out the section."""
    of = {kind: [block for block in found if block.kind == kind] for kind in ("module", "variable", "output")}
    providers = list(_providers(found))
    parts = (
        ("Requirements", ("Name", "Version"), [*_terraform(found), *providers]),
        ("Providers", ("Name", "Version"), providers),
        ("Modules", ("Name", "Source"), _named((block, _plain(block, "source")) for block in of["module"])),
        ("Resources", ("Name", "Type"), list(_resources(found))),
        ("Inputs", ("Name", "Description", "Type", "Default", "Required"), _inputs(of["variable"])),
        ("Outputs", ("Name", "Description"), _named((block, block.description) for block in of["output"])),
    )
    return "\n".join(_table(*part) for part in parts)


def _table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return f"## {title}\n\nNo {title.lower()}.\n"
    rule = "|".join(":--------:" if name == "Required" else "-" * (len(name) + 2) for name in head)
    lines = [f"| {' | '.join(row)} |\n" for row in (head, *rows)]
    return f"## {title}\n\n{lines[0]}|{rule}|\n{''.join(lines[1:])}"


def _terraform(found: list[Block]) -> Iterator[tuple[str, ...]]:
    for block in found:
        if block.kind == "terraform" and "required_version" in block.arguments:
            yield "terraform", _plain(block, "required_version")


def _providers(found: list[Block]) -> Iterator[tuple[str, ...]]:
    for block in found:
        if block.kind == "terraform":
            for name, body in re.findall(r"^    (\w+) = \{\n(.*?)^    \}", block.body, re.MULTILINE | re.DOTALL):
                version = re.search(r'^ +version += "(.+)"$', body, re.MULTILINE)
                yield name, version[1] if version else "n/a"


def _resources(found: list[Block]) -> Iterator[tuple[str, ...]]:
    kinds = {"resource": "resource", "data": "data source"}
    for name, kind in sorted((".".join(block.labels), kinds[block.kind]) for block in found if block.kind in kinds):
        yield _text(name), kind


def _inputs(variables: list[Block]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for block in sorted(variables, key=lambda block: block.labels):
        given = block.arguments
        default = given.get("default")
        rows.append(
            (
                _text(block.labels[0]),
                _text(block.description),
                _code(given.get("type", "any")),
                "n/a" if default is None else _code(default),
                "yes" if default is None else "no",
            )
        )
    return rows


def _named(pairs: Iterable[tuple[Block, str]]) -> list[tuple[str, ...]]:
    return [(_text(block.labels[0]), _text(text)) for block, text in sorted(pairs, key=lambda pair: pair[0].labels)]


def _plain(block: Block, name: str) -> str:
    return block.arguments[name].strip('"')


def _code(value: str) -> str:
    return "`" + " ".join(value.split()).replace("|", "\\|") + "`"


def _text(text: str) -> str:
    """Escape what markdown would take for its own, outside of code."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if number % 2 else re.sub(r"[_*]", r"\\\g<0>", part) for number, part in enumerate(parts))


if __name__ == "__main__":
    for place in directories():
        (place / "README.md").write_text(page(place))
