"""Answer a monitoring system as its plugins do: https://www.monitoring-plugins.org/doc/guidelines.html.

It needs no root.
"""

from __future__ import annotations

import sys
from typing import Final

from droplan_boot.host.doors import Host
from droplan_boot.plural import counted
from droplan_boot.state import report
from droplan_boot.state.report import Report
from droplan_boot.verbs import words

OK, WARNING, CRITICAL, UNKNOWN = range(4)
_NAMES: Final = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_WARN_AFTER, _CRITICAL_AFTER = 3, 12  # intervals
_INTERVAL: Final = 5  # minutes, where a report of droplan 1.0.0's names none


def run(host: Host, *, warning: int | None = None, critical: int | None = None) -> int:
    """Print one line and its performance data.

    Args:
        host: this machine.
        warning: seconds; an answer that is older warns. None for three intervals.
        critical: seconds; an answer that is older is critical. None for twelve intervals.

    Returns:
        0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    """
    last = report.load(host.files)
    if last is None:
        return _say(host, UNKNOWN, "no run has reported yet: is droplan installed here?", "")
    interval = (last.interval or _INTERVAL) * 60
    limits = (
        _WARN_AFTER * interval if warning is None else warning,
        _CRITICAL_AFTER * interval if critical is None else critical,
    )
    code, text = judge(last, host.clock.time(), *limits)
    return _say(host, code, text, _performance(last, host.clock.time(), *limits))


def judge(last: Report, now: float, warning: float, critical: float) -> tuple[int, str]:
    """Judge a report.

    Args:
        last: how the last run went.
        now: seconds since the epoch.
        warning: seconds of age that warn.
        critical: seconds of age that are critical.

    Returns:
        The code, and why in words.
    """
    if last.succeeded is None:
        return CRITICAL, f"no answer has named the peers yet: {last.error or 'run `sudo droplan refresh`'}"
    age = now - last.succeeded
    told = f"last good answer {words.ago(age)} ago"
    if age > critical:
        return CRITICAL, f"{told}: {last.error or 'no run since; see whether cron runs'}"
    if last.result != "ok":
        return WARNING, f"{told}; the last run failed: {last.error}"
    if age > warning:
        return WARNING, f"{told}: no run since; see whether cron runs"
    if last.mode == "observe":
        return WARNING, f"only observing (DROPLAN_MODE=observe), nobody is shut out; {told}"
    if last.repaired:
        return WARNING, f"the last run found the rules altered, and wrote them again; {told}"
    return OK, f"{counted(last.peers or 0, 'peer')}, {told}"


def _performance(last: Report, now: float, warning: float, critical: float) -> str:
    """Write the performance data: ``'label'=value[unit];[warn];[crit];[min];[max]``."""
    found = []
    if last.succeeded is not None:
        found.append(f"age={max(now - last.succeeded, 0):.0f}s;{warning:.0f};{critical:.0f};0;")
    if last.by_network:
        found.append(f"peers={sum(last.by_network.values())};;;0;")
    found.append(f"duration={last.duration:.3f}s;;;0;")
    if last.api_limit is not None and last.api_remaining is not None:
        found.append(f"api_remaining={last.api_remaining};;;0;{last.api_limit}")
    return " ".join(found)


def _say(host: Host, code: int, text: str, performance: str) -> int:
    # What stands behind the bar is read by programs, and one line is all that is read of the rest.
    shown = words.printable(host.hint(text)).replace("|", "/").replace("\n", " ")
    sys.stdout.write(f"DROPLAN {_NAMES[code]} - {shown}{f' | {performance}' if performance else ''}\n")
    return code
