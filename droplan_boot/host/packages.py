"""Install packages, unattended, without removing anything that was there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from droplan_boot.errors import CommandError, DroplanError
from droplan_boot.host.clock import Clock
from droplan_boot.host.command import Completed, Runner
from droplan_boot.host.doors import Host

_INSTALL_S: Final = 900.0
_LISTS_S: Final = 300.0
_PAUSE_S: Final = 5.0


class Packages(Protocol):
    """A package manager."""

    def missing(self, names: Sequence[str]) -> tuple[str, ...]:
        """List those of ``names`` that are not installed."""

    def update(self) -> None:
        """Fetch the lists of what is on offer."""

    def offers(self, name: str) -> bool:
        """Whether a package can be installed without removing another.

        Raises:
            DroplanError: it cannot be told.
        """

    def install(self, names: Sequence[str]) -> None:
        """Install packages.

        Raises:
            DroplanError: they could not be installed; the message holds the package manager's own words.
        """


@dataclass(frozen=True)
class Apt:
    """Debian's package manager.

    First boots race with unattended-upgrades and the image's own runs, so locks are waited for and never removed.
    """

    runner: Runner
    clock: Clock

    def missing(self, names: Sequence[str]) -> tuple[str, ...]:
        """See :meth:`Packages.missing`."""
        argv = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names]
        listed = self.runner.run(argv, check=False).stdout.splitlines()
        return tuple(name for name in names if f"{name} installed" not in listed)

    def offers(self, name: str) -> bool:
        """See :meth:`Packages.offers`: asks apt to simulate, because some packages Break others (ufw, for one)."""
        simulated = self._apt("--simulate", "install", name, check=False)
        return simulated.status == 0 and not re.search(r"^Remv ", simulated.stdout, re.MULTILINE)

    def install(self, names: Sequence[str]) -> None:
        """See :meth:`Packages.install`."""
        self.runner.run(["debconf-set-selections"], stdin=_ANSWERS, check=False)
        try:
            self._apt("install", "--no-remove", *names)
        except CommandError as error:
            if "dpkg --configure -a" not in str(error):
                raise
            # An installation was cut off half-way, such as our own by a power loss: apt goes on after this only.
            argv = ["dpkg", "--force-confold", "--configure", "--pending"]
            self.runner.run(argv, timeout=_INSTALL_S, environment=_UNATTENDED)
            self._apt("install", "--no-remove", *names)

    def update(self) -> None:
        """See :meth:`Packages.update`.

        DPkg::Lock::Timeout does not cover the lists' lock, so whoever holds that is waited for here.
        """
        for _ in range(int(_LISTS_S / _PAUSE_S)):
            done = self._apt("update", check=False)
            if done.status == 0 or "Could not get lock" not in done.stderr:
                return
            self.clock.sleep(_PAUSE_S)

    def _apt(self, *words: str, check: bool = True) -> Completed:
        options = ("-q", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold")
        return self.runner.run(
            ["apt-get", *options, *words], timeout=_INSTALL_S, check=check, environment=_UNATTENDED
        )


_UNATTENDED: Final = {
    "DEBIAN_FRONTEND": "noninteractive",
    "NEEDRESTART_SUSPEND": "1",
    "APT_LISTCHANGES_FRONTEND": "none",
}
_ANSWERS: Final = """\
iptables-persistent iptables-persistent/autosave_v4 boolean false
iptables-persistent iptables-persistent/autosave_v6 boolean false
"""


# What yum 3, dnf and dnf5 say when no repository has it; and when one could not be asked, which dnf may pass over.
_NO_MATCH: Final = re.compile(r"no matching packages", re.IGNORECASE)
_UNREACHED: Final = re.compile(
    r"failed to download|errors during downloading|ignoring repositories|cannot (?:retrieve|download|find a valid)|"
    r"could not resolve|curl error|no more mirrors|failed to synchronize",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Dnf:
    """The package manager of Fedora and Enterprise Linux: dnf, dnf5 or, on CentOS 7, yum."""

    runner: Runner

    def missing(self, names: Sequence[str]) -> tuple[str, ...]:
        """See :meth:`Packages.missing`; a capability counts as well as a package's name."""
        return tuple(
            name
            for name in names
            if self.runner.run(["rpm", "--query", "--whatprovides", name], check=False).status != 0
        )

    def update(self) -> None:
        """Do nothing: dnf fetches its lists itself when they are old."""

    def offers(self, name: str) -> bool:
        """See :meth:`Packages.offers`: dnf never removes a package to install another unless told to.

        A plain ``list`` is the one form that yum 3, dnf and dnf5 all know; installed packages count as well.

        Raises:
            CommandError: it cannot tell, for a mirror that it cannot reach may have the package.
        """
        done = self.runner.run([self._command(), "-q", "-y", "list", name], timeout=_INSTALL_S, check=False)
        if done.status != 0 and (_UNREACHED.search(done.stderr) or not _NO_MATCH.search(done.stderr)):
            raise CommandError(
                f"whether {name} is on offer cannot be told ({done.complaint()}): see whether the mirrors can be "
                "reached (`dnf makecache`), then run droplan again",
                done.stderr,
            )
        return done.status == 0

    def install(self, names: Sequence[str]) -> None:
        """See :meth:`Packages.install`."""
        self.runner.run([self._command(), "-y", "install", *names], timeout=_INSTALL_S)

    def _command(self) -> str:
        for name in ("dnf", "dnf5", "yum"):
            if self.runner.which(name):
                return name
        raise DroplanError("neither dnf nor yum is here: install iptables and a cron by hand, then run droplan again")


def manager(family: str, host: Host) -> Packages:
    """Get the package manager of a family (``debian`` or ``el``)."""
    return Apt(host.runner, host.clock) if family == "debian" else Dnf(host.runner)
