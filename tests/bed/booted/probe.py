"""Someone who knocks without pause, to see from which packet on a booting Droplet is closed, or open.

with Knocking(region.stranger, droplet) as knocking:
    droplet.reboot()
    droplet.wait_cloud_init()
assert knocking.sent > 100
assert knocking.answered == 0
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from tests.bed.hosts import Host, enter
from tests.bed.reach import answers_to

INTERVAL = 0.005  # seconds; a Droplet without rules answers some hundred of these while it boots
IP_HEADER = 20  # a raw IPv4 socket gives the packet with it


@dataclass(frozen=True)
class Answered:
    """What of a booted Droplet answers on its private interface.

    Attributes:
        ssh: its SSH server greets.
        ping: its IPv4 address answers an echo request.
        ping6: its link-local IPv6 address does.
    """

    ssh: bool
    ping: bool
    ping6: bool


OPEN = Answered(ssh=True, ping=True, ping6=True)
PEERS_ONLY = Answered(ssh=True, ping=True, ping6=False)  # what a peer sees: private networks carry IPv4
CLOSED = Answered(ssh=False, ping=False, ping6=False)


def knock(source: Host, target: Host, *, patience: float = 3.0) -> Answered:
    """Try a Droplet's private interface once, in every way at the same time: what is closed is waited for once.

    Args:
        source: who tries.
        target: a booted Droplet that is on.
        patience: how many seconds without an answer mean that it is closed.
    """
    local = (target.link_local, 0, 0, source.scope(source.private))
    with ThreadPoolExecutor(3) as pool:
        ssh = pool.submit(greets, source, target, patience)
        ping = pool.submit(answers_to, source, (target.address, 0), "icmp", patience)
        ping6 = pool.submit(answers_to, source, local, "icmp", patience)
        return Answered(ssh.result(), ping.result(), ping6.result())


def knock_at_once(target: Host, **sources: Host) -> dict[str, Answered]:
    """Have several try a Droplet at the same time; return what each found, by the name that it is given here."""
    with ThreadPoolExecutor(len(sources)) as pool:
        return dict(zip(sources, pool.map(lambda source: knock(source, target), sources.values())))


def greets(source: Host, target: Host, patience: float) -> bool:
    """Say whether a Droplet's SSH server greets on its private address."""
    with source.inside(socket.socket) as client:
        client.settimeout(patience)
        try:
            client.connect((target.address, 22))
            return client.recv(4) == b"SSH-"
        except OSError:  # a time-out, refused, unreachable, reset: all of them mean closed
            return False


class Knocking:
    """ICMP echo requests to a Droplet's private IPv4 and link-local IPv6 address, until the `with` block ends.

    The kernel answers them as soon as the address is up and as long as no rule forbids it: no service is needed.

    Args:
        source: Who knocks.
        target: Whom; on, off or in between.
        interval: Seconds between two knocks.

    Attributes:
        sent: How many requests were sent, to both addresses together.
        answered: How many were answered over IPv4.
        answered6: How many were answered over IPv6.
    """

    def __init__(self, source: Host, target: Host, *, interval: float = INTERVAL) -> None:
        self.sent = 0
        self.answered = 0
        self.answered6 = 0
        self._source = source
        self._target = target
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._knock, name=f"{source.name} knocks", daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> Knocking:
        self._neighbours("replace", f"lladdr {self._target.private.mac} nud permanent")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._neighbours("del", "")
        if self._failure and not error:
            raise self._failure

    def _neighbours(self, verb: str, entry: str) -> None:
        """Know the target's card for good, or no longer.

        Otherwise the kernel would ask for it once a second only, and a door that closes within that second would
        never be seen open.
        """
        for address in (self._target.address, self._target.link_local):
            self._source.ip(f"neigh {verb} {address} dev eth1 {entry}\n")

    def _knock(self) -> None:
        try:
            enter(self._source.netns)
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            raw6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            with raw, raw6:
                scope = socket.if_nametoindex("eth1")
                while not self._stop.is_set():
                    self._send(raw, _echo_request(8, self._identity), (self._target.address, 0))
                    self._send(raw6, _echo_request(128, self._identity), (self._target.link_local, 0, 0, scope))
                    self._listen(raw, raw6, self._interval)
                self._listen(raw, raw6, 0.2)  # to the last answers
        except BaseException as failure:
            self._failure = failure  # the end of the with block raises it

    def _send(self, raw: socket.socket, packet: bytes, address: tuple[object, ...]) -> None:
        try:
            raw.sendto(packet, address)
        except OSError:
            return  # an earlier packet's ICMP error, or a card that is away: not sent, so not counted
        self.sent += 1

    def _listen(self, raw: socket.socket, raw6: socket.socket, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for ready in select.select([raw, raw6], [], [], left)[0]:
                if ready is raw and _is_reply(raw.recv(2048)[IP_HEADER:], 0, self._identity):
                    self.answered += 1
                elif ready is raw6 and _is_reply(raw6.recv(2048), 129, self._identity):
                    self.answered6 += 1

    @property
    def _identity(self) -> int:
        return (id(self) >> 4) & 0xFFFF


def _is_reply(message: bytes, kind: int, identity: int) -> bool:
    return message[0] == kind and struct.unpack("!H", message[4:6])[0] == identity


def _echo_request(kind: int, identity: int) -> bytes:
    """Build an ICMP or ICMPv6 echo request (RFC 792, RFC 4443); the kernel makes the latter's checksum anew."""
    total = (kind << 8) + identity
    checksum = ~((total >> 16) + (total & 0xFFFF)) & 0xFFFF
    return struct.pack("!BBHHH", kind, 0, checksum, identity, 0)
