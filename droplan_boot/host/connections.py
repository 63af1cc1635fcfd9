"""Who is connected to this machine now: the kernel's socket table, and its connection table where it can be read."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from droplan_boot.errors import DroplanError
from droplan_boot.host.files import Files
from droplan_boot.networks import Address

_ESTABLISHED, _LISTEN = "01", "0A"  # include/net/tcp_states.h
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
            source, local = _plain(found[2]), _plain(found[3])
        except ValueError:
            continue
        yield Connection(source, local, found[1], int(found[5] or 0))


def _sockets(files: Files) -> Iterator[Connection]:
    rows = [
        (words[3], _endpoint(words[1]), _endpoint(words[2]))
        for name in ("tcp", "tcp6")
        for words in (line.split() for line in _text(files, Path("/proc/net") / name).splitlines()[1:])
        if len(words) > 3
    ]
    listening = {local[1] for state, local, _ in rows if state == _LISTEN}
    for state, (local, port), (remote, _) in rows:
        if state == _ESTABLISHED and port in listening:
            yield Connection(remote, local, "tcp", port)


def _text(files: Files, path: Path) -> str:
    try:
        return (files.read(path) or b"").decode(errors="replace")
    except DroplanError:
        return ""  # larger than anything that a person would read


def _endpoint(text: str) -> tuple[Address, int]:
    """Read ``0100007F:0016``: the address in words of 32 bits, each in the machine's byte order."""
    address, _, port = text.partition(":")
    raw = b"".join(int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8))
    return _plain(raw), int(port, 16)


def _plain(address: str | bytes) -> Address:
    found = ipaddress.ip_address(address)
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found
