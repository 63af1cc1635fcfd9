"""Tell a person at 3 a.m. how things stand: one screen, plain words, the next step."""

from __future__ import annotations

import json
import sys
import textwrap
from dataclasses import asdict, dataclass
from typing import Final

from droplan_boot import paths, settings
from droplan_boot.access.policy import Policy
from droplan_boot.errors import EXIT_DONE, EXIT_DRIFT
from droplan_boot.firewall import choose
from droplan_boot.firewall.backend import Backend, drift
from droplan_boot.firewall.enforcement import Enforcement
from droplan_boot.firewall.iptables import Iptables
from droplan_boot.host.doors import Host
from droplan_boot.setup import persistence, schedule
from droplan_boot.state import backends, report, snapshot
from droplan_boot.state.snapshot import Snapshot

_WIDTH: Final = 80


@dataclass(frozen=True)
class Status:
    """How things stand.

    Args:
        interfaces: what is closed.
        backend: how the door is written, and why that way; ``nftables`` where the guard stands alone.
        guard: where the guard is, and why there.
        peers: how many may come in, by chain.
        snapshot_age: seconds since the last good answer; None when there was none.
        next_run: when cron refreshes next, seconds since the epoch; None when it is not scheduled.
        saved: how the rules outlive a reboot.
        last: how the last refresh went, in words.
        drift: how the kernel's rules differ from the last good answer's, a line each.
        problems: what else is wrong, a line each.
        warnings: what is not wrong and yet worth a look, a line each.
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
    guard: str = ""
    warnings: tuple[str, ...] = ()


def run(host: Host, *, as_json: bool = False) -> int:
    """Print the status.

    Returns:
        The exit code: 3 when the rules are not what they should be.

    Raises:
        DroplanError: it cannot be told.
    """
    host.require_root()
    status = look(host)
    sys.stdout.write(json.dumps(asdict(status), indent=1) + "\n" if as_json else render(status, host.clock.time()))
    return EXIT_DRIFT if status.drift else EXIT_DONE


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
        backend=f"{choice.backend.name} ({choice.door_why})",
        guard=f"{choice.backend.guarded_by} ({choice.guard_why})",
        peers={segment.chain: len(segment.peers) for segment in found.policy.segments} if found else {},
        snapshot_age=now - found.written if found and found.answered else None,
        next_run=schedule.next_run(cron, now),
        saved=_saved(host, choice.backend.door),
        last=_last(last, now),
        drift=(
            *_differences(choice.backend, found, snapshot.unknown(host.files)),
            *_astray(choice.backend, host),
        ),
        problems=tuple(_problems(host, last)),
        warnings=last.warnings if last else (),
    )


def _saved(host: Host, door: Iptables | None) -> str:
    saved = persistence.loader(host, door)
    files = [str(path) for path in saved.files.values()] if saved else []
    unit = [persistence.UNIT_NAME] if host.has_systemd() else []
    return ", ".join([*unit, *files]) or "nothing: no systemd and no loader of saved rules is here"


def _differences(backend: Backend, found: Snapshot | None, unknown: str) -> tuple[str, ...]:
    if found is None:
        return (unknown or "there is no last answer to compare them with",)
    closed = () if found.answered else ("closed to all but DROPLAN_ALLOW: no answer has named the peers yet",)
    return (*drift(backend, found.policy), *closed)


def _astray(current: Enforcement, host: Host) -> list[str]:
    strays = choose.strays(current, backends.load(host.files), host)
    return [f"rules of ours also stand in {stray.name}" for stray in strays if stray.plan(Policy(()))]


def render(status: Status, now: float) -> str:
    """Lay the status out for a person."""
    age = "never" if status.snapshot_age is None else f"{_ago(status.snapshot_age)} ago"
    rows = [
        ("interface", ", ".join(status.interfaces) or "none yet"),
        ("guard", status.guard),
        ("door", status.backend),
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
        *(("warning", line) for line in status.warnings),
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


def _last(last: report.Report | None, now: float) -> str:
    if last is None:
        return "never"
    return f"{last.result}, {_ago(now - last.time)} ago, took {last.duration:.1f} s"


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
