"""Tell a person at 3 a.m. how things stand: one screen, plain words, the next step."""

from __future__ import annotations

import json
import sys
import textwrap
from dataclasses import asdict, dataclass
from typing import Final

from droplan_boot import paths, settings
from droplan_boot.access.policy import Policy
from droplan_boot.errors import EXIT_BLIND, EXIT_DONE, EXIT_DRIFT
from droplan_boot.firewall import choose, saved
from droplan_boot.firewall.backend import Backend, drift
from droplan_boot.firewall.iptables import Iptables
from droplan_boot.host.doors import Host
from droplan_boot.settings import Settings
from droplan_boot.setup import persistence, schedule
from droplan_boot.state import report, shared, snapshot
from droplan_boot.state.snapshot import Snapshot

_WIDTH: Final = 80


@dataclass(frozen=True)
class Status:
    """How things stand.

    Args:
        interfaces: what is closed.
        backend: how rules are written, and why that way.
        peers: how many may come in, by chain.
        snapshot_age: seconds since the last good answer; None when there was none.
        next_run: when cron refreshes next, seconds since the epoch; None when it is not scheduled.
        saved: how the rules outlive a reboot.
        last: how the last refresh went, in words.
        drift: how the kernel's rules differ from the last good answer's, a line each.
        problems: what else is wrong, a line each.
        blind: why a member of a fleet does not know who the peers are now, a line each.
    """

    interfaces: tuple[str, ...]
    backend: str
    peers: dict[str, int]
    snapshot_age: float | None
    next_run: float | None
    saved: str
    last: str
    drift: tuple[str, ...]
    problems: tuple[str, ...]
    blind: tuple[str, ...] = ()


def run(host: Host, *, as_json: bool = False) -> int:
    """Print the status.

    Returns:
        The exit code: 3 when the rules are not what they should be, 5 when they may not be for long.

    Raises:
        DroplanError: it cannot be told.
    """
    host.require_root()
    status = look(host)
    sys.stdout.write(json.dumps(asdict(status), indent=1) + "\n" if as_json else render(status, host.clock.time()))
    if status.drift:
        return EXIT_DRIFT
    return EXIT_BLIND if status.blind else EXIT_DONE


def look(host: Host) -> Status:
    """Find out how things stand; change nothing."""
    now = host.clock.time()
    wanted = settings.load(host.environ, host.files)
    found = snapshot.load(host.files)
    last = report.load(host.files)
    choice = choose.choose(wanted.backend, host)
    cron = (host.files.read(paths.CRON) or b"").decode(errors="replace")
    return Status(
        interfaces=tuple(name for segment in found.policy.segments for name in segment.interfaces) if found else (),
        backend=f"{choice.backend.name} ({choice.why})",
        peers={segment.chain: len(segment.peers) for segment in found.policy.segments} if found else {},
        snapshot_age=now - found.written if found and found.answered else None,
        next_run=schedule.next_run(cron, now),
        saved=_saved(host, choice.backend),
        last=_last(last, now),
        drift=(
            *_differences(choice.backend, found, snapshot.unknown(host.files)),
            *_astray(choice.backend, last, host),
        ),
        problems=tuple(_problems(host, last)),
        blind=tuple(_blind(host, wanted, last)),
    )


def _saved(host: Host, backend: Backend) -> str:
    loader = persistence.loader(host, backend)
    if loader is None:
        return (
            persistence.UNIT_NAME
            if host.has_systemd()
            else "nothing: no systemd and no loader of saved rules is here"
        )
    files = ", ".join(str(path) for path in loader.files.values())
    if isinstance(backend, Iptables) and any(saved.only_ours(backend.last(one)) for one in backend.save):
        return f"{files} (only our rules: a program here writes its own as it runs)"
    return files


def _differences(backend: Backend, found: Snapshot | None, unknown: str) -> tuple[str, ...]:
    if found is None:
        return (unknown or "there is no last answer to compare them with",)
    closed = () if found.answered else ("closed to all but DROPLAN_ALLOW: no answer has named the peers yet",)
    return (*drift(backend, found.policy), *closed)


def _astray(backend: Backend, last: report.Report | None, host: Host) -> list[str]:
    strays = choose.strays(backend, last.backend if last else None, host)
    return [
        f"rules of ours also stand in {stray.name}"
        for stray in strays
        if isinstance(stray, Iptables) and stray.plan(Policy(()))
    ]


def render(status: Status, now: float) -> str:
    """Lay the status out for a person."""
    age = "never" if status.snapshot_age is None else f"{_ago(status.snapshot_age)} ago"
    rows = [
        ("interface", ", ".join(status.interfaces) or "none yet"),
        ("backend", status.backend),
        ("peers", ", ".join(f"{count} in {chain}" for chain, count in status.peers.items()) or "none known"),
        ("last answer", age),
        ("last refresh", status.last),
        (
            "next refresh",
            f"in {_ago(status.next_run - now)}" if status.next_run else "not scheduled: run `droplan install`",
        ),
        ("saved in", status.saved),
        ("rules", "as they should be" if not status.drift else "DRIFT: run `droplan refresh`"),
        *(("", line) for line in status.drift),
        *(("problem", line) for line in status.problems),
        *(("blind", line) for line in status.blind),
    ]
    return "".join(
        f"{'' if number else name:<13} {line}\n"
        for name, text in rows
        for number, line in enumerate(textwrap.wrap(_printable(text), _WIDTH - 14))
    )


def _printable(text: str) -> str:
    """Take out what a terminal would obey: some of it was said by others, or read from files and rulesets."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _problems(host: Host, last: report.Report | None) -> list[str]:
    found = []
    if last and last.error:
        found.append(last.error)
    failed = host.files.read(paths.BOOTSTRAP_FAILED)
    if failed:
        found.append(f"the bootstrap failed: {failed.decode(errors='replace').strip()}")
    if host.files.exists(paths.UNFINISHED):
        found.append("an install has not ended; the schedule goes on with it, or run `droplan install` now")
    return found


def _blind(host: Host, wanted: Settings, last: report.Report | None) -> list[str]:
    if not wanted.shared:
        return []
    found = list(shared.blind(host.files, wanted.shared, host.clock.time()))
    if not found and last and last.error:
        found.append("the last refresh could not read the fleet's list: the rules are those of the one before")
    return found


def _last(last: report.Report | None, now: float) -> str:
    if last is None:
        return "never"
    return f"{last.result}, {_ago(now - last.time)} ago, took {last.duration:.1f} s"


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
