"""Read the kernel's table of TCP sockets, proc(5)."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

from droplan_boot.networks import Address

ESTABLISHED: Final = "01"  # include/net/tcp_states.h
LISTEN: Final = "0A"


class Socket(NamedTuple):
    """A socket.

    Args:
        state: such as :data:`ESTABLISHED`.
        local: our address.
        port: our port.
        remote: the other side's address.
        inode: its number, by which a process's descriptor leads to it.
    """

    state: str
    local: Address
    port: int
    remote: Address
    inode: str


def tcp(text: str) -> Iterator[Socket]:
    """Read /proc/net/tcp or /proc/net/tcp6."""
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > 9:
            (local, port), (remote, _) = _endpoint(words[1]), _endpoint(words[2])
            yield Socket(words[3], local, port, remote, words[9])


def plain(address: str | bytes) -> Address:
    """Read an address without its scope; an IPv4 address that a socket of IPv6 shows is one of IPv4.

    Raises:
        ValueError: it is none.
    """
    found = ipaddress.ip_address(address.partition("%")[0] if isinstance(address, str) else address)
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def _endpoint(text: str) -> tuple[Address, int]:
    """Read ``0100007F:0016``: the address in words of 32 bits, each in the machine's byte order."""
    address, _, port = text.partition(":")
    raw = b"".join(int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8))
    return plain(raw), int(port, 16)
