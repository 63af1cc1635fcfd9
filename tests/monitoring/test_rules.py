"""The metrics and the alert rules, held by Prometheus' own promtool, on what the real program wrote."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.bed import Fault, Lab
from tests.bed.program import Program

RULES = Path(__file__).parents[2] / "docs" / "monitoring" / "droplan.rules.yml"
METRICS = "/var/lib/droplan/metrics.prom"
INSTANCE = 'instance="web-1"'
STEPS = 60
"""Minutes of each test's series."""


def promtool(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *words], input=stdin, capture_output=True, text=True, check=False)


def samples(text: str) -> dict[str, float]:
    """Return the series of a scrape, each with the label that a scrape adds."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            head, brace, labels = name.partition("{")
            found[f"{head}{{{labels.rstrip('}') + ',' if brace else ''}{INSTANCE}}}"] = float(value)
    return found


@pytest.fixture(scope="module")
def written() -> Iterator[dict[str, str]]:
    """What the real program wrote: when all is well, when the rules had drifted, and when no answer came."""
    with Lab() as lab:
        program = Program(lab)
        program.install()
        found = {"well": program.read(METRICS)}
        program.edit("-F droplan-peers")
        program.refresh()
        found["drift"] = program.read(METRICS)
        lab.do.fault(Fault(status=403))
        assert program.run("refresh").returncode == 1
        found["failed"] = program.read(METRICS)
        found["verb"] = program.run("metrics").stdout
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        check = program.droplet.run([*nobody, "/opt/droplan/droplan", "check"], check=False)
        found["check"] = f"{check.returncode} {check.stdout}"
        yield found


@pytest.mark.parametrize("when", ["well", "drift", "failed"])
def test_promtool_finds_nothing_to_say_about_the_metrics(when: str, written: Mapping[str, str]) -> None:
    done = promtool("check", "metrics", stdin=written[when])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_promtool_would_have_said_something(written: Mapping[str, str]) -> None:
    assert promtool("check", "metrics", stdin=written["well"].replace("gauge", "counter")).returncode != 0


def test_the_verb_prints_them_and_check_needs_no_root(written: Mapping[str, str]) -> None:
    assert written["verb"] == written["failed"]
    assert written["check"].startswith("1 DROPLAN WARNING - last good answer ")


def test_the_rules_are_rules() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stderr


def fires(tmp_path: Path, series: Mapping[str, str], *expected: str) -> None:
    """Hold the rules to firing these alerts, and no others, at the end of an hour of these series."""
    names = [line.split("alert: ")[1].strip() for line in RULES.read_text().splitlines() if "alert: " in line]
    assert set(expected) <= set(names)
    document: dict[str, Any] = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)',
                        "eval_time": f"{STEPS}m",
                        "exp_samples": [{"labels": "{}", "value": int(name in expected)}],
                    }
                    for name in names
                ],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(json.dumps(document))  # YAML is a superset of it
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def steady(text: str, **changes: str) -> dict[str, str]:
    """Let each series of a scrape stay as it is for the hour; ages are counted from the hour's beginning.

    Args:
        text: the scrape.
        changes: other values, by metric without ``droplan_``.
    """
    found = {}
    for name, value in samples(text).items():
        if "timestamp" in name:
            value = 0
        found[name] = f"{value}x{STEPS}"
        for metric, values in changes.items():
            if name.startswith(f"droplan_{metric}{{"):
                found[name] = values
    return found


FRESH = {"last_success_timestamp_seconds": f"0+60x{STEPS}", "last_run_timestamp_seconds": f"0+60x{STEPS}"}


def test_while_all_is_well_nothing_fires(written: Mapping[str, str], tmp_path: Path) -> None:
    fires(tmp_path, steady(written["well"], **FRESH))


def test_an_old_answer_fires(written: Mapping[str, str], tmp_path: Path) -> None:
    fires(tmp_path, steady(written["failed"]), "DroplanStale")


def test_no_answer_at_all_fires(written: Mapping[str, str], tmp_path: Path) -> None:
    series = {name: value for name, value in steady(written["failed"]).items() if "last_success" not in name}
    fires(tmp_path, series, "DroplanNeverSucceeded")


def test_drift_fires(written: Mapping[str, str], tmp_path: Path) -> None:
    fires(tmp_path, steady(written["drift"], **FRESH), "DroplanDrift")


def test_peers_that_are_gone_fire(written: Mapping[str, str], tmp_path: Path) -> None:
    fires(tmp_path, steady(written["well"], **FRESH, peers=f"3x{STEPS - 10} 0x10"), "DroplanPeersGone")


def test_a_budget_that_runs_out_fires(written: Mapping[str, str], tmp_path: Path) -> None:
    limits = {"api_requests_limit": f"5000x{STEPS}", "api_requests_remaining": f"400x{STEPS}"}
    series = {**steady(written["well"], **FRESH), **{f"droplan_{k}{{{INSTANCE}}}": v for k, v in limits.items()}}
    fires(tmp_path, series, "DroplanBudgetLow")
