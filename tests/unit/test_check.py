"""Monitoring: what `check` answers, and what the metrics say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from droplan_boot import paths
from droplan_boot.errors import DroplanError
from droplan_boot.host.files import Files
from droplan_boot.state import metrics, report
from droplan_boot.verbs import check
from droplan_boot.verbs import metrics as metrics_verb
from tests.bed.memory.doors import Clock, Host
from tests.unit.test_status import NOW, REPORT

FAILED = replace(REPORT, result="failed", error="no answer | at all\nnone")


def host(files: Files, at: float = NOW) -> Host:
    return Host(files=files, clock=Clock(at), uid=65534)


@pytest.mark.parametrize(
    ("last", "at", "code", "words"),
    [
        (REPORT, NOW, 0, "OK - 10000 peers, last good answer 4 min ago |"),
        (REPORT, NOW + 700, 1, "WARNING - last good answer 16 min ago: no run since"),
        (REPORT, NOW + 4000, 2, "CRITICAL - last good answer 71 min ago: no run since"),
        (FAILED, NOW, 1, "WARNING - last good answer 4 min ago; the last run failed: no answer / at all none |"),
        (FAILED, NOW + 4000, 2, "CRITICAL - last good answer 71 min ago: no answer / at all none |"),
        (replace(FAILED, succeeded=None), NOW, 2, "CRITICAL - no answer has named the peers yet"),
        (replace(REPORT, mode="observe"), NOW, 1, "WARNING - only observing"),
        (replace(REPORT, repaired=True), NOW, 1, "WARNING - the last run found the rules altered"),
    ],
)
def test_it_answers_in_one_line_as_plugins_do_without_being_root(
    last: report.Report, at: float, code: int, words: str, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    report.store(files, last)
    assert check.run(host(files, at)) == code
    line = capsys.readouterr().out
    assert line.startswith(f"DROPLAN {words}")
    assert line.count("\n") == 1
    assert line.count("|") == 1


def test_performance_data_are_as_the_guidelines_say(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    report.store(files, REPORT)
    check.run(host(files), warning=60, critical=300)
    data = capsys.readouterr().out.split(" | ")[1].split()
    assert data[0] == "age=240s;60;300;0;"
    assert all(re.fullmatch(r"[a-z_]+=-?[\d.]+s?(;[\d.]*){4}", one) for one in data)


@pytest.mark.parametrize(("warning", "critical", "code"), [(60, 300, 1), (60, 100, 2), (600, 1000, 0)])
def test_the_thresholds_are_the_callers(
    warning: int, critical: int, code: int, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    report.store(files, REPORT)
    assert check.run(host(files), warning=warning, critical=critical) == code


@pytest.mark.parametrize("data", [None, b"", b"{}"])
def test_without_a_report_nothing_is_known(data: bytes | None, files: Files) -> None:
    if data is not None:
        files.write(paths.REPORT, data, 0o644)
    assert check.run(host(files)) == 3


class TestMetrics:
    def test_a_run_is_told_in_prometheus_words(self) -> None:
        lines = metrics.render(REPORT, shut_out=3).splitlines()
        for line in (
            'droplan_peers{network="private",family="ipv4"} 10000',
            f"droplan_last_success_timestamp_seconds {NOW - 240:.0f}",
            f"droplan_last_run_timestamp_seconds {NOW - 240:.0f}",
            "droplan_last_run_success 1",
            "droplan_last_run_duration_seconds 0.400",
            "droplan_drift 0",
            "droplan_refused_packets_total 3",
            "droplan_api_requests_remaining 4700",
            'droplan_mode{mode="enforce"} 1',
            'droplan_mode{mode="observe"} 0',
        ):
            assert line in lines
        samples = [line for line in lines if not line.startswith("#")]
        assert all(re.fullmatch(r'droplan_[a-z_]+(\{([a-z]+="[^"]*",?)+\})? [\d.]+', line) for line in samples)
        assert not any("10.132" in line or "web-41" in line for line in lines)

    def test_every_metric_has_its_help_and_type_once(self) -> None:
        lines = metrics.render(REPORT).splitlines()
        names = {re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")}
        for kind in ("HELP", "TYPE"):
            told = [line.split()[2] for line in lines if line.startswith(f"# {kind} ")]
            assert sorted(told) == sorted(names)

    def test_the_page_has_each_metric_with_its_labels_and_no_other(self) -> None:
        page = (Path(__file__).parents[2] / "docs" / "monitoring" / "README.md").read_text()
        told = re.findall(r"`(droplan_\w+(?:\{[a-z,]+\})?)`", "".join(re.findall(r"^\| `.*$", page, re.MULTILINE)))
        samples = [
            line.rpartition(" ")[0]
            for line in metrics.render(REPORT, shut_out=3).splitlines()
            if not line.startswith("#")
        ]
        assert sorted(told) == sorted({re.sub(r'="[^"]*"', "", one) for one in samples})

    def test_what_is_not_known_is_left_out(self) -> None:
        text = metrics.render(report.Report(NOW, "failed", 1.0, error="x"))
        assert "droplan_last_success" not in text
        assert "droplan_refused" not in text
        assert "droplan_last_run_success 0" in text

    def test_the_verb_prints_what_the_last_run_wrote_or_puts_it_where_a_collector_reads(
        self, files: Files, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(DroplanError, match="no run has written metrics yet"):
            metrics_verb.run(host(files))
        metrics.store(files, REPORT)
        metrics_verb.run(host(files))
        assert capsys.readouterr().out == metrics.render(REPORT)
        metrics_verb.run(host(files), file="/var/lib/textfile/droplan.prom")
        place = files.real(Path("/var/lib/textfile/droplan.prom"))
        assert place.read_text() == metrics.render(REPORT)
        assert place.stat().st_mode & 0o777 == 0o644
