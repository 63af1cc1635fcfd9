"""Who reaches whom: single probes, connections that stay open, and streams of new flows counted to the packet."""

from __future__ import annotations

import contextlib
import itertools
import select
import selectors
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from types import TracebackType
from typing import TypeVar, Union

from tests.bed.hosts import Host, Link, enter
from tests.bed.refused import refused

# The echo service (RFC 862), over TCP and UDP.
ECHO_PORT = 7
# The discard service (RFC 863): what arrives is counted and not answered, so no flow ever becomes a known one.
DISCARD_PORT = 9
_SLICE_S = 0.01
_LOOKS = 5

T = TypeVar("T")
Address = Union[tuple[str, int], tuple[str, int, int, int]]


@dataclass(frozen=True)
class Reach:
    """What of a host answers to another; IPv6 is link-local on the private interface, global on the public one."""

    tcp: bool = False
    udp: bool = False
    icmp: bool = False
    tcp6: bool = False
    udp6: bool = False
    icmp6: bool = False

    @property
    def everything(self) -> bool:
        """Whether nothing is closed."""
        return all(self._answers())

    @property
    def nothing(self) -> bool:
        """Whether all is closed."""
        return not any(self._answers())

    def _answers(self) -> list[bool]:
        return [getattr(self, field.name) for field in fields(self)]


def probe(source: Host, target: Host, *, link: str = "eth1", patience: float = 3.0) -> Reach:
    """Probe a host from another in every way at once; see :func:`probe_all`."""
    return probe_all([source], target, link=link, patience=patience)[source.name]


def probe_all(
    sources: Iterable[Host], target: Host, *, link: str = "eth1", patience: float = 3.0
) -> dict[str, Reach]:
    """Probe a host from several in every way at once.

    Args:
        sources: who tries.
        target: whom; its echo service must be running, as it is in a Lab.
        link: the interface on both sides, ``eth1`` for private.
        patience: how many seconds without an answer mean that it is closed, where nothing else tells: what is open
            answers at once, and of what a rule drops the target's kernel keeps count. It counts for all sources
            together, so none is given up before all have sent and all that wait are accounted for.

    Returns:
        What came through, by the sources' names.
    """
    to = next(each for each in target.links if each.name == link)
    wanted = {
        (source.name, f"{way}{'6' if version == 6 else ''}"): (source, _address(source, to, version), way)
        for source in sources
        for version in (4, 6)
        for way in ("tcp", "udp", "icmp")
    }
    found: dict[str, dict[str, bool]] = {}
    for (name, way), answered in _answered(target, wanted, patience).items():
        found.setdefault(name, {})[way] = answered
    return {name: Reach(**ways) for name, ways in found.items()}


def connects(source: Host, target: Host, port: int, *, patience: float = 3.0) -> bool:
    """Say whether a TCP connection to a private IPv4 address and port comes about and echoes.

    Whether it does not is known as for :func:`probe_all`.
    """
    (answered,) = _answered(target, {"": (source, (target.address, port), "tcp")}, patience).values()
    return answered


def _answered(target: Host, wanted: Mapping[T, tuple[Host, Address, str]], patience: float) -> dict[T, bool]:
    """Try several ways to a host at once: who sends, to which address of it, and how.

    Returns:
        What came through.
    """
    versions = {key: 6 if ":" in address[0] else 4 for key, (_, address, _) in wanted.items()}
    before, given_up = refused(target), threading.Event()
    sent = {key: threading.Event() for key in wanted}
    with ThreadPoolExecutor(len(wanted)) as pool:
        answers = {
            key: pool.submit(answers_to, source, address, way, patience, given_up, sent[key])
            for key, (source, address, way) in wanted.items()
        }
        accounted = 0
        while not all(answer.done() for answer in answers.values()):
            waiting = Counter(versions[key] for key, answer in answers.items() if not answer.done())
            now = refused(target)
            all_are = all(each.is_set() for each in sent.values()) and all(
                now[version] - before[version] >= waiting[version] for version in (4, 6)
            )
            # Several looks: the end of an older connection, sent again and refused, is in the count as well.
            accounted = accounted + 1 if all_are else 0
            if accounted == _LOOKS:
                given_up.set()
                break
            time.sleep(_SLICE_S)
    return {key: answer.result() for key, answer in answers.items()}


def answers_to(
    source: Host,
    address: Address,
    way: str,
    patience: float,
    given_up: threading.Event | None = None,
    sent: threading.Event | None = None,
) -> bool:
    """Say whether an echo comes back from an address.

    Args:
        source: the host that sends.
        address: the socket address; with a scope for IPv6.
        way: ``tcp``, ``udp`` or ``icmp``.
        patience: in seconds.
        given_up: is set when somebody knows that none will come; a connection that has come about is not given up.
        sent: is set as soon as the first packet is on its way, or when none will be.
    """
    sent = sent or threading.Event()
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "icmp": socket.SOCK_RAW}[way]
    protocol = 0
    if way == "icmp":
        protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    with source.inside(lambda: socket.socket(family, kind, protocol)) as probe:
        probe.settimeout(0)
        deadline = time.monotonic() + patience
        over = given_up or threading.Event()

        def ready(event: int, connected: bool = False) -> bool:
            poll = select.poll()
            poll.register(probe, event)
            while (connected or not over.is_set()) and time.monotonic() < deadline:
                if poll.poll(1000 * _SLICE_S):
                    return True
            return False

        try:
            with contextlib.suppress(BlockingIOError):
                probe.connect(address)
            if way == "tcp":
                sent.set()
                if not ready(select.POLLOUT):
                    return False
            if way == "icmp":
                identity = _ping(probe, family)
                sent.set()
                return _is_answered(probe, family, identity, lambda: ready(select.POLLIN))
            probe.send(b"probe")
            sent.set()
            return ready(select.POLLIN, connected=way == "tcp") and probe.recv(64) == b"probe"
        except OSError:  # refused, unreachable, reset: all of them mean closed
            return False
        finally:
            sent.set()


_ping_numbers = itertools.count(1)


def _ping(sender: socket.socket, family: int) -> bytes:
    """Send a ping; return what its answer is known by."""
    request = 128 if family == socket.AF_INET6 else 8
    identity = struct.pack("!HH", threading.get_native_id() & 0xFFFF, next(_ping_numbers) & 0xFFFF)
    checksum = _checksum(struct.pack("!BBH", request, 0, 0) + identity)  # for ICMPv6 the kernel makes its own
    sender.send(struct.pack("!BBH", request, 0, checksum) + identity)
    return identity


def _is_answered(sender: socket.socket, family: int, identity: bytes, ready: Callable[[], bool]) -> bool:
    reply, header = (129, 0) if family == socket.AF_INET6 else (0, 20)
    while ready():
        packet = sender.recv(256)[header:]
        if packet[0] == reply and packet[4:8] == identity:
            return True
    return False


def _checksum(packet: bytes) -> int:
    total = sum(packet[n] << 8 | packet[n + 1] for n in range(0, len(packet), 2))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _address(source: Host, link: Link, version: int, port: int = ECHO_PORT) -> Address:
    if version == 4:
        return (link.ipv4, port)
    if link.name == "eth1":
        return (link.link_local, port, 0, source.scope(source.private))
    return (next(a for a in link.addresses if ":" in a).split("/")[0], port, 0, 0)


class Echo:
    """The echo services of all hosts, in one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._sockets: dict[str, list[socket.socket]] = {}
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, "")
        self._closing = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def listen(self, host: Host, port: int = ECHO_PORT) -> None:
        """Serve TCP and UDP on all addresses of a host."""
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            served = host.inside(lambda kind=kind: _listener(kind, port))  # type: ignore[misc]
            self._add(host.name, served, "accept" if kind == socket.SOCK_STREAM else "datagram")

    def forget(self, host: Host) -> None:
        """Close a host's sockets, as its reboot does. Only then can its network namespace end."""
        with self._lock:
            for each in self._sockets.pop(host.name, []):
                self._drop(each)

    def close(self) -> None:
        """End the services."""
        self._closing = True
        self._wake.send(b"x")
        self._thread.join()
        for name in list(self._sockets):
            with self._lock:
                for each in self._sockets.pop(name):
                    self._drop(each)
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def _add(self, owner: str, served: socket.socket, role: str) -> None:
        with self._lock:
            self._sockets.setdefault(owner, []).append(served)
            self._selector.register(served, selectors.EVENT_READ, (owner, role))

    def _drop(self, served: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):  # it was dropped already
            self._selector.unregister(served)
        served.close()

    def _serve(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(timeout=0.2):
                if key.data:
                    with contextlib.suppress(OSError):  # the other side went away
                        self._answer(key.fileobj, *key.data)  # type: ignore[arg-type]

    def _answer(self, ready: socket.socket, owner: str, role: str) -> None:
        if role == "accept":
            self._add(owner, ready.accept()[0], "stream")
        elif role == "datagram":
            data, sender = ready.recvfrom(2048)
            ready.sendto(data, sender)
        else:
            data = b""
            try:
                data = ready.recv(2048)
            finally:
                if not data:
                    with self._lock:
                        self._drop(ready)
            ready.send(data)


def _listener(kind: int, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6, kind)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("::", port))
    if kind == socket.SOCK_STREAM:
        listener.listen(1024)  # a burst of knocks while this process waits its turn is not to be refused
    return listener


class Connection:
    """A TCP connection to a host's echo service that stays open."""

    def __init__(self, source: Host, target: Host, *, port: int = ECHO_PORT) -> None:
        self._socket = source.inside(socket.socket)
        self._socket.settimeout(5)
        try:
            self._socket.connect((target.address, port))
        except OSError:
            self._socket.close()  # or a later test, which it has nothing to do with, is told of it
            raise
        self._sent = 0

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def echoes(self, patience: float = 10.0) -> bool:
        """Say whether what is sent now comes back; once it did not, it never will: TCP keeps the order."""
        self._sent += 1
        token = f"{self._sent:08d}".encode()
        deadline = time.monotonic() + patience
        got = b""
        try:
            self._socket.sendall(token)
            while not got.endswith(token):
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
                got += self._socket.recv(64)
        except OSError:
            return False
        return True


class Flows:
    """A stream of datagrams, each from a new port and so a new flow, counted where they arrive.

    >>> with Flows(lab.peers[0], lab.droplet) as flows:
    ...     refresh()
    >>> assert flows.lost == 0

    Args:
        source: the host that sends.
        target: the host that counts.
        rate: datagrams a second.
        link: the interface that is aimed at.

    Attributes:
        sent: datagrams sent; final once the ``with`` block has ended.
        received: how many of them arrived.
        pause: the longest time, in seconds, between two that were sent one after the other; says whether the
            machine was too busy for the count to mean anything.
    """

    _numbers = itertools.count(1)

    def __init__(self, source: Host, target: Host, *, rate: int = 1000, link: str = "eth1") -> None:
        self.sent = 0
        self.pause = 0.0
        self._mark = next(self._numbers)
        self._rate = rate
        self._source = source
        self._arrived: set[int] = set()
        self._stop = threading.Event()
        to = next(each for each in target.links if each.name == link)
        self._receiver = target.inside(lambda: _counter(0))
        self._to = (to.ipv4, self._receiver.getsockname()[1])
        self._threads = [
            threading.Thread(target=self._send, daemon=True),
            threading.Thread(target=self._receive, daemon=True),
        ]

    @property
    def received(self) -> int:
        """How many arrived, each counted once."""
        return len(self._arrived)

    @property
    def lost(self) -> int:
        """How many were sent and did not arrive."""
        return self.sent - self.received

    def __enter__(self) -> Flows:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._receiver.close()

    def _send(self) -> None:
        enter(self._source.netns)
        begin = last = time.monotonic()
        while not self._stop.is_set():
            time.sleep(max(0.0, begin + self.sent / self._rate - time.monotonic()))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as each:
                each.sendto(struct.pack("!II", self._mark, self.sent), self._to)
            self.sent += 1
            now = time.monotonic()
            self.pause = max(self.pause, now - last)
            last = now

    def _receive(self) -> None:
        self._receiver.settimeout(0.05)
        quiet = 0
        while quiet < 4:
            try:
                mark, number = struct.unpack("!II", self._receiver.recv(64))
            except socket.timeout:
                # Over a veth a datagram has arrived, or been dropped, when sendto() returns; a few quiet
                # rounds after the sender's end are for the kernel's own threads on a busy machine.
                quiet += not self._threads[0].is_alive()
            else:
                if mark == self._mark:
                    self._arrived.add(number)


def _counter(port: int) -> socket.socket:
    counter = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # Room for what arrives while this process is not scheduled: the count is to miss nothing.
    counter.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE, which Python does not name
    counter.bind(("0.0.0.0", port))
    return counter
