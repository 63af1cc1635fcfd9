"""Choose the backend for this machine, and say why. It looks; it loads no kernel module and changes nothing.

``iptables-legacy -S`` and python-iptables load the legacy modules by looking. So the variant is read off the command
that the machine's administrator chose (``iptables``), not off the kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from droplan_boot.errors import DroplanError, FirewallError
from droplan_boot.firewall.backend import Backend
from droplan_boot.firewall.iptables import Iptables
from droplan_boot.firewall.iptables_restore import RestoreWriter
from droplan_boot.host.command import Runner
from droplan_boot.host.doors import Host

_NET: Final = Path("/proc/net")


@dataclass(frozen=True)
class Choice:
    """A backend and why it is the one."""

    backend: Backend
    why: str


def choose(wanted: str, host: Host) -> Choice:
    """Choose the backend.

    Args:
        wanted: the setting DROPLAN_BACKEND: ``auto``, ``iptables`` or ``nftables``.
        host: this machine.

    Raises:
        DroplanError: this machine has no command to write rules with, or not the one that is set.
    """
    runner, versions = host.runner, _versions(host)
    command = runner.which("iptables")
    if command and wanted != "nftables":
        legacy, why = _variant(command, runner)
        return _legacy(command, runner, versions, why) if legacy else Choice(_nft_variant(runner, versions), why)
    if wanted == "iptables":
        raise DroplanError("DROPLAN_BACKEND=iptables, but iptables is not installed: run `droplan install`")
    if runner.which("nft"):
        why = "DROPLAN_BACKEND=nftables" if wanted == "nftables" else "iptables is not installed"
        return Choice(_nftables(runner), why)
    raise DroplanError("neither iptables nor nft is installed: run `droplan install`, which installs iptables")


def strays(current: Backend, former: str | None, host: Host) -> tuple[Backend, ...]:
    """Find the other backends that may still hold rules of ours.

    An upgrade or a person may have switched ``iptables`` from one variant to the other, or DROPLAN_BACKEND. The rules
    that stand in the old place still bind: a DROP there is not undone by an ACCEPT here.

    Args:
        current: the backend in use.
        former: name of the backend that the refresh before used; None when unknown.
        host: this machine.
    """
    runner, versions = host.runner, _versions(host)
    found: list[Backend] = []
    if current.name != "iptables-legacy" and legacy_in_use(host) and runner.which("iptables-legacy-save"):
        found.append(_restoring("iptables-legacy", runner, versions, legacy=True))
    if former == "iptables-nft" != current.name and runner.which("iptables-nft-save"):
        found.append(_nft_variant(runner, versions))
    if former == "nftables" != current.name and runner.which("nft"):
        found.append(_nftables(runner))
    return tuple(found)


def everywhere(host: Host) -> tuple[Backend, ...]:
    """List every backend that may hold rules of ours, whoever is in use now."""
    runner, versions = host.runner, _versions(host)
    found: list[Backend] = []
    if legacy_in_use(host) and runner.which("iptables-legacy-save"):
        found.append(_restoring("iptables-legacy", runner, versions, legacy=True))
    command = runner.which("iptables")
    if runner.which("iptables-nft-save"):
        found.append(_nft_variant(runner, versions))
    elif command and not found:
        found.append(choose("iptables", host).backend)
    if runner.which("nft"):
        found.append(_nftables(runner))
    return tuple(found)


def legacy_in_use(host: Host) -> bool:
    """Whether the legacy filter table is loaded, found out without loading it."""
    names = ("ip_tables_names", "ip6_tables_names")
    return any(b"filter" in (host.files.read(_NET / name) or b"").split() for name in names)


def _versions(host: Host) -> tuple[int, ...]:
    """List the IP versions that this kernel speaks: not 6 when it was booted with ipv6.disable=1."""
    return (4, 6) if host.files.exists(_NET / "if_inet6") else (4,)


def _variant(command: Path, runner: Runner) -> tuple[bool, str]:
    """Tell whether ``iptables`` is the legacy variant, and from what."""
    program = command.resolve().name
    if program in ("xtables-nft-multi", "xtables-legacy-multi"):
        return program == "xtables-legacy-multi", f"{command} is {program}"
    said = runner.run([str(command), "-V"]).stdout.strip()
    return "nf_tables" not in said, f"`iptables -V` says {said}"


def _nftables(runner: Runner) -> Backend:
    from droplan_boot.firewall.nftables import Nftables

    return Nftables(runner)


def _nft_variant(runner: Runner, versions: tuple[int, ...]) -> Iptables:
    return _restoring("iptables-nft", runner, versions, legacy=False)


def _restoring(
    name: str, runner: Runner, versions: tuple[int, ...], *, legacy: bool, waits: bool | None = None
) -> Iptables:
    save = {version: _command(runner, version, legacy, "save") for version in versions}
    restore = {version: _command(runner, version, legacy, "restore") for version in versions}
    return Iptables(name, runner, save, RestoreWriter(runner, restore, waits=legacy if waits is None else waits))


def _legacy(command: Path, runner: Runner, versions: tuple[int, ...], why: str) -> Choice:
    plain = _restoring("iptables-legacy", runner, versions, legacy=True, waits=_waits(runner, command))
    from droplan_boot.firewall import libiptc

    try:
        writer = libiptc.LibiptcWriter(libiptc.load(), plain.writer)
    except FirewallError as error:
        return Choice(plain, f"{why}; {error}")
    return Choice(replace(plain, writer=writer), f"{why}; small changes through python-iptables")


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
