"""Choose guard and door for this machine, and say why. It looks; it changes nothing.

``iptables-legacy -S`` and python-iptables load the legacy modules by looking. So the variant is read off the command
that the machine's administrator chose (``iptables``), not off the kernel. Whether nf_tables takes the guard, nft is
asked with ``--check``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from droplan_boot.access.policy import Policy, Segment
from droplan_boot.errors import DroplanError, FirewallError, UnansweredError
from droplan_boot.firewall import look, nft_table, nftables
from droplan_boot.firewall.backend import Backend, Transaction
from droplan_boot.firewall.enforcement import Enforcement
from droplan_boot.firewall.iptables import Iptables
from droplan_boot.firewall.iptables_restore import RestoreWriter
from droplan_boot.firewall.nftables import Nftables
from droplan_boot.host.command import Runner
from droplan_boot.host.doors import Host

_SAMPLE: Final = Policy(
    tuple(
        Segment(
            public,
            ("eth0",),
            (ipaddress.ip_address("10.0.0.2"), ipaddress.ip_address("fd00::2")),
            networks=(ipaddress.ip_network("10.0.0.0/16"),),
            outside=("eth0",),
        )
        for public in (False, True)
    ),
    "169.254.169.254",
)
"""A policy that asks for everything that a guard may consist of."""

_PEERS: Final = _SAMPLE.segments[0].chain


@dataclass(frozen=True)
class Choice:
    """What is used and why.

    Args:
        backend: guard and door.
        guard_why: why the guard is where it is.
        door_why: why the door is written as it is, or why there is none.
    """

    backend: Enforcement
    guard_why: str
    door_why: str


@dataclass(frozen=True)
class OutOfReach:
    """Where rules of ours still stand, and the package that writes them was taken off this machine.

    They bind all the same: whoever became a peer since is kept out by them.

    Args:
        package: what is missing, ``nftables`` or ``iptables``.
        writes: none, ever.
    """

    package: str
    writes: int = 0

    @property
    def name(self) -> str:
        """See :attr:`Backend.name`."""
        return "iptables-nft" if self.package == "iptables" else self.package

    def apply(self, policy: Policy) -> bool:  # noqa: ARG002 (there is nothing to write it with)
        """See :meth:`Backend.apply`."""
        raise self._error()

    def plan(self, policy: Policy) -> tuple[Transaction, ...]:  # noqa: ARG002 (whatever it asks)
        """See :meth:`Backend.plan`."""
        return (Transaction((f"rules of ours stand in {self.name}, and the package {self.package} is gone",), ""),)

    def remove(self, policy: Policy | None) -> bool:  # noqa: ARG002 (none can be removed)
        """See :meth:`Backend.remove`."""
        raise self._error()

    def _error(self) -> FirewallError:
        return FirewallError(
            f"the package {self.package} is gone, and rules of ours that it wrote still keep out who became a peer "
            "since: install it again, or reboot, then run droplan again"
        )


def choose(wanted: str, host: Host) -> Choice:
    """Choose guard and door.

    Args:
        wanted: the setting DROPLAN_BACKEND: ``auto``, ``iptables`` or ``nftables``.
        host: this machine.

    Raises:
        DroplanError: this machine has no command to write rules with, or not the one that is set.
    """
    runner = host.runner
    command = runner.which("iptables")
    if wanted == "iptables" and not command:
        raise DroplanError("DROPLAN_BACKEND=iptables, but iptables is not installed: run `droplan install`")
    if wanted == "nftables" or not command:
        if not runner.which("nft"):
            raise DroplanError("neither iptables nor nft is installed: run `droplan install`, which installs them")
        door_why = "DROPLAN_BACKEND=nftables" if wanted == "nftables" else "iptables is not installed"
        # Whatever --check says, there is no other way: the error of the attempt is the one to read.
        guard, guard_why = _guard(host)
        return Choice(Enforcement(guard or Nftables(runner), None), guard_why, door_why)
    guard, guard_why = (None, "DROPLAN_BACKEND=iptables") if wanted == "iptables" else _guard(host)
    found, door_why = _door(command, host)
    return Choice(Enforcement(guard, found if guard else found.guarding()), guard_why, door_why)


def door(wanted: str, host: Host) -> Iptables | None:
    """Choose the door alone, for whom the guard is nothing: nft is not asked.

    Args:
        wanted: as for :func:`choose`.
        host: this machine.

    Raises:
        DroplanError: iptables is there, and a command of its family is missing.
    """
    command = host.runner.which("iptables")
    return None if wanted == "nftables" or not command else _door(command, host)[0]


def strays(current: Enforcement, used: Collection[str], host: Host) -> tuple[Backend, ...]:
    """Find the other backends that may still hold rules of ours.

    An upgrade or a person may have switched ``iptables`` from one variant to the other, or DROPLAN_BACKEND. The rules
    that stand in the old place still bind: a DROP there is not undone by an ACCEPT here.

    Args:
        current: what is in use.
        used: names of the backends that were used before, as far as is known.
        host: this machine.
    """
    runner, versions = host.runner, look.versions(host)
    found: list[Backend] = []
    if "iptables-legacy" not in current.names and look.legacy_in_use(host) and runner.which("iptables-legacy-save"):
        found.append(_restoring("iptables-legacy", runner, versions, legacy=True))
    elsewhere = set(used) - set(current.names)
    if "iptables-nft" in elsewhere:
        found += [_nft_variant(runner, versions)] if runner.which("iptables-nft-save") else _door_left(host)
    if "nftables" in elsewhere:
        found += _guard_left(host)
    return tuple(found)


def everywhere(host: Host) -> tuple[Backend, ...]:
    """List every backend that may hold rules of ours, whoever is in use now."""
    runner, versions = host.runner, look.versions(host)
    found: list[Backend] = []
    if look.legacy_in_use(host) and runner.which("iptables-legacy-save"):
        found.append(_restoring("iptables-legacy", runner, versions, legacy=True))
    command = runner.which("iptables")
    if runner.which("iptables-nft-save"):
        found.append(_nft_variant(runner, versions))
    elif command and not found:
        found.append(_door(command, host)[0])
    elif not command:
        found += _door_left(host)
    return (*found, *_guard_left(host))


def _guard_left(host: Host) -> list[Backend]:
    """Find the guard in nftables, as far as there may be one."""
    if host.runner.which("nft"):
        return [Nftables(host.runner)]
    return [OutOfReach("nftables")] if host.table_stands(nft_table.NAME) else []


def _door_left(host: Host) -> list[Backend]:
    """Find the door in the tables of iptables-nft where its commands are gone: nft shows them too."""
    chain = ["nft", "list", "chain", "ip", "filter", _PEERS]
    stands = host.runner.which("nft") and host.runner.run(chain, check=False).status == 0
    return [OutOfReach("iptables")] if stands else []


def _guard(host: Host) -> tuple[Nftables | None, str]:
    """Choose the guard in nftables if it works; say why, or why not."""
    if not host.runner.which("nft"):
        return None, "nft is not installed"
    notes, problem = _works(host)
    if notes is None:
        return None, f"nft does not take it: {problem}"
    without = "" if notes else ", without notes of what it shuts out"
    return Nftables(host.runner, notes=notes), f"nft --check takes it{without}"


def _works(host: Host) -> tuple[bool | None, str]:
    """Ask whether nft takes a guard; twice where one that was ended leaves it open and none stands.

    Raises:
        FirewallError: nft did not answer, which is no reason to move a guard that stands. Where none does, as at
            boot, one elsewhere is better than none.
    """
    why = ""
    for _ in range(2):
        try:
            return nftables.works(host.runner, _SAMPLE)
        except UnansweredError as error:
            if host.table_stands(nft_table.NAME):
                raise FirewallError(
                    f"the guard stays where it stands, as nft does not answer ({error}): "
                    "see what stops it or holds it up; the next run asks again"
                ) from error
            why = str(error)
    return None, why


def _door(command: Path, host: Host) -> tuple[Iptables, str]:
    runner, versions = host.runner, look.versions(host)
    legacy, why = _variant(command, runner)
    return _legacy(command, runner, versions, why) if legacy else (_nft_variant(runner, versions), why)


def _variant(command: Path, runner: Runner) -> tuple[bool, str]:
    """Tell whether ``iptables`` is the legacy variant, and from what."""
    program = command.resolve().name
    if program in ("xtables-nft-multi", "xtables-legacy-multi"):
        return program == "xtables-legacy-multi", f"{command} is {program}"
    said = runner.run([str(command), "-V"]).stdout.strip()
    return "nf_tables" not in said, f"`iptables -V` says {said}"


def _nft_variant(runner: Runner, versions: tuple[int, ...]) -> Iptables:
    return _restoring("iptables-nft", runner, versions, legacy=False)


def _restoring(
    name: str, runner: Runner, versions: tuple[int, ...], *, legacy: bool, waits: bool | None = None
) -> Iptables:
    save = {version: _command(runner, version, legacy, "save") for version in versions}
    restore = {version: _command(runner, version, legacy, "restore") for version in versions}
    return Iptables(name, runner, save, RestoreWriter(runner, restore, waits=legacy if waits is None else waits))


def _legacy(command: Path, runner: Runner, versions: tuple[int, ...], why: str) -> tuple[Iptables, str]:
    plain = _restoring("iptables-legacy", runner, versions, legacy=True, waits=_waits(runner, command))
    from droplan_boot.firewall import libiptc

    try:
        writer = libiptc.LibiptcWriter(libiptc.load(), plain.writer)
    except FirewallError as error:
        return plain, f"{why}; {error}"
    return Iptables(plain.name, runner, plain.save, writer), f"{why}; small changes through python-iptables"


def _command(runner: Runner, version: int, legacy: bool, verb: str) -> str:
    """Find ip(6)tables-(legacy|nft)-(save|restore); plain names before iptables 1.8."""
    tool = "iptables" if version == 4 else "ip6tables"
    for name in (f"{tool}-{'legacy' if legacy else 'nft'}-{verb}", f"{tool}-{verb}"):
        if runner.which(name):
            return name
    raise DroplanError(f"{tool}-{verb} is missing though iptables is there: reinstall the package iptables")


def _waits(runner: Runner, command: Path) -> bool:
    """Whether the restore command takes ``-w SECONDS``, which came with iptables 1.6.2."""
    version = re.search(r"v(\d+)\.(\d+)\.(\d+)", runner.run([str(command), "-V"]).stdout)
    return version is not None and tuple(map(int, version.groups())) >= (1, 6, 2)
