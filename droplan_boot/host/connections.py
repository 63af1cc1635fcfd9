"""Who is connected to this machine now: the kernel's socket table, and its connection table where it can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from droplan_boot.errors import DroplanError
from droplan_boot.host import sockets
from droplan_boot.host.files import Files
from droplan_boot.networks import Address

_CONNTRACK: Final = Path("/proc/net/nf_conntrack")
_FLOW: Final = re.compile(r"(\w+) +\d+ \d+ (?:[A-Z_]+ )?src=(\S+) dst=(\S+)(?: sport=(\d+) dport=(\d+))?")


@dataclass(frozen=True)
class Connection:
    """A connection that somebody else opened to this machine.

    Args:
        source: who opened it.
        local: our address, as they know it.
        protocol: ``tcp``, ``udp``, ``icmp`` and so on.
        port: our port, as they know it; 0 for protocols without ports.
    """

    source: Address
    local: Address
    protocol: str
    port: int


def incoming(files: Files) -> tuple[Connection, ...]:
    """List the connections that others opened, each as often as it is there.

    The connection table (proc(5) does not know it; conntrack(8) prints it alike) names who began, published ports of
    containers, and UDP. Kernels without it have the socket table: there a port that somebody listens at counts as
    opened from outside.
    """
    tracked = tuple(_tracked(_text(files, _CONNTRACK)))
    return tracked or tuple(_sockets(files))


def _tracked(text: str) -> Iterator[Connection]:
    for line in text.splitlines():
        found = _FLOW.search(line)
        if not found:
            continue
        try:
            source, local = sockets.plain(found[2]), sockets.plain(found[3])
        except ValueError:
            continue
        yield Connection(source, local, found[1], int(found[5] or 0))


def _sockets(files: Files) -> Iterator[Connection]:
    found = [one for name in ("tcp", "tcp6") for one in sockets.tcp(_text(files, Path("/proc/net") / name))]
    listening = {one.port for one in found if one.state == sockets.LISTEN}
    for one in found:
        if one.state == sockets.ESTABLISHED and one.port in listening:
            yield Connection(one.remote, one.local, "tcp", one.port)


def _text(files: Files, path: Path) -> str:
    try:
        return (files.read(path) or b"").decode(errors="replace")
    except DroplanError:
        return ""  # larger than anything that a person would read
