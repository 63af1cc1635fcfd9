"""Where droplan keeps things: a contract (docs/reference/files.md)."""

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
OUTLINE: Final = STATE / "outline.json"
"""What the watcher has to know of the snapshot, which may be large: interfaces and private networks."""

BUDGET: Final = STATE / "budget.json"
BLOCKED: Final = STATE / "blocked.json"
STRANGERS: Final = STATE / "strangers.json"
"""Which Droplets of the account are among those who were shut out: refreshes find that out, the watcher cannot."""

WATCH: Final = STATE / "watch.json"
SHARED: Final = STATE / "shared.json"
SHARED_BASE: Final = STATE / "shared.base"
PUBLISH: Final = Path("/etc/droplan/publish.env")
METRICS: Final = STATE / "metrics.prom"
BACKENDS: Final = STATE / "backends"
ANSWER: Final = STATE / "answer.json"
"""Digests of what the API said last, and what else decided who may come in: the same again is not read again."""

VERIFIED: Final = STATE / "verified.json"
"""When the rules were last read and found as they should be: at which of nf_tables' transactions."""

LOCK: Final = Path("/run/droplan.lock")
"""Held by each run that asks, installs or removes, for as long as it runs."""

WRITING: Final = Path("/run/droplan.writing.lock")
"""Held while rules and snapshot are written: what others changed is put right while a run waits for an answer."""

RULES: Final = SETTINGS.parent / "guard.nft"
"""The guard as nft reads it, for a reload of /etc/nftables.conf that begins with ``flush ruleset``."""

UNFINISHED: Final = STATE / "unfinished"
"""There while an install runs, and after one that failed: the schedule then installs instead of refreshing."""

FIREWALLD: Final = STATE / "firewalld"
"""How firewalld was before we masked it, such as ``enabled active``."""

BOOTSTRAP_FAILED: Final = STATE / "bootstrap.failed"
"""One line, left by user data whose stage-0 failed before there was a droplan to say so."""
