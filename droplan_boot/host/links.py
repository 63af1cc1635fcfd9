"""This machine's network interfaces, from sysfs and ip(8)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Final

from droplan_boot.host.command import Runner
from droplan_boot.host.files import Files
from droplan_boot.networks import Address

_SYSTEM: Final = Path("/sys/class/net")


@dataclass(frozen=True)
class Link:
    """A network interface of this machine: its name, MAC, and whether it belongs to a bridge or bond."""

    name: str
    mac: str
    enslaved: bool


def links(files: Files) -> tuple[Link, ...]:
    """List this machine's network interfaces from sysfs."""
    found = []
    for name in sorted(os.listdir(files.real(_SYSTEM))):
        mac = files.read(_SYSTEM / name / "address")
        if mac is not None:  # /sys/class/net/bonding_masters is a plain file
            found.append(Link(name, mac.decode().strip().lower(), files.exists(_SYSTEM / name / "master")))
    return tuple(found)


def resolve(
    mac: str, addresses: Iterable[Address], links: Sequence[Link], look: Callable[[], dict[str, set[str]]]
) -> str | None:
    """Find the name of an interface: by MAC, then by address.

    Several links may share a MAC (VLANs, a bridge and its port): then the one with the address is it.

    Args:
        mac: its hardware address, lower case; "" when not known.
        addresses: its addresses.
        links: this machine's interfaces.
        look: looks up the addresses by interface name, asked only when the MAC does not decide.

    Returns:
        Its name, None when there is none.
    """
    by_mac = [link for link in links if mac and link.mac == mac]
    if len(by_mac) == 1 and not by_mac[0].enslaved:
        return by_mac[0].name
    own = {str(address) for address in addresses}
    by_address = [name for name, held in look().items() if held & own]
    if len(by_address) > 1:
        # An address that was left on a bridge's or bond's port is of no effect there: packets come in by the master.
        ports = {link.name for link in links if link.enslaved}
        by_address = [name for name in by_address if name not in ports] or by_address
    if len(by_address) == 1:
        return by_address[0]
    both = [link.name for link in by_mac if link.name in by_address]
    if len(both) == 1:
        return both[0]
    return by_mac[0].name if len(by_mac) == 1 else None


def addresses(runner: Runner) -> dict[str, set[str]]:
    """Ask ip(8) for the addresses of each interface, by name.

    Raises:
        CommandError: it does not tell.
    """
    found: dict[str, set[str]] = {}
    for line in runner.run(["ip", "-o", "address", "show"]).stdout.splitlines():
        words = line.split()  # 2: eth0    inet 10.0.0.2/16 brd ... ; CentOS 7 knows no JSON
        if len(words) > 3 and words[2] in ("inet", "inet6"):
            found.setdefault(words[1], set()).add(words[3].partition("/")[0])
    return found
