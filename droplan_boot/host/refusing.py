"""What of this machine keeps peers out behind our back, or lets strangers by: firewalld's zones, guests on bridges.

In nftables an accept only ends the table it is in. Where firewalld writes a table of its own, a peer that we let
in still has to pass it: it does where the card is in a zone that accepts (``trusted``), and behind our guard only
peers come that far. (firewalld.zone(5): a zone's target; firewall-cmd(1))
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from droplan_boot.errors import DroplanError
from droplan_boot.host.doors import Host
from droplan_boot.host.files import Files

_CARDS: Final = Path("/sys/class/net")
# As the kernel names the kind of such a link in its uevent.
_CHILDREN: Final = ("DEVTYPE=macvlan", "DEVTYPE=macvtap", "DEVTYPE=ipvlan")


def zones(host: Host, interfaces: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Tell which of firewalld's zones refuse peers.

    Args:
        host: this machine.
        interfaces: the private ones, by name.

    Yields:
        An interface, and the zone that it is in; nothing where firewalld writes no table of its own.
    """
    try:
        if host.runner.run(["nft", "list", "table", "inet", "firewalld"], check=False).status:
            return
        for name in interfaces:
            zone = _ask(host, f"--get-zone-of-interface={name}") or _ask(host, "--get-default-zone")
            if zone and _ask(host, "--permanent", f"--zone={zone}", "--get-target") not in ("ACCEPT", ""):
                yield name, zone
    except DroplanError:
        return  # no nft, or no firewall-cmd: there is nobody to ask


def _ask(host: Host, *words: str) -> str:
    done = host.runner.run(["firewall-cmd", *words], check=False)
    return done.stdout.strip() if done.status == 0 else ""


def guests(files: Files, interfaces: Iterable[str]) -> Iterator[str]:
    """Name the links by which guests are in the private network and pass this machine's IP hooks by.

    Those that were moved to a network namespace (a container's macvlan) cannot be seen from here.

    Args:
        files: this machine's.
        interfaces: the private ones, by name; a bridge where the card has become part of one.

    Yields:
        Names of macvlan and ipvlan children, and of a bridge's ports but the card's.
    """
    for name in interfaces:
        for entry in _listed(files, _CARDS / name):
            child = entry.partition("upper_")[2]
            told = files.read(_CARDS / child / "uevent") if child else None
            if told and any(kind in told.decode(errors="replace").split() for kind in _CHILDREN):
                yield child
        ports = _listed(files, _CARDS / name / "brif")
        if len(ports) > 1:  # one alone is the card; of more, a card has a device of the machine's behind it
            yield from (port for port in ports if not files.exists(_CARDS / port / "device"))


def _listed(files: Files, folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(files.real(folder)))
    except OSError:
        return []
