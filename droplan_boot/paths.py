"""Where droplan keeps things: a contract (README, "Files")."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PROGRAM: Final = Path("/opt/droplan/droplan")
LINK: Final = Path("/usr/local/sbin/droplan")
REFRESH: Final = Path("/opt/droplan/refresh.sh")
CRON: Final = Path("/etc/cron.d/droplan")
SETTINGS: Final = Path("/etc/droplan/droplan.env")
LOG: Final = Path("/var/log/droplan.log")
STATE: Final = Path("/var/lib/droplan")
SNAPSHOT: Final = STATE / "snapshot.json"
REPORT: Final = STATE / "status.json"
METRICS: Final = STATE / "metrics.prom"
LOCK: Final = Path("/run/droplan.lock")

UNFINISHED: Final = STATE / "unfinished"
"""There while an install runs, and after one that failed: the schedule then installs instead of refreshing."""

FIREWALLD: Final = STATE / "firewalld"
"""How firewalld was before we masked it, such as ``enabled active``."""

BOOTSTRAP_FAILED: Final = STATE / "bootstrap.failed"
"""One line, left by user data whose stage-0 failed before there was a droplan to say so."""
