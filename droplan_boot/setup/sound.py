"""Gather, through the doors of ``Host``, what ``state.soundness`` decides upon. It looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from droplan_boot import paths
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.errors import CommandError, DroplanError
from droplan_boot.firewall import saved, tables
from droplan_boot.firewall.enforcement import Enforcement
from droplan_boot.host import links
from droplan_boot.host.doors import Host
from droplan_boot.host.services import Services
from droplan_boot.setup import loaders, nft_include, persistence, schedule, watcher
from droplan_boot.state import soundness
from droplan_boot.state.problems import Problem, problem
from droplan_boot.state.snapshot import Snapshot
from droplan_boot.state.soundness import Unit

_SHADOW: Final = Path("/etc/shadow")
_PAM: Final = (Path("/etc/pam.d/cron"), Path("/etc/pam.d/crond"))
_ANY_PORT: Final = 40_000
"""A port that no program's rule lets in by name: what becomes of it is what becomes of everything."""

_LIST_S: Final = 20.0


def problems(
    host: Host, interval: int | None, found: Snapshot | None, how: Enforcement | None, *, watched: bool
) -> Iterator[Problem]:
    """List what would keep droplan from going on, and what keeps peers out although our rules are right.

    Args:
        host: this machine.
        interval: minutes between two runs; None when the settings do not tell.
        found: what is enforced, if known.
        how: how rules are written, if that can be told.
        watched: whether the watcher is to run, as far as the settings tell.
    """
    yield from soundness.schedule(_schedule(host, interval, found))
    yield from soundness.daemon(_cron(host))
    if any(host.files.exists(path) for path in _PAM):
        shadow = (host.files.read(_SHADOW) or b"").decode(errors="replace")
        yield from soundness.password(shadow, host.clock.time())
    wrong = watcher.UNIT.problem(Services(host)) if watched and host.has_systemd() else None
    if wrong:
        yield problem("unwatched", name=watcher.UNIT.name, what=wrong)
    observing = found is not None and found.policy.observe
    if how and observing:
        how = Enforcement(how.guard, None)  # there is none, and nothing is saved or loaded for it
    if how and not (observing and not host.has_systemd()):  # what only notes waits for the next run, if nothing else
        yield from _boot(host, how, found.policy if found else None)
    if found:
        there = {link.name: link.enslaved for link in links.links(host.files)}
        names = [name for segment in found.policy.segments for name in segment.interfaces]
        yield from soundness.cards(tuple(dict.fromkeys(names)), there)
        yield from _refusals(host, found.policy, door=how is not None and how.door is not None)


def _schedule(host: Host, interval: int | None, found: Snapshot | None) -> dict[str, str | None]:
    """Say what is wrong with each file of the schedule; where the minute is not known, any will do."""
    wrong = {str(paths.PROGRAM): None if host.files.exists(paths.PROGRAM) else "missing"}
    wrong[str(paths.REFRESH)] = host.files.problem(paths.REFRESH, schedule.REFRESH.encode(), 0o755)
    data = host.files.read(paths.CRON)
    if data is not None and (interval is None or found is None or not found.answered):
        scheduled = schedule.next_run(data.decode(errors="replace"), host.clock.time()) is not None
        wrong[str(paths.CRON)] = None if scheduled else "altered"
    else:
        text = schedule.cron(interval or 5, found.droplet_id if found else 0)
        wrong[str(paths.CRON)] = host.files.problem(paths.CRON, text.encode(), 0o644)
    return wrong


def _cron(host: Host) -> Unit | None:
    services = Services(host)
    if not host.has_systemd():
        running = [name for name in schedule.CRONS if services.running(name)]
        return Unit(running[0], "enabled", True) if running else Unit("cron", "enabled", False)
    found = [_unit(services, name) for name in schedule.CRONS]
    there = [unit for unit in found if unit.state not in ("", "not-found")]
    return max(there, key=lambda unit: unit.active, default=None)


def _unit(services: Services, name: str) -> Unit:
    return Unit(name, services.state(name), services.active(name))


def _boot(host: Host, how: Enforcement, policy: Policy | None) -> Iterator[Problem]:
    services = Services(host)
    loader = loaders.loader(host, how.door)
    systemd = host.has_systemd()
    names = (persistence.UNIT_NAME, *(loader.loaders if loader else ()))
    units = [Unit(name, services.state(name), True) for name in names] if systemd else []
    unit = host.files.problem(persistence.UNIT, persistence.UNIT_TEXT.encode(), 0o644)
    yield from soundness.boot(units, {str(persistence.UNIT): unit}, systemd=systemd, loader=loader is not None)
    if loader and policy and how.door:
        for version in how.door.save:
            data = host.files.read(loader.files[version])
            text = None if data is None else data.decode(errors="surrogateescape")
            ours = text is not None and saved.holds(text, how.door.wanted(policy, version, text))
            yield from soundness.saved(str(loader.files[version]), text, ours=ours)
    if systemd and (how.guard or how.name == "iptables-nft"):
        service = _unit(services, "nftables")
        for path, flushes in nft_include.FILES.items():
            loads = nft_include.loaded(host, path)
            if loads is not None:
                yield from soundness.nftables_conf(str(path), loads, service, flushes=flushes)


def _refusals(host: Host, policy: Policy, *, door: bool) -> Iterator[Problem]:
    if host.runner.which("nft") is None:
        return
    try:
        listed = host.runner.run(["nft", "-j", "list", "ruleset"], timeout=_LIST_S, check=False)
    except CommandError:
        return
    if listed.status != 0:
        return  # one that speaks no JSON, before 0.9: it cannot be told
    told: set[tuple[str, str]] = set()
    for segment in policy.segments:
        for card in segment.interfaces:
            for refusal in _refusing(listed.stdout, segment, card, xtables=not door):
                table = f"{refusal.family} {refusal.table}"
                if (table, card) not in told:
                    told.add((table, card))
                    yield from soundness.refused(table, refusal.chain, card, _origin(host, refusal))


def _refusing(text: str, segment: Segment, card: str, *, xtables: bool) -> tuple[tables.Refusal, ...]:
    ports = [_ANY_PORT] if segment.ports is None else [one.first for one in segment.ports if one.protocol == "tcp"]
    if not segment.peers or not ports:
        return ()
    try:
        return tables.refusals(text, card, segment.peers[0], ports[0] or _ANY_PORT, xtables=xtables)
    except ValueError:
        return ()


def _origin(host: Host, refusal: tables.Refusal) -> str:
    """Name the file that a table is from, as far as that can be seen."""
    for path in nft_include.FILES:
        try:
            data = host.files.read(path) or b""
        except DroplanError:
            continue
        if refusal.table.encode() in data:
            return str(path)
    return "the program that made it"
