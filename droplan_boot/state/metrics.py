"""``/var/lib/droplan/metrics.prom``: what the last run found, as Prometheus' node_exporter reads it.

Names follow https://prometheus.io/docs/practices/naming/. No address and no name is a label: a fleet would make
thousands of series of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from droplan_boot import __version__, paths
from droplan_boot.errors import DroplanError
from droplan_boot.host.files import Files
from droplan_boot.state.report import Report

MODES: Final = ("enforce", "observe")


Metric = tuple[str, str, str, tuple[tuple[str, float], ...]]
"""Name without ``droplan_``; ``gauge`` or ``counter``; what it is; samples: labels as written, "" for none; value."""


def render(report: Report, *, shut_out: int | None = None) -> str:
    """Write the metrics of a run.

    Args:
        report: how it went.
        shut_out: how many packets of strangers were noted since the watcher began; None where no watcher runs.
    """
    return "".join(
        f"# HELP droplan_{name} {text}\n# TYPE droplan_{name} {kind}\n"
        + "".join(f"droplan_{name}{labels} {_number(value)}\n" for labels, value in samples)
        for name, kind, text, samples in _metrics(report, shut_out)
        if samples
    )


def store(files: Files, report: Report, *, shut_out: int | None = None) -> None:
    """Write the file in one step, so that a scrape sees all of a run or all of the one before (0644).

    After a power loss the next run writes it anew.

    Raises:
        DroplanError: it cannot be written.
    """
    files.write(paths.METRICS, render(report, shut_out=shut_out).encode(), 0o644, lasting=False)


def load(files: Files) -> bytes:
    """Read the file.

    Raises:
        DroplanError: no run has written any.
    """
    found = files.read(paths.METRICS)
    if found is None:
        raise DroplanError("no run has written metrics yet: run `sudo droplan refresh`")
    return found


def _metrics(report: Report, shut_out: int | None) -> Iterable[Metric]:
    ok = report.result == "ok"
    yield ("build_info", "gauge", "The droplan that ran, always 1.", ((f'{{version="{__version__}"}}', 1),))
    yield ("last_run_timestamp_seconds", "gauge", "When the last run ended.", (("", report.time),))
    yield ("last_run_success", "gauge", "Whether the last run succeeded.", (("", ok),))
    yield ("last_run_duration_seconds", "gauge", "How long the last run took.", (("", report.duration),))
    yield _optional(
        "last_success_timestamp_seconds", "When a run last had a complete answer and enforced it.", report.succeeded
    )
    yield (
        "peers",
        "gauge",
        "Addresses of peers that may come in.",
        tuple(
            (f'{{network="{name.split()[0]}",family="ipv{name.split()[1]}"}}', count)
            for name, count in report.by_network.items()
        ),
    )
    yield (
        "drift",
        "gauge",
        "Whether the last run found the rules altered, and wrote them again.",
        (("", report.repaired),),
    )
    yield (
        "mode",
        "gauge",
        "1 for the mode that is set.",
        tuple((f'{{mode="{mode}"}}', mode == report.mode) for mode in MODES),
    )
    yield _optional(
        "interval_seconds", "Seconds between two runs.", None if report.interval is None else report.interval * 60
    )
    yield _optional("api_requests_limit", "Requests an hour that the token is granted.", report.api_limit)
    yield _optional("api_requests_remaining", "Requests of them that are left.", report.api_remaining)
    if shut_out is not None:
        yield ("refused_packets_total", "counter", "Packets of strangers that were noted.", (("", shut_out),))


def _optional(name: str, text: str, value: float | None) -> Metric:
    return (name, "gauge", text, () if value is None else (("", value),))


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.3f}"
