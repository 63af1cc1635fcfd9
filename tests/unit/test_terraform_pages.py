"""READMEs of the Terraform module and examples say what their files do, and which defaults are not those by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from droplan_boot.settings import Settings, parse
from tests.golden import module

VARIABLES = {block.labels[0]: block for block in module.blocks(module.TERRAFORM) if block.kind == "variable"}


@pytest.mark.parametrize("directory", module.directories(), ids=lambda path: path.name)
def test_its_tables_are_what_its_files_say(directory: Path) -> None:
    written = (directory / "README.md").read_text()
    assert written == module.page(directory), "run `python -m tests.golden.module`, and read what it changed"


@pytest.mark.parametrize("directory", module.directories(), ids=lambda path: path.name)
def test_every_variable_and_output_has_its_sentence(directory: Path) -> None:
    told = [block for block in module.blocks(directory) if block.kind in ("variable", "output")]
    assert [block.labels for block in told if not block.description.endswith((".", '."'))] == []


def test_a_value_over_several_lines_is_read_whole() -> None:
    body = '  type = object({\n    a = string\n  })\n  default = [\n    "x",\n  ]\n  nullable = false\n'
    assert module.Block("variable", ("v",), body).arguments == {
        "type": "object({\n    a = string\n  })",
        "default": '[\n    "x",\n  ]',
        "nullable": "false",
    }


def test_a_default_that_an_installation_by_hand_does_not_have_is_explained() -> None:
    by_hand: Settings = parse({"DO_KEY": "dop_v1_" + "0" * 64})
    defaults = {
        name: json.loads(block.arguments["default"])
        for name, block in VARIABLES.items()
        if "default" in block.arguments and hasattr(by_hand, name)
    }
    assert set(defaults) > {"fail_closed", "interval", "lock_metadata", "mode", "public", "scope", "watch"}
    comparable = {name: value for name, value in defaults.items() if isinstance(value, (bool, int, str))}
    differing = {name for name, value in comparable.items() if value != getattr(by_hand, name)}
    assert differing == {name for name, block in VARIABLES.items() if "installation by hand" in block.description}
    assert differing == {"fail_closed", "lock_metadata"}
