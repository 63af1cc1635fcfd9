"""Netlink's messages and attributes, as linux/netlink.h and linux/rtnetlink.h lay them out; nothing else in them."""

from __future__ import annotations

import errno
import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

ROUTE: Final = 0
NETFILTER: Final = 12

REQUEST: Final = 1
ACK: Final = 4
DUMP: Final = 0x300

_ERROR: Final = 2
_DONE: Final = 3
_ADD_MEMBERSHIP: Final = 1
_RCVBUFFORCE: Final = 33  # asm-generic/socket.h
_SOL_NETLINK: Final = 270
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")

LARGEST: Final = 65536
"""No message that the kernel sends unasked is larger."""


class MissedError(Exception):
    """The kernel had more to tell than fitted; something was lost."""


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split what one read returned.

    Args:
        data: messages one after another, each aligned to 4 bytes.

    Yields:
        Type and payload of each; what is cut short or lies about its length ends it.
    """
    at = 0
    while at + 16 <= len(data):
        length, kind = _HEADER.unpack_from(data, at)[:2]
        if length < 16 or at + length > len(data):
            return
        yield kind, data[at + 16 : at + length]
        at += (length + 3) & ~3


def attributes(data: bytes, at: int = 0) -> dict[int, bytes]:
    """Read attributes by type, without the two flag bits of it.

    Args:
        data: the payload of a message, or of an attribute that holds others.
        at: where the attributes begin.

    Returns:
        The value of each; of those that are doubled the last; nothing from where the data make no sense.
    """
    found = {}
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4 or at + length > len(data):
            break
        found[kind & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """Write an attribute."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def request(kind: int, flags: int, payload: bytes) -> bytes:
    """Write a message."""
    return _HEADER.pack(16 + len(payload), kind, flags | REQUEST, 1, 0) + payload


def text(value: bytes) -> str:
    """Read a string that ends at its NUL; names in the kernel are bytes of any kind."""
    return value.partition(b"\0")[0].decode("utf-8", "replace")


class Line:
    """An open line to the kernel.

    Args:
        protocol: ROUTE or NETFILTER.
        groups: numbers of the multicast groups to hear.
        backlog: bytes that may wait for us, as the kernel counts them.

    Raises:
        OSError: the kernel has no such family or group, or we are not root.
    """

    _buffer = bytearray(LARGEST)  # one for all lines, which are read in turn

    def __init__(self, protocol: int, groups: tuple[int, ...] = (), backlog: int = 1 << 18) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self.socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, backlog)
        self.socket.bind((0, 0))
        for group in groups:
            self.socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """Tell the descriptor, for poll(2)."""
        return self.socket.fileno()

    def read(self) -> bytes:
        """Read what waits; b"" when nothing does, or when it was not the kernel that sent it.

        Raises:
            MissedError: messages were lost before this one, or this one is larger than any that makes sense.
        """
        try:
            count, sender = self.socket.recvfrom_into(self._buffer, 0, socket.MSG_DONTWAIT | socket.MSG_TRUNC)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise MissedError from None
            raise
        if count > LARGEST:
            raise MissedError
        return bytes(memoryview(self._buffer)[:count]) if sender[0] == 0 else b""

    def ask(self, message: bytes) -> list[tuple[int, bytes]]:
        """Send a request and wait for the answer, which must end with an acknowledgement or the end of a dump.

        Returns:
            Type and payload of each message of the answer; what was heard in between is among them.

        Raises:
            OSError: the kernel refuses, with its reason; or says nothing for a second.
            MissedError: part of the answer was lost.
        """
        self.socket.send(message)
        self.socket.settimeout(1.0)
        answer: list[tuple[int, bytes]] = []
        try:
            while True:
                count, sender = self.socket.recvfrom_into(self._buffer, 0, socket.MSG_TRUNC)
                if count > LARGEST:
                    raise MissedError
                for kind, payload in messages(bytes(memoryview(self._buffer)[:count])) if sender[0] == 0 else ():
                    if kind == _ERROR:
                        number = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else errno.EBADMSG
                        if number:
                            raise OSError(number, os.strerror(number))
                        return answer
                    if kind == _DONE:
                        return answer
                    answer.append((kind, payload))
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise MissedError from None
            raise
        finally:
            self.socket.settimeout(None)
