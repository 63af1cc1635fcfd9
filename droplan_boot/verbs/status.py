"""Tell a person at 3 a.m. how things stand: the verdict first, then why, one screen, the next step."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from droplan_boot.access import change
from droplan_boot.host.doors import Host
from droplan_boot.plural import counted
from droplan_boot.settings import Settings
from droplan_boot.state.problems import worst
from droplan_boot.state.report import LastChange, Report
from droplan_boot.verbs import budget, standing, words
from droplan_boot.verbs.standing import Status

SCHEMA: Final = 1


def run(host: Host, *, as_json: bool = False) -> int:
    """Print the status.

    Returns:
        The exit code: 3 when the rules are not what they should be, 5 when something else needs a person.

    Raises:
        DroplanError: it cannot be told.
    """
    host.require_root()
    status = standing.settled(host)
    if as_json:
        sys.stdout.write(host.hint(json.dumps(document(status), indent=1) + "\n"))
    else:
        sys.stdout.write(render(status, host.clock.time(), host.environ, host.hint))
    return status.exit_code


def verdict(status: Status) -> tuple[str, str]:
    """Say in a word and a sentence how things stand."""
    wrong = worst(status.problems)
    if wrong:
        return wrong.verdict, wrong.sentence
    services = [entry for entry in status.allow if re.match("[a-z]", entry)]
    allowed = [
        f" and {counted(count, f'allowed {what}')}"
        for count, what in ((len(status.allow) - len(services), "network"), (len(services), "service"))
        if count
    ]
    count = status.last.peers if status.last and status.last.peers is not None else sum(status.peers.values())
    droplets = counted(count, "Droplet")
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


def render(
    status: Status,
    now: float,
    environ: Mapping[str, str] | None = None,
    hint: Callable[[str], str] = str,
) -> str:
    """Lay the status out for a person.

    Args:
        status: how things stand.
        now: seconds since the epoch.
        environ: the environment, which may want no colour.
        hint: names commands as they are found here.
    """
    word, sentence = verdict(status)
    head = words.wrap(f"{word}  {words.printable(hint(sentence))}", " " * (len(word) + 2))
    kind = "good" if word == "OK" else "bad" if word == "DRIFT" else "warn"
    head[0] = head[0].replace(word, words.colour(word, kind, environ or {}), 1)
    wrong = worst(status.problems)
    rows = [
        *([("next step", wrong.remedy)] if wrong else []),
        *(("drift", line) for line in status.drift),
        *(("problem", f"{one.sentence} -> {one.remedy}") for one in status.problems if one is not wrong),
        *_who(status),
        ("last answer", "never" if status.snapshot_age is None else f"{words.ago(status.snapshot_age)} ago"),
        ("last refresh", _last(status.last, now)),
        ("next refresh", _next(status, now)),
        ("last change", _change(status.last.change if status.last else None, now)),
        *([("guard", f"{status.guard} ({status.guard_why})")] if status.guard else []),
        ("door", _door(status)),
        ("reboot", _reboot(status)),
        *budget.rows(status.last, status.scope),
        *(
            [("blocked", f"{counted(status.blocked, 'source')} in the last hour (`droplan blocked` names who)")]
            if status.blocked is not None
            else []
        ),
    ]
    lines = [""]
    for name, text in rows:
        lines += words.wrap(f"{name:<13} {words.printable(hint(text))}", " " * 14)
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


def _next(status: Status, now: float) -> str:
    scheduled = f"in {words.ago(status.next_run - now)}" if status.next_run else "not scheduled"
    return f"{scheduled}, or when a new Droplet knocks (the watcher hears it)" if status.watched else scheduled


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
    by = [status.restored_by, status.saved_by if status.saved else ""]
    if not any(by):
        return "nothing survives: no unit of droplan's and no loader of saved rules is here"
    files = f" ({', '.join(status.saved)})" if status.saved else ""
    return f"rules come back by {', '.join(filter(None, by))}{files}"
