"""Guests that are in the private network by a link of their own, and pass this machine's IP hooks by."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from droplan_boot.host.files import Files

_CARDS: Final = Path("/sys/class/net")


def guests(files: Files, interfaces: Iterable[str]) -> Iterator[str]:
    """Name the links by which there are such guests.

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
            # The kernel names the kind of a VLAN, bridge or bond (DEVTYPE=...), and of these two it names none.
            if told is not None and b"DEVTYPE=" not in told:
                yield child
        ports = _listed(files, _CARDS / name / "brif")
        if len(ports) > 1:  # one alone is the card; of more, a card has a device of the machine's behind it
            yield from (port for port in ports if not files.exists(_CARDS / port / "device"))


def _listed(files: Files, folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(files.real(folder)))
    except OSError:
        return []
