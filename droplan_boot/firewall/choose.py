"""Choose the backend for this machine, and say why. It looks; it loads no kernel module and changes nothing.

``iptables-legacy -S`` and python-iptables load the legacy modules by looking. So the variant is read off the command
that the machine's administrator chose (``iptables``), not off the kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from droplan_boot.errors import DroplanError, FirewallError
from droplan_boot.firewall.backend import Backend
from droplan_boot.firewall.iptables import Iptables
from droplan_boot.firewall.restore import RestoreWriter
from droplan_boot.host.command import Runner


@dataclass(frozen=True)
class Choice:
    """A backend and why it is the one."""

    backend: Backend
    why: str


def choose(wanted: str, runner: Runner, *, ipv6: bool) -> Choice:
    """Choose the backend.

    Args:
        wanted: the setting DROPLAN_BACKEND: ``auto``, ``iptables`` or ``nftables``.
        runner: finds and asks the commands.
        ipv6: whether this kernel speaks IPv6 (see :func:`has_ipv6`).

    Raises:
        DroplanError: this machine has no command to write rules with, or not the one that is set.
    """
    command = runner.which("iptables")
    if command and wanted != "nftables":
        return _iptables(command, runner, (4, 6) if ipv6 else (4,))
    if wanted == "iptables":
        raise DroplanError("DROPLAN_BACKEND=iptables, but iptables is not installed: run `droplan install`")
    if runner.which("nft"):
        from droplan_boot.firewall.nftables import Nftables

        why = "DROPLAN_BACKEND=nftables" if wanted == "nftables" else "iptables is not installed"
        return Choice(Nftables(runner), why)
    raise DroplanError("neither iptables nor nft is installed: run `droplan install`, which installs iptables")


def has_ipv6(proc: Path = Path("/proc")) -> bool:
    """Whether this kernel speaks IPv6 at all: it does not when booted with ipv6.disable=1."""
    return (proc / "net/if_inet6").exists()


def _iptables(command: Path, runner: Runner, versions: tuple[int, ...]) -> Choice:
    program = command.resolve().name
    if program == "xtables-nft-multi":
        legacy, why = False, f"{command} is {program}"
    elif program == "xtables-legacy-multi":
        legacy, why = True, f"{command} is {program}"
    else:
        said = runner.run([str(command), "-V"]).stdout.strip()
        legacy, why = "nf_tables" not in said, f"`iptables -V` says {said}"
    save = {version: _command(runner, version, legacy, "save") for version in versions}
    restore = {version: _command(runner, version, legacy, "restore") for version in versions}
    if not legacy:
        return Choice(Iptables("iptables-nft", runner, save, RestoreWriter(runner, restore, waits=False)), why)
    plain = RestoreWriter(runner, restore, waits=_waits(runner, command))
    from droplan_boot.firewall import libiptc

    try:
        return Choice(
            Iptables("iptables-legacy", runner, save, libiptc.LibiptcWriter(libiptc.load(), plain)),
            f"{why}; small changes through python-iptables",
        )
    except FirewallError as error:
        return Choice(Iptables("iptables-legacy", runner, save, plain), f"{why}; {error}")


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
