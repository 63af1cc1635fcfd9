"""Put droplan in place on this machine, or back in place: each step looks first, and does only what is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from droplan_boot import learn, paths, persistence, refresh, schedule, settings, snapshot
from droplan_boot.digitalocean.http import Http
from droplan_boot.errors import DroplanError, NoAnswerError, TokenError
from droplan_boot.firewall import choose
from droplan_boot.host import distro, lock
from droplan_boot.host.machine import Host, require_root
from droplan_boot.host.packages import Packages, manager
from droplan_boot.host.services import Services
from droplan_boot.learn import Learned
from droplan_boot.settings import Settings

_BEGUN: Final = b"An install began and has not ended; the schedule goes on with it.\n"


@dataclass(frozen=True)
class Step:
    """One thing that has to be in place.

    Args:
        what: what it is, in words.
        missing: looks; returns what is wrong in a word or two, None when it is in place.
        put: puts it in place.
    """

    what: str
    missing: Callable[[], str | None]
    put: Callable[[], None]


@dataclass(frozen=True)
class Plan:
    """What an install works with, found out before anything is changed."""

    host: Host
    values: dict[str, str]
    settings: Settings
    here: learn.Here
    family: str
    program: bytes
    dry_run: bool


def run(host: Host, *, dry_run: bool = False) -> None:
    """Install, repair, or (``dry_run``) only say what would be done.

    Raises:
        DroplanError: a step failed. Those before it hold, and the schedule tries again.
    """
    require_root()
    values = settings.merged(host.environ, host.files)
    wanted = settings.parse(values)
    family = distro.detect().family
    http = Http()
    here = learn.where(http, wanted, host.runner)
    plan = Plan(host, values, wanted, here, family, program(), dry_run)
    try:
        answer: Learned | NoAnswerError = Learned(here, learn.who(http, wanted, here))
    except NoAnswerError as error:
        if isinstance(error, TokenError) and not wanted.fail_closed:
            raise  # only a person can mend it, so there is nothing for the schedule to go on with
        answer = error
    if isinstance(answer, Learned):
        refresh.spare_session(host, answer)
    if dry_run:
        for step in steps(plan):
            problem = step.missing()
            host.log.say(f"{step.what}: {f'{problem}, would be put in place' if problem else 'in place'}")
        return
    with lock.held(host.files.real(paths.LOCK), wait=refresh.LOCK_S):
        _install(plan, answer)


def _install(plan: Plan, answer: Learned | NoAnswerError) -> None:
    host = plan.host
    host.files.write(paths.UNFINISHED, _BEGUN, 0o600)
    for step in steps(plan):
        problem = step.missing()
        if problem:
            step.put()
        host.log.say(f"{step.what}: {f'put in place (was {problem})' if problem else 'in place'}")
    if isinstance(answer, NoAnswerError):
        refresh.failed(host, answer)
        if plan.settings.fail_closed and not _knows_peers(plan):
            refresh.close(host, plan.settings, plan.here)
        raise answer
    refresh.now(host, plan.settings, answer)
    host.files.remove(paths.UNFINISHED)
    host.files.remove(paths.BOOTSTRAP_FAILED)


def _knows_peers(plan: Plan) -> bool:
    """Whether an earlier answer is there; one of another Droplet, whose image we run, does not count."""
    found = snapshot.load(plan.host.files)
    return found is not None and found.droplet_id == plan.here.machine.droplet_id


def steps(plan: Plan) -> Iterator[Step]:
    """List the steps; each is made when its turn comes, for it may depend on what the ones before put in place."""
    yield _file(plan, "settings", paths.SETTINGS, settings.render(plan.values), 0o600)
    yield _file(plan, "program", paths.PROGRAM, plan.program, 0o755)
    yield _file(plan, "refresh script", paths.REFRESH, schedule.REFRESH.encode(), 0o755)
    cron = schedule.cron(plan.settings.interval, plan.here.machine.droplet_id)
    yield _file(plan, "schedule", paths.CRON, cron.encode(), 0o644)
    packages = manager(plan.family, plan.host.runner)
    yield from _package_steps(plan, packages)
    yield from _service_steps(plan)


def program() -> bytes:
    """Read the zipapp that is running and have it start with the interpreter that runs it now.

    Raises:
        DroplanError: droplan does not run from a zipapp.
    """
    archive = Path(sys.argv[0])
    try:
        data = archive.read_bytes()
    except OSError:
        data = b""
    shebang, newline, rest = data.partition(b"\n")
    if not shebang.startswith(b"#!") or not rest.startswith(b"PK"):
        raise DroplanError("install works from the zipapp only: build it with script/build and run dist/droplan.pyz")
    return b"#!" + interpreter().encode() + b" -IS" + newline + rest


def interpreter() -> str:
    """Name the Python that cron is to use: the distribution's python3 if it is the one we run on, else our own path.

    The general name survives an upgrade of the distribution; the particular one may not.
    """
    general = Path("/usr/bin/python3")
    own = Path(sys.executable)
    return str(general if general.exists() and general.resolve() == own.resolve() else own)


def _file(plan: Plan, what: str, path: Path, data: bytes, mode: int) -> Step:
    files = plan.host.files
    return Step(f"{what} {path}", lambda: files.problem(path, data, mode), lambda: files.write(path, data, mode))


def _package_steps(plan: Plan, packages: Packages) -> Iterator[Step]:
    for names in _needed(plan, packages):
        missing = packages.missing(names)
        yield Step(
            f"packages {', '.join(names)}",
            lambda missing=missing: f"missing {', '.join(missing)}" if missing else None,  # type: ignore[misc]
            lambda missing=missing: packages.install(missing),  # type: ignore[misc]
        )


def _needed(plan: Plan, packages: Packages) -> Iterator[list[str]]:
    """Name the packages; the one that loads saved rules at boot only where installing it takes nothing away."""
    nft = plan.settings.backend == "nftables"
    if plan.family == "debian":
        wanted = ["iptables-persistent", "cron"]
        if packages.missing(wanted) and not plan.dry_run:
            packages.update()
        if nft or plan.host.runner.which("ufw") or not _available(packages, "iptables-persistent"):
            wanted = ["nftables" if nft else "iptables", "cron"]
        yield wanted


def _available(packages: Packages, name: str) -> bool:
    return not packages.missing([name]) or packages.offers(name)


def _service_steps(plan: Plan) -> Iterator[Step]:
    host = plan.host
    services = Services(host)
    yield _service(services, "cron" if plan.family == "debian" else "crond")
    backend = choose.choose(plan.settings.backend, host.runner, ipv6=choose.has_ipv6()).backend
    saved = persistence.loader(host, backend)
    if saved:
        yield _service(services, saved.loader, start=False)
    elif host.has_systemd():
        yield _file(plan, "unit", persistence.UNIT, persistence.UNIT_TEXT.encode(), 0o644)
        yield _service(services, persistence.UNIT_NAME, start=False)


def _service(services: Services, name: str, *, start: bool = True) -> Step:
    return Step(
        f"service {name}",
        lambda: services.problem(name, start=start),
        lambda: services.enable(name, start=start),
    )
