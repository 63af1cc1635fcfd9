"""Tell who was shut out, and who that is."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Final

from droplan_boot import paths, settings
from droplan_boot.errors import UsageError
from droplan_boot.flow import learn
from droplan_boot.host.doors import Host
from droplan_boot.host.services import Services
from droplan_boot.plural import counted
from droplan_boot.settings import Settings
from droplan_boot.setup import watcher
from droplan_boot.state import blocked, snapshot
from droplan_boot.state.blocked import Blocked, Source
from droplan_boot.verbs import words

SCHEMA: Final = 1

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WHY: Final = {
    "region": "a Droplet of yours in another region (DROPLAN_SCOPE)",
    "vpc": "a Droplet of yours in another VPC (DROPLAN_SCOPE)",
    "account": "a Droplet of yours",
    "tag": "a Droplet of yours without the tag (DO_TAG)",
    "peer": "a peer, for what peers may not reach, or before it was one",
}


def run(host: Host, *, since: str = "", as_json: bool = False) -> None:
    """Print them, the last seen first.

    Args:
        host: this machine.
        since: such as ``1h``: only who was seen within that; "" for all.
        as_json: for programs.

    Raises:
        UsageError: ``since`` is no time.
        DroplanError: it cannot be read.
    """
    host.require_root()
    now = host.clock.time()
    found = look(host, now - seconds(since) if since else 0.0)
    if as_json:
        sys.stdout.write(json.dumps({"schema": SCHEMA, **asdict(found)}, indent=1) + "\n")
        return
    wanted, _ = settings.tolerant(host.environ, host.files)
    blind = _blind(host, wanted)
    sys.stdout.write(render(found, now, learn.only_tag(wanted), since=since, blind=blind, hint=host.hint))


def _blind(host: Host, wanted: Settings) -> str:
    """Say why nobody notes who is shut out now; "" where somebody does, as far as that can be told."""
    if not host.files.exists(paths.PROGRAM):
        return "droplan is not installed here"
    if not wanted.watch:
        return "DROPLAN_WATCH=false does without the watcher"
    if not host.has_systemd():
        # Where somebody runs it by hand, it wrote when it noted the first.
        return "" if host.files.exists(paths.BLOCKED) else "no systemd runs here, which would start the watcher"
    wrong = watcher.UNIT.problem(Services(host))
    return f"{watcher.UNIT.name} is {wrong}; `droplan install` starts it" if wrong else ""


def seconds(text: str) -> int:
    """Read a time such as ``90s``, ``10m``, ``1h`` or ``7d``.

    Raises:
        UsageError: it is none.
    """
    number = re.fullmatch(r"([0-9]{1,6})([smhd])", text, re.ASCII)
    if not number:
        raise UsageError(f"--since {ascii(text)[1:-1]:.40} is no time: write such as 30s, 10m, 1h or 7d")
    return int(number[1]) * _UNITS[number[2]]


def look(host: Host, start: float) -> Blocked:
    """Find who was shut out since a moment (seconds since the epoch), with the names that are known."""
    found = blocked.load(host.files)
    last = snapshot.load(host.files)
    peers = {
        str(address): droplet.name
        for droplet in (last.peers if last else ())
        for address in (*droplet.private, *droplet.public)
    }
    return replace(found, sources=tuple(_named(each, peers) for each in found.sources if each.last >= start))


def _named(source: Source, peers: dict[str, str]) -> Source:
    return replace(source, name=peers[source.source], why="peer") if source.source in peers else source


def render(
    found: Blocked,
    now: float,
    tag: str | None,
    *,
    since: str = "",
    blind: str = "",
    hint: Callable[[str], str] = str,
) -> str:
    """Lay it out for a person.

    Args:
        found: who was shut out.
        now: seconds since the epoch.
        tag: the one tag whose Droplets are all that refreshes see; None where they see all of the account.
        since: how far back it looks, as it was asked; "" for all the way.
        blind: why nobody notes who is shut out now; "" where somebody does.
        hint: names commands as they are found here.
    """
    within = f" in the last {since}" if since else ""
    if not found.sources:
        unknown = f"Nobody was noted{within}, but that says nothing: {blind}"
        return "\n".join(words.wrap(hint(unknown) if blind else f"Nobody was shut out{within}.")) + "\n"
    verb = "would have been shut out" if all(each.observed for each in found.sources) else "shut out"
    count = len(found.sources)
    sampled = "; packets are samples, at least one a second for each" if found.sampled else ""
    lines = words.wrap(f"{counted(count, 'source')} {verb}, the last first{sampled}")
    lines += words.wrap(hint(f"Whom it shuts out now nobody notes: {blind}")) if blind else []
    lines.append("")
    for line in (line for each in found.sources for line in _lines(each, now, tag)):
        lines += words.wrap(hint(words.one_line(line)), " " * (8 if line.startswith(" ") else 4))
    return "".join(f"{line}\n" for line in lines)


def _lines(source: Source, now: float, tag: str | None) -> Iterator[str]:
    name = f" {source.name}" if source.name else ""
    yield f"{source.source}{name}: {_who(source, tag)}"
    asked = ", ".join(f"{each.service} ({each.packets})" for each in source.services)
    passed = ", passed: droplan only observes" if source.observed else ""
    by = source.interface or "an interface that is gone"
    yield f"    {counted(source.packets, 'packet')} by {by}{passed}: {asked}"
    yield f"    first {_when(source.first)}, last {_when(source.last)} ({words.ago(now - source.last)} ago)"


def _who(source: Source, tag: str | None) -> str:
    if source.why:
        return _WHY.get(source.why, f"a Droplet of yours ({source.why})")
    if source.public:
        return f"on the public network, no Droplet of yours{f' with the tag {tag}' if tag else ''}"
    if source.source.startswith("fe80:"):
        return "a neighbour on the link, by its link-local address"
    if tag:
        return f"no Droplet with the tag {tag} (DO_TAG); `droplan explain {source.source}` says whether it is yours"
    return "no Droplet that the account lists to us: another account's, a load balancer or a database (DROPLAN_ALLOW)"


def _when(epoch: float) -> str:
    try:
        return time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(epoch))
    except (ValueError, OverflowError, OSError):
        return "?"
