"""Find out how things stand; change nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from droplan_boot import paths, settings
from droplan_boot.access.policy import Policy
from droplan_boot.errors import DroplanError, LockedError
from droplan_boot.firewall import choose
from droplan_boot.firewall.backend import Backend, drift
from droplan_boot.firewall.enforcement import Enforcement
from droplan_boot.host import guests, lock
from droplan_boot.host.doors import Host
from droplan_boot.settings import Settings
from droplan_boot.setup import loaders, persistence, schedule, sound
from droplan_boot.state import backends, blocked, report, shared, snapshot, soundness, watching
from droplan_boot.state.problems import Problem, exit_code, problem
from droplan_boot.state.report import Report
from droplan_boot.state.snapshot import Snapshot
from droplan_boot.verbs import budget, words

_INTERVAL: Final = 5  # minutes, the setting's default
_HOUR_S: Final = 3600.0
_LOCK_S: Final = 10.0
_PASSING: Final = ("drift", "stray", "saved-other")
"""What is to be seen for a moment while another droplan writes."""


@dataclass(frozen=True)
class Status:
    """How things stand.

    Args:
        interfaces: what is closed.
        peers: how many addresses of peers may come in, by chain.
        allow: the entries of DROPLAN_ALLOW.
        scope: DROPLAN_SCOPE.
        tags: DO_TAG.
        mode: ``enforce`` or ``observe``.
        backend: how the door is written, ``nftables`` where the guard stands alone; "" when that cannot be told.
        backend_why: why that way.
        guard: where the guard is; "" when that cannot be told.
        guard_why: why there.
        saved: the files that outlive a reboot; none where our unit restores the snapshot.
        restored_by: our unit that writes the last answer's rules at boot; "" where it is not there.
        saved_by: what loads them, or our unit; "" for nothing.
        snapshot_age: seconds since the last good answer; None when there was none.
        next_run: when cron refreshes next, seconds since the epoch; None when it is not scheduled.
        last: how the last refresh went; None when there was none.
        drift: how the kernel's rules differ from the last good answer's, a line each.
        shared_from: from how many Droplets on the API's limits call for a longer interval; None where not known.
        blocked: how many strangers were noted in the last hour; None where no watcher runs.
        problems: what is wrong.
    """

    interfaces: tuple[str, ...] = ()
    peers: Mapping[str, int] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    scope: str = "region"
    tags: tuple[str, ...] = ()
    mode: str = "enforce"
    backend: str = ""
    backend_why: str = ""
    guard: str = ""
    guard_why: str = ""
    saved: tuple[str, ...] = ()
    restored_by: str = ""
    saved_by: str = ""
    snapshot_age: float | None = None
    next_run: float | None = None
    watched: bool = False
    last: Report | None = None
    drift: tuple[str, ...] = ()
    shared_from: int | None = None
    blocked: int | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def exit_code(self) -> int:
        """What ``status`` ends with."""
        return exit_code(self.problems)


def settled(host: Host) -> Status:
    """Find out how things stand when no droplan is at work: half way, a refresh's rules are not the snapshot's."""
    found = look(host)
    if not any(one.code in _PASSING for one in found.problems) or not host.files.exists(paths.WRITING):
        return found
    try:
        with lock.held(host.files.real(paths.WRITING), wait=_LOCK_S):
            return look(host)
    except LockedError:
        return found


def look(host: Host) -> Status:
    """Find out how things stand at this moment; change nothing."""
    now = host.clock.time()
    wanted, mistake = settings.tolerant(host.environ, host.files)
    found = snapshot.load(host.files)
    last = report.load(host.files)
    cron = (host.files.read(paths.CRON) or b"").decode(errors="replace")
    next_run = schedule.next_run(cron, max(now, (last.not_before if last else None) or 0.0))
    choice, unwritable = _choice(host, wanted)
    segments = found.policy.segments if found else ()
    differences = _differences(choice.backend, found) if choice else ()
    age = now - found.written if found and found.answered else None
    observing = found is not None and found.policy.observe
    saved = loaders.loader(host, choice.backend.door) if choice and not observing else None
    unit = persistence.UNIT_NAME if host.has_systemd() and host.files.exists(persistence.UNIT) else ""
    problems = (
        *_problems(host, wanted, found, last, differences, age, mistake=mistake),
        *(_astray(choice.backend, host) if choice else ()),
        *_passing_by(host, found),
        *(
            sound.problems(
                host,
                None if mistake else wanted.interval,
                found,
                choice.backend if choice else None,
                watched=not mistake and wanted.watch,
            )
            if _installed(host)
            else ()
        ),
    )
    heard = host.has_systemd() and _installed(host) and not mistake and wanted.watch
    return Status(
        interfaces=tuple(name for segment in segments for name in segment.interfaces),
        peers={segment.chain: len(segment.peers) for segment in segments},
        allow=tuple(dict.fromkeys(str(entry) for segment in segments for entry in segment.allow)),
        scope=wanted.scope,
        tags=wanted.tags,
        mode=last.mode if last else "enforce",
        backend=choice.backend.name if choice else "",
        backend_why=choice.door_why if choice else unwritable,
        guard=choice.backend.guarded_by if choice else "",
        guard_why=choice.guard_why if choice else "",
        saved=tuple(str(path) for path in saved.files.values()) if saved else (),
        restored_by=unit,
        saved_by=" and ".join(saved.loaders) if saved else unit,
        snapshot_age=age,
        next_run=next_run,
        watched=heard and not any(one.code == "unwatched" for one in problems),
        last=last,
        shared_from=budget.shared_from(last, wanted.scope),
        blocked=_blocked(host, now),
        drift=differences,
        problems=problems,
    )


def _blocked(host: Host, now: float) -> int | None:
    """Count who was shut out in the last hour; None where no watcher has noted anybody."""
    if not host.files.exists(paths.BLOCKED):
        return None
    return sum(now - one.last <= _HOUR_S for one in blocked.load(host.files).sources)


def _choice(host: Host, wanted: Settings) -> tuple[choose.Choice | None, str]:
    try:
        return choose.choose(wanted.backend, host), ""
    except DroplanError as error:
        return None, str(error)


def _differences(backend: Backend, found: Snapshot | None) -> tuple[str, ...]:
    return drift(backend, found.policy) if found else ()


def _astray(current: Enforcement, host: Host) -> Iterator[Problem]:
    for stray in choose.strays(current, backends.load(host.files), host):
        if stray.plan(Policy(())):
            yield problem("stray", backend=stray.name)


def _passing_by(host: Host, found: Snapshot | None) -> Iterator[Problem]:
    segments = found.policy.segments if found else ()
    private = (name for segment in segments if not segment.public for name in segment.interfaces)
    names = ", ".join(guests.guests(host.files, private))
    if names:
        yield problem("guests", names=names)


def _problems(
    host: Host,
    wanted: Settings,
    found: Snapshot | None,
    last: Report | None,
    differences: tuple[str, ...],
    age: float | None,
    *,
    mistake: DroplanError | None,
) -> Iterator[Problem]:
    installed = _installed(host)
    version = snapshot.unknown(host.files)
    if differences:
        yield problem("drift", what=differences[0])
    if version is not None:
        yield problem("unknown-snapshot", version=version)
    elif installed and (found is None or not found.answered):
        yield problem("unanswered")
    if not installed:
        yield problem("not-installed")
    if last and last.mode == "observe":
        yield problem("observing")
    if wanted.shared:
        blinded = bool(last and last.error)
        for why in shared.blind(host.files, wanted.shared, host.clock.time(), failed=blinded):
            yield problem("fleet", what=why)
    yield from soundness.stale(age, (last.interval if last else None) or _INTERVAL, words.ago(age or 0))
    if mistake:
        yield problem("settings-mistake", mistake=mistake)
    if last and last.error and last.error != str(mistake):
        yield problem("failed", error=last.error)
    if not mistake and found and found.settings not in ("", settings.fingerprint(host.files)):
        yield problem("settings-unapplied")
    for warning in last.warnings if last else ():
        yield problem("name", what=warning)
    failed = host.files.read(paths.BOOTSTRAP_FAILED)
    if failed:
        yield problem("bootstrap-failed", error=failed.decode(errors="replace").strip())
    if host.files.exists(paths.UNFINISHED):
        yield problem("unfinished")
    heard = watching.load(host.files) if host.has_systemd() else watching.Watching()
    if heard.quarrels(last.succeeded if last else None):
        yield problem("quarrel", program=heard.quarrel)
    if heard.missed:
        yield problem("cron-missed")


def _installed(host: Host) -> bool:
    """Whether droplan is to go on here by itself: its program and settings are where install puts them, or one is."""
    return host.files.exists(paths.PROGRAM) or host.files.exists(paths.SETTINGS)
