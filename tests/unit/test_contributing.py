"""What CONTRIBUTING.md sends people to is there; tests/contributing walks through its commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "CONTRIBUTING.md").read_text()
LISTS = PAGE.partition("## Where to add")[2].partition("## Layout of the code")[0]
ROOTS = ("", "droplan_boot/")
KINDS = ("a rule", "a setting", "a distribution", "a fault", "an error sentence", "a verb", "a problem of `status`")


def there(path: str) -> bool:
    return any((CHECKOUT / root / path.rstrip("/")).exists() for root in ROOTS)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|md|yml))`", LISTS))))
def test_a_place_that_it_names_is_there(path: str) -> None:
    beside = ("terraform/main.tf", "terraform/README.md", "cloud-init/close.py")  # named after their directory
    assert "NAME" in path or there(path) or any(one.endswith("/" + path) for one in beside)


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_one_list_for(kind: str) -> None:
    assert re.search(rf"^### {kind}$\n1\. ", LISTS, re.MULTILINE)


@pytest.mark.parametrize("module", sorted(set(re.findall(r"(tests\.\w+\.\w+)", PAGE))))
def test_a_page_is_written_by_a_module_that_is_there(module: str) -> None:
    assert (CHECKOUT / (module.replace(".", "/") + ".py")).is_file()


def test_its_layout_names_every_module() -> None:
    layout = PAGE.partition("## Layout of the code")[2].partition("\nRun-time")[0]
    package = CHECKOUT / "droplan_boot"
    # Verbs are named as on the command line.
    modules = {path for path in package.glob("*/*.py") if path.parent.name != "verbs"} | {*package.glob("*.py")}
    named = {path.stem for path in modules if not path.stem.startswith("__")}
    assert {name for name in named if not re.search(rf"\b{name}\b", layout)} == set()


def wanted(name: str) -> set[str]:
    lines = (CHECKOUT / "requirements" / f"{name}.in").read_text().splitlines()
    return {line.strip() for line in lines if line.strip() and line[0] not in "#-"}


def grouped(name: str) -> set[str]:
    """Read a dependency group, without tomllib, which Python 3.9 does not have."""
    table = (CHECKOUT / "pyproject.toml").read_text().partition("[dependency-groups]")[2].partition("\n[")[0]
    found = re.search(rf"^{name} = \[(.*?)\]$", table, re.MULTILINE | re.DOTALL)
    assert found, name
    own = re.sub(r'include-group = "(\w+)"', "", found[1])
    included = re.findall(r'include-group = "(\w+)"', found[1])
    return set(re.findall(r'"([^"]+)"', own)).union(*map(grouped, included))


@pytest.mark.parametrize("name", ["unit", "dev", "docs", "ansible"])
def test_what_pip_installs_by_group_is_what_the_locks_are_made_from(name: str) -> None:
    assert grouped(name) == wanted(name)
