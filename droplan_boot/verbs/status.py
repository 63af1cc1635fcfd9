"""Tell a person at 3 a.m. how things stand: the verdict first, then why, one screen, the next step."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from droplan_boot import paths, settings
from droplan_boot.access import change
from droplan_boot.access.policy import Policy
from droplan_boot.errors import DroplanError
from droplan_boot.firewall import choose
from droplan_boot.firewall.backend import Backend, drift
from droplan_boot.firewall.enforcement import Enforcement
from droplan_boot.host import guests
from droplan_boot.host.doors import Host
from droplan_boot.settings import Settings
from droplan_boot.setup import persistence, schedule, sound
from droplan_boot.state import backends, blocked, report, shared, snapshot, soundness, watching
from droplan_boot.state.problems import Problem, exit_code, problem, worst
from droplan_boot.state.report import LastChange, Report
from droplan_boot.state.snapshot import Snapshot
from droplan_boot.verbs import budget, words

SCHEMA: Final = 1
_INTERVAL: Final = 5  # minutes, the setting's default
_HOUR_S: Final = 3600.0


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
    saved_by: str = ""
    snapshot_age: float | None = None
    next_run: float | None = None
    last: Report | None = None
    drift: tuple[str, ...] = ()
    shared_from: int | None = None
    blocked: int | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def exit_code(self) -> int:
        """What ``status`` ends with."""
        return exit_code(self.problems)


def run(host: Host, *, as_json: bool = False) -> int:
    """Print the status.

    Returns:
        The exit code: 3 when the rules are not what they should be, 5 when something else needs a person.

    Raises:
        DroplanError: it cannot be told.
    """
    host.require_root()
    status = look(host)
    if as_json:
        sys.stdout.write(json.dumps(document(status), indent=1) + "\n")
    else:
        sys.stdout.write(render(status, host.clock.time(), host.environ))
    return status.exit_code


def look(host: Host) -> Status:
    """Find out how things stand; change nothing."""
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
    saved = persistence.loader(host, choice.backend.door) if choice and not observing else None
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
        saved_by=" and ".join(saved.loaders) if saved else persistence.UNIT_NAME if host.has_systemd() else "",
        snapshot_age=age,
        next_run=next_run,
        last=last,
        shared_from=budget.shared_from(last, wanted.scope),
        blocked=_blocked(host, now),
        drift=differences,
        problems=(
            *_problems(host, wanted, found, last, differences, age, mistake=mistake),
            *(_astray(choice.backend, host) if choice else ()),
            *_passing_by(host, found),
            *(
                sound.problems(host, None if mistake else wanted.interval, found, choice.backend if choice else None)
                if _installed(host)
                else ()
            ),
        ),
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
    if heard.quarrel:
        yield problem("quarrel", program=heard.quarrel)
    if heard.missed:
        yield problem("cron-missed")


def _installed(host: Host) -> bool:
    """Whether droplan is to go on here by itself: its program and settings are where install puts them, or one is."""
    return host.files.exists(paths.PROGRAM) or host.files.exists(paths.SETTINGS)


def verdict(status: Status) -> tuple[str, str]:
    """Say in a word and a sentence how things stand."""
    wrong = worst(status.problems)
    if wrong:
        return wrong.verdict, wrong.sentence
    services = [entry for entry in status.allow if re.match("[a-z]", entry)]
    allowed = [
        f" and {count} allowed {what}{'' if count == 1 else 's'}"
        for count, what in ((len(status.allow) - len(services), "network"), (len(services), "service"))
        if count
    ]
    count = status.last.peers if status.last and status.last.peers is not None else sum(status.peers.values())
    droplets = f"{count} Droplet{'' if count == 1 else 's'}"
    verb = "is" if len(status.interfaces) == 1 else "are"
    return (
        "OK",
        f"{', '.join(status.interfaces)} {verb} open to {droplets}{''.join(allowed)}, closed to everyone else",
    )


def document(status: Status) -> dict[str, Any]:
    """Make the JSON document, docs/schemas/status.json: what is prose is only there to be shown."""
    word, sentence = verdict(status)
    return {
        "schema": SCHEMA,
        "verdict": word.lower().replace(" ", "-"),
        "sentence": sentence,
        "exit_code": status.exit_code,
        **{name: value for name, value in asdict(status).items() if name != "problems"},
        "problems": [asdict(one) for one in status.problems],
    }


def render(status: Status, now: float, environ: Mapping[str, str] | None = None) -> str:
    """Lay the status out for a person."""
    word, sentence = verdict(status)
    head = words.wrap(f"{word}  {words.printable(sentence)}", " " * (len(word) + 2))
    kind = "good" if word == "OK" else "bad" if word == "DRIFT" else "warn"
    head[0] = head[0].replace(word, words.colour(word, kind, environ or {}), 1)
    wrong = worst(status.problems)
    rows = [
        *([("next step", wrong.remedy)] if wrong else []),
        *_who(status),
        ("last answer", "never" if status.snapshot_age is None else f"{words.ago(status.snapshot_age)} ago"),
        ("last refresh", _last(status.last, now)),
        ("next refresh", f"in {words.ago(status.next_run - now)}" if status.next_run else "not scheduled"),
        ("last change", _change(status.last.change if status.last else None, now)),
        *([("guard", f"{status.guard} ({status.guard_why})")] if status.guard else []),
        ("door", _door(status)),
        ("reboot", _reboot(status)),
        *budget.rows(status.last, status.scope),
        *(
            [("blocked", f"{status.blocked} in the last hour (`droplan blocked` names who)")]
            if status.blocked is not None
            else []
        ),
        *(("drift", line) for line in status.drift),
        *(("problem", f"{one.sentence} -> {one.remedy}") for one in status.problems if one is not wrong),
    ]
    lines = [""]
    for name, text in rows:
        lines += words.wrap(f"{name:<13} {words.printable(text)}", " " * 14)
    return "\n".join([*head, *lines]) + "\n"


def _who(status: Status) -> Iterator[tuple[str, str]]:
    counts = ", ".join(f"{count} in {chain}" for chain, count in status.peers.items()) or "none known"
    wanted = Settings(scope=status.scope, tags=status.tags)
    yield "peers", f"{counts}: {words.because(wanted)}" if status.peers else counts
    yield "allowed", ", ".join(status.allow) or "nobody else"


def _last(last: Report | None, now: float) -> str:
    if last is None:
        return "never"
    return f"{last.result}, {words.ago(now - last.time)} ago, took {last.duration:.1f} s"


def _change(last: LastChange | None, now: float) -> str:
    if last is None:
        return "none since the first answer"
    who = [f"added {change.listed(last.added)}"] if last.added else []
    who += [f"removed {change.listed(last.removed)}"] if last.removed else []
    more = f" and {last.more} more" if last.more else ""
    return f"{words.ago(now - last.time)} ago: {'; '.join(who)}{more}"


def _door(status: Status) -> str:
    if status.mode == "observe":
        return "none while droplan only observes"
    return f"{status.backend} ({status.backend_why})" if status.backend else status.backend_why


def _reboot(status: Status) -> str:
    if not status.saved_by:
        return "nothing survives: no systemd and no loader of saved rules is here"
    if not status.saved:
        return f"{status.saved_by} restores the last answer"
    return f"{status.saved_by} loads {', '.join(status.saved)}"
