"""What the schedule puts back besides rules: what runs it, and what brings the rules back at boot.

It is part of what ``setup.steps`` installs, as far as that can be put back without network and packages.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from droplan_boot import paths
from droplan_boot.errors import DroplanError
from droplan_boot.firewall.iptables import Iptables
from droplan_boot.host.doors import Host
from droplan_boot.host.services import Services
from droplan_boot.setup import loaders, nft_include, persistence, schedule, watcher


def put_back(
    host: Host, door: Iptables | None, interval: int, droplet_id: int | None, *, watched: bool
) -> Iterator[str]:
    """Put back what is gone or altered of schedule, loader and units, and the guard's include in nftables.conf.

    Args:
        host: this machine.
        door: how rules of ip(6)tables are written here, if they are.
        interval: minutes between two runs.
        droplet_id: this Droplet's number; None when it is not known, and with it the minute in cron's file.
        watched: whether the watcher is to run.

    Yields:
        A line for each thing that was put back, or that could not be.
    """
    yield from _file(host, paths.REFRESH, schedule.REFRESH.encode(), 0o755)
    if droplet_id is not None:
        yield from _file(host, paths.CRON, schedule.cron(interval, droplet_id).encode(), 0o644)
    cron = _cron(host)
    if cron:
        yield from _service(host, cron, start=True)
    loader = loaders.loader(host, door)
    for name in loader.loaders if loader else ():
        yield from _service(host, name, start=False)
    if host.has_systemd():
        yield from _file(host, persistence.UNIT, persistence.UNIT_TEXT.encode(), 0o644)
        yield from _service(host, persistence.UNIT_NAME, start=False)
        yield from _include(host)
        if watched:
            unit, services = watcher.UNIT, Services(host)
            yield from _again(unit.name, unit.problem(services), lambda: unit.put(services))


def _cron(host: Host) -> str | None:
    """Name the cron that is installed here; None where there is none, or where no systemd is and one runs."""
    services = Services(host)
    if host.has_systemd():
        return next((name for name in schedule.CRONS if services.state(name) not in ("", "not-found")), None)
    if any(services.running(name) for name in schedule.CRONS):
        return None
    return next((name for name in schedule.CRONS if host.runner.which(name)), None)


def _include(host: Host) -> Iterator[str]:
    """Put the include back: since install, an nftables.conf that flushes may have come, or its service be enabled."""
    if not host.files.exists(paths.RULES) or nft_include.problem(host) is None:
        return
    if Services(host).problem(nft_include.SERVICE, start=False) is not None:
        return  # nothing loads that file
    try:
        for path in nft_include.put(host):
            yield f"Put the guard's include back into {path}, which flushes the ruleset"
    except DroplanError as error:
        yield f"The guard's include in nftables.conf cannot be put back: {error}"


def _file(host: Host, path: Path, data: bytes, mode: int) -> Iterator[str]:
    try:
        problem = host.files.ensure(path, data, mode)
    except DroplanError as error:
        yield f"{path} cannot be put back: {error}"
        return
    if problem:
        yield f"Put {path} back (was {problem})"


def _service(host: Host, name: str, *, start: bool) -> Iterator[str]:
    services = Services(host)
    yield from _again(name, services.problem(name, start=start), lambda: services.enable(name, start=start))


def _again(name: str, problem: str | None, put: Callable[[], object]) -> Iterator[str]:
    if not problem:
        return
    try:
        put()
    except DroplanError as error:
        yield f"The service {name} is {problem}, and cannot be put back: {error}"
        return
    yield f"Put the service {name} back (was {problem})"
