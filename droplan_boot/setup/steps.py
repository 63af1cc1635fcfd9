"""What an installation consists of: steps that each look first, and do only what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from droplan_boot import paths, settings
from droplan_boot.access.here import Here
from droplan_boot.errors import CommandError, DroplanError, FirewallError
from droplan_boot.firewall import choose
from droplan_boot.firewall.enforcement import Enforcement
from droplan_boot.firewall.iptables import Iptables
from droplan_boot.host import firewalld, selinux
from droplan_boot.host.doors import Host
from droplan_boot.host.packages import Packages, manager
from droplan_boot.host.services import Services
from droplan_boot.settings import Settings
from droplan_boot.setup import comforts, loaders, nft_include, persistence, publishing, schedule, watcher
from droplan_boot.setup.daemon import Daemon

_LABELLED: Final = (paths.PROGRAM.parent, paths.SETTINGS.parent, paths.CRON, paths.STATE, paths.LOG)


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
    put: Callable[[], object]


@dataclass(frozen=True)
class Installation:
    """What an install works with, found out before anything is changed."""

    host: Host
    values: dict[str, str] = field(repr=False)  # the token is one of them
    settings: Settings
    here: Here
    family: str
    program: bytes
    dry_run: bool


def steps(installation: Installation) -> Iterator[Step]:
    """List the steps; each is made when its turn comes, for it may depend on what the ones before put in place."""
    yield _file(installation, "settings", paths.SETTINGS, settings.render(installation.values), 0o600)
    yield _file(installation, "program", paths.PROGRAM, installation.program, 0o755)
    yield from _comforts(installation)
    yield _file(installation, "refresh script", paths.REFRESH, schedule.REFRESH.encode(), 0o755)
    cron = schedule.cron(installation.settings.interval, installation.here.metadata.droplet_id)
    yield _file(installation, "schedule", paths.CRON, cron.encode(), 0o644)
    packages = manager(installation.family, installation.host)
    wanted = _debian(installation, packages) if installation.family == "debian" else _el(installation, packages)
    if installation.settings.shared and not installation.host.runner.which("openssl"):
        wanted = [*wanted, "openssl"]  # every image has it; a list that nobody can verify is worth nothing
    yield _package_step(packages, wanted)
    # Before anything that may have to wait for a reboot: the schedule ends what is left then.
    yield _service(Services(installation.host), "cron" if installation.family == "debian" else "crond")
    try:
        enforcement = choose.choose(installation.settings.backend, installation.host).backend
    except DroplanError:
        if not installation.dry_run:
            raise
        return  # the rest depends on packages that a dry run does not install
    if enforcement.door:
        yield _matches(installation, enforcement.door)
    yield from _service_steps(installation, enforcement, wanted)
    if installation.host.has_systemd():
        yield from _daemon(installation.host, "watcher", watcher.UNIT, wanted=installation.settings.watch)
        publishes = installation.host.files.exists(paths.PUBLISH)
        yield from _daemon(installation.host, "publisher", publishing.UNIT, wanted=publishes)
    if selinux.in_use(installation.host):
        yield Step(
            "SELinux labels",
            lambda: "wrong" if selinux.wrong(installation.host, _LABELLED) else None,
            lambda: selinux.restore(installation.host, _LABELLED),
        )


def _comforts(installation: Installation) -> Iterator[Step]:
    host = installation.host

    def gently(put: Callable[[], object]) -> Callable[[], None]:
        def tried() -> None:
            try:
                put()
            except DroplanError as error:
                host.log.say(f"{error} (all else works without it)")

        return tried

    yield Step(
        f"command {paths.LINK}",
        lambda: comforts.link_problem(host),
        gently(lambda: host.files.link(paths.LINK, paths.PROGRAM)),
    )
    if any(comforts.files(host)):
        yield Step(
            "folders of the manual page and the completions",
            lambda: comforts.folders_problem(host),
            gently(lambda: comforts.make_folders(host)),
        )
    for path, data in comforts.files(host):
        step = _file(installation, "manual page" if path.suffix == ".8" else "completion", path, data, 0o644)
        yield replace(step, put=gently(step.put))


def _file(installation: Installation, what: str, path: Path, data: bytes, mode: int) -> Step:
    files = installation.host.files
    return Step(f"{what} {path}", lambda: files.problem(path, data, mode), lambda: files.write(path, data, mode))


def _package_step(packages: Packages, wanted: Sequence[str]) -> Step:
    missing = packages.missing(wanted)
    return Step(
        f"packages {', '.join(wanted)}",
        lambda: f"missing {', '.join(missing)}" if missing else None,
        lambda: packages.install(missing),
    )


def _debian(installation: Installation, packages: Packages) -> Sequence[str]:
    """Name the packages; the one that loads saved rules at boot only where installing it takes nothing away."""
    # nft writes the guard. Its service stays as it is: it would load rules of its own, and flush everybody's first.
    # Where droplan only observes nothing is to be loaded at boot, and firewalld is to stay.
    nft = [] if installation.settings.backend == "iptables" else ["nftables"]
    bare = installation.host.runner.which("ufw") or installation.settings.observe
    if installation.settings.backend == "nftables":
        wanted = ["nftables", "cron"]
    else:
        wanted = ["iptables" if bare else "iptables-persistent", *nft, "cron"]
    # A dry run fetches no lists, without which nothing is on offer; every Debian and Ubuntu has these packages.
    if installation.dry_run or not packages.missing(wanted):
        return wanted
    packages.update()
    if "iptables-persistent" in wanted and not _available(packages, "iptables-persistent"):
        return ["iptables", *nft, "cron"]
    return wanted


def _el(installation: Installation, packages: Packages) -> Sequence[str]:
    """Name the packages; which one brings iptables.service changes from release to release."""
    if installation.settings.backend == "nftables":
        return ["nftables", "cronie"]
    nft = ["nftables"] if installation.settings.backend != "iptables" and _available(packages, "nftables") else []
    loaders = () if installation.settings.observe else ("iptables-services", "iptables-nft-services")
    for loader in loaders:
        if _available(packages, loader):
            return [loader, *nft, "cronie"]
    return [*(["iptables", *nft] if _available(packages, "iptables") else ["nftables"]), "cronie"]


def _available(packages: Packages, name: str) -> bool:
    return not packages.missing([name]) or packages.offers(name)


def _matches(installation: Installation, door: Iptables) -> Step:
    """See that the kernel has the matches we need, before INPUT is touched: EL 10 ships them apart from it."""

    def missing() -> str | None:
        return "unknown until tried" if installation.dry_run else lacking()

    def lacking() -> str | None:
        try:
            door.probe()
        except FirewallError as error:
            return str(error)
        return None

    def put() -> None:
        if installation.family == "el":
            install_modules()
        problem = lacking()
        if problem:
            raise DroplanError(f"this kernel lacks a match that the rules need: {problem}")

    def install_modules() -> None:
        packages = manager(installation.family, installation.host)
        release = installation.host.runner.run(["uname", "-r"]).stdout.strip()
        try:
            packages.install([f"kernel-modules-extra-{release}"])
        except CommandError:
            packages.install(["kernel-modules-extra"])
            if lacking():
                raise DroplanError(
                    "the kernel modules that the rules need are installed, but not for the kernel that runs: "
                    "reboot this Droplet, and the schedule ends the installation"
                ) from None

    return Step("kernel matches", missing, put)


def _service_steps(installation: Installation, enforcement: Enforcement, packages: Sequence[str]) -> Iterator[Step]:
    host = installation.host
    services = Services(host)
    saved = loaders.loader(host, enforcement.door, packages)
    if saved and not installation.settings.observe:
        if installation.family == "el" and host.has_systemd():
            yield Step(
                "firewalld out of the way", lambda: firewalld.problem(services), lambda: firewalld.mask(services)
            )
        for name in saved.loaders:
            yield _service(services, name, start=False)
    if host.has_systemd():
        yield _file(installation, "unit", persistence.UNIT, persistence.UNIT_TEXT.encode(), 0o644)
        yield _service(services, persistence.UNIT_NAME, start=False)
        if enforcement.guard and services.problem(nft_include.SERVICE, start=False) is None:
            yield Step(
                f"include of the guard for {nft_include.SERVICE}",
                lambda: nft_include.problem(host),
                lambda: nft_include.put(host),
            )


def _daemon(host: Host, what: str, daemon: Daemon, *, wanted: bool) -> Iterator[Step]:
    services = Services(host)
    if wanted:
        yield Step(what, lambda: daemon.problem(services), lambda: daemon.put(services))
    elif host.files.exists(daemon.path):
        yield Step(f"{what} off", lambda: "there", lambda: daemon.remove(services))


def _service(services: Services, name: str, *, start: bool = True) -> Step:
    return Step(
        f"service {name}",
        lambda: services.problem(name, start=start),
        lambda: services.enable(name, start=start),
    )
