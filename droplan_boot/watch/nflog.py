"""Copies of packets that were shut out, as linux/netfilter/nfnetlink_log.h tells of them."""

from __future__ import annotations

import errno
import socket
import struct

from droplan_boot.firewall import nflog
from droplan_boot.host import netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PACKET: Final = 4 << 8
_CONFIG: Final = 4 << 8 | 1

# What a message tells, and what is configured.
_INTERFACE: Final = 4
_PAYLOAD: Final = 9
_PREFIX: Final = 10
_COMMAND: Final = 1
_MODE: Final = 2
_THRESHOLD: Final = 5

_NAMES: Final = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}
_PORTS: Final = (6, 17)
# RFC 8200, section 4.1: hop-by-hop, routing, destination options; the fragment header (44) is of another shape.
_EXTENSIONS: Final = (0, 43, 60)
_FRAGMENT: Final = 44


class ShutOut:
    """A packet that was shut out.

    Args:
        source: who sent it; an address of either version.
        destination: whom it was for.
        protocol: ``tcp``, ``udp``, ``icmp``, or such as ``proto/47``.
        port: the one it asked for; 0 where the protocol has none, or a fragment does not tell.
        interface: index of the one it came in by; 0 when not told.
        public: whether it came from the public network.
        observed: whether it passed all the same.
    """

    __slots__ = ("destination", "interface", "observed", "port", "protocol", "public", "source")

    def __init__(
        self,
        source: str,
        destination: str,
        protocol: str,
        port: int,
        interface: int = 0,
        public: bool = False,
        observed: bool = False,
    ) -> None:
        self.source = source
        self.destination = destination
        self.protocol = protocol
        self.port = port
        self.interface = interface
        self.public = public
        self.observed = observed


class TakenError(Exception):
    """Another program listens to the group."""


def listen(line: netlink.Line, group: int = nflog.GROUP) -> None:
    """Have the kernel send what the rules copy to a group.

    Raises:
        TakenError: another listener has the group.
        OSError: it knows no NFLOG.
    """
    for attribute in (
        netlink.attribute(_COMMAND, b"\x01"),  # NFULNL_CFG_CMD_BIND
        netlink.attribute(_MODE, struct.pack("!IBB", nflog.COPY_BYTES, 2, 0)),  # NFULNL_COPY_PACKET
        netlink.attribute(_THRESHOLD, struct.pack("!I", 1)),  # a message a packet, at once
    ):
        head = struct.pack("!BBH", 0, 0, group)
        try:
            line.ask(netlink.request(_CONFIG, netlink.ACK, head + attribute))
        except OSError as error:
            # A group belongs to whoever bound it (nfulnl_recv_config: EPERM; EBUSY while it is being given up). That
            # we are root, the line has shown.
            if error.errno in (errno.EPERM, errno.EBUSY):
                raise TakenError from None
            raise


def parse(payload: bytes) -> ShutOut | None:
    """Read a message of type PACKET; None when it is no IP packet, or not of a rule of ours."""
    if len(payload) < 4:
        return None
    told = netlink.attributes(payload, 4)
    meaning = nflog.meaning(netlink.text(told.get(_PREFIX, b"")))
    found = packet(told.get(_PAYLOAD, b"")) if meaning else None
    if found is None or meaning is None:
        return None
    found.public, found.observed = meaning
    index = told.get(_INTERFACE, b"")
    found.interface = int.from_bytes(index, "big") if len(index) == 4 else 0
    return found


def packet(data: bytes) -> ShutOut | None:
    """Read the head of an IP packet (RFC 791, RFC 8200); None when it is none."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        at, number, whole = (data[0] & 15) * 4, data[9], not (data[6] & 0x1F or data[7])
        family, ends = socket.AF_INET, (data[12:16], data[16:20])
    elif version == 6 and len(data) >= 40:
        at, number, whole = _past_extensions(data)
        family, ends = socket.AF_INET6, (data[8:24], data[24:40])
    else:
        return None
    source, destination = (socket.inet_ntop(family, end) for end in ends)
    port = 0
    if number in _PORTS and whole and at >= 20 and len(data) >= at + 4:
        port = int.from_bytes(data[at + 2 : at + 4], "big")
    return ShutOut(source, destination, _NAMES.get(number) or f"proto/{number}", port)


def _past_extensions(data: bytes) -> tuple[int, int, bool]:
    """Find where the payload of an IPv6 packet begins, its protocol, and whether it is its beginning."""
    at, number, whole = 40, data[6], True
    while len(data) >= at + 8:
        if number in _EXTENSIONS:
            number, at = data[at], at + 8 + 8 * data[at + 1]
        elif number == _FRAGMENT:
            whole = whole and not (data[at + 2] or data[at + 3] & 0xF8)
            number, at = data[at], at + 8
        else:
            break
    return at, number, whole
