"""Knock at a host from many addresses of another at once, by TCP, UDP and ping, and see which are let in."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bed.hosts import Host
from tests.bed.refused import refused

_SETTLE_S = 0.3
_SLICE_S = 0.02
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "icmp": socket.SOCK_DGRAM}


@dataclass(frozen=True)
class Knock:
    """What opens something new.

    Attributes:
        source: the address that sends: of the private network one of IPv4, or link-local; else it is a public one.
        way: ``tcp``, ``udp`` or ``icmp`` (a ping).
        port: the destination port; 0 for a ping.
    """

    source: str
    way: str
    port: int

    @property
    def service(self) -> str:
        """What is knocked for, as droplan spells it."""
        return self.way if self.way == "icmp" else f"{self.way}/{self.port}"


def let_in(host: Host, target: Host, knocks: Sequence[Knock], limit: float = 60.0) -> list[bool]:
    """Knock, and say which were answered: whatever a packet that was let in has to be answered with.

    The target must listen on every port (``Echo.listen``): a refusal of the port says that a packet came in, but the
    kernel sends only so many a second.

    Args:
        host: who has all the sources, private ones on eth1 and public ones on eth0.
        target: at whom.
        knocks: what is sent, all at once.
        limit: how many seconds to wait until each was answered, or counted by the target's kernel as refused.
    """
    before = sum(refused(target).values())
    answered = [False] * len(knocks)
    scope = host.scope(host.private)

    def send() -> selectors.DefaultSelector:
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 0")
        waiting = selectors.DefaultSelector()
        for number, one in enumerate(knocks):
            sock = _sent(one, target, scope)
            waiting.register(
                sock, selectors.EVENT_WRITE if one.way == "tcp" else selectors.EVENT_READ, (number, one.way)
            )
        return waiting

    waiting = host.inside(send)
    end, settled = time.monotonic() + limit, 0.0
    while waiting.get_map() and time.monotonic() < end:
        for key, _ in waiting.select(_SLICE_S):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            number, way = key.data
            answered[number] = _answered(sock, way)
            waiting.unregister(sock)
            sock.close()
        accounted = sum(answered) + sum(refused(target).values()) - before >= len(knocks)
        settled = (settled or time.monotonic()) if accounted else 0.0
        if settled and time.monotonic() - settled > _SETTLE_S:
            break
    for key in list(waiting.get_map().values()):
        assert isinstance(key.fileobj, socket.socket)
        key.fileobj.close()
    waiting.close()
    return answered


def _sent(one: Knock, target: Host, scope: int) -> socket.socket:
    address = ipaddress.ip_address(one.source)
    six = address.version == 6
    protocol = (socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP) if one.way == "icmp" else 0
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, _KINDS[one.way], protocol)
    sock.setblocking(False)
    if six:
        at = scope if address.is_link_local else 0
        sock.bind((one.source, 0, 0, at))
        public = next(each for each in target.public.addresses if ":" in each).split("/")[0]
        to: tuple[str, int] | tuple[str, int, int, int] = (
            target.link_local if address.is_link_local else public,
            one.port,
            0,
            at,
        )
    else:
        sock.bind((one.source, 0))
        to = (target.address if address in ipaddress.ip_network("10.0.0.0/8") else target.public.ipv4, one.port)
    with contextlib.suppress(BlockingIOError):
        sock.connect(to)
    if one.way == "udp":
        sock.send(b"knock")
    elif one.way == "icmp":
        sock.send(bytes([128 if six else 8]) + bytes(7))
    return sock


def _answered(sock: socket.socket, way: str) -> bool:
    if way == "tcp":
        found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert found in (0, errno.ETIMEDOUT), errno.errorcode[found]
        return found == 0
    with contextlib.suppress(OSError):
        return bool(sock.recv(64))
    return False
