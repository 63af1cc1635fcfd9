"""What programs read is as docs/schemas says, and the schemas name every reason and problem that there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from droplan_boot.access.explanation import REASONS
from droplan_boot.host.files import Files
from droplan_boot.state.problems import KINDS
from droplan_boot.verbs import explain, install, peers, refresh, standing, status
from tests.bed.memory.droplet import MemoryDroplet, made
from tests.unit.test_status import NORMAL, WORST

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def schema(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.json").read_text())


def strict(value: Any) -> Any:
    """Let no object have a key that the schema does not describe."""
    if isinstance(value, dict):
        closed = {"additionalProperties": False} if value.get("properties") is not None else {}
        return {**closed, **{key: strict(each) for key, each in value.items()}}
    return [strict(each) for each in value] if isinstance(value, list) else value


def check(name: str, document: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))
    jsonschema.validate(json.loads(json.dumps(document)), strict(schema(name)), jsonschema.Draft202012Validator)


@pytest.fixture
def droplet(files: Files) -> MemoryDroplet:
    found = made(files)
    install.run(found.host())
    return found


@pytest.mark.parametrize("shown", [NORMAL, WORST, standing.Status()], ids=["normal", "worst", "empty"])
def test_status(shown: standing.Status) -> None:
    check("status", status.document(shown))


def test_status_of_a_droplet(droplet: MemoryDroplet) -> None:
    check("status", status.document(standing.look(droplet.host())))


def test_peers(droplet: MemoryDroplet, capsys: pytest.CaptureFixture[str]) -> None:
    refresh.run(droplet.host(DROPLAN_ALLOW="tcp/22@droplet:droplet-1,10.9.0.0/24"))
    capsys.readouterr()
    peers.run(droplet.host(), as_json=True)
    check("peers", json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("who", ["droplet-1", "10.132.0.66", "203.0.113.9", "104.236.32.9"])
@pytest.mark.parametrize("service", [None, "tcp/22", "tcp/1-100"])
def test_explain(who: str, service: str | None, droplet: MemoryDroplet, capsys: pytest.CaptureFixture[str]) -> None:
    refresh.run(droplet.host(DROPLAN_PEER_PORTS="tcp/22"))
    capsys.readouterr()
    explain.run(droplet.host(), who=who, service=service, as_json=True)
    check("explain", json.loads(capsys.readouterr().out))


def test_every_reason_and_every_problem_is_named() -> None:
    assert schema("explain")["properties"]["reason"]["enum"] == list(REASONS)
    problems = schema("status")["properties"]["problems"]["items"]["properties"]["code"]["enum"]
    assert sorted(problems) == sorted(kind.code for kind in KINDS)
    verdicts = {kind.verdict.lower().replace(" ", "-") for kind in KINDS if kind.verdict}
    assert set(schema("status")["properties"]["verdict"]["enum"]) == {"ok", *verdicts}


def test_a_document_that_is_none_is_refused() -> None:
    document = status.document(NORMAL)
    for wrong in ({"verdict": "fine"}, {"schema": 2}, {"more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            check("status", {**document, **wrong})
