"""Knock without pause: 50 TCP connections a second from a host to each of some targets, each told with its time."""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from tests.bed.hosts import Host, enter
from tests.bed.reach import Address

# 50 a second tell holes and cuts to 20 ms. A SYN that was dropped is sent again after a second: the limit is below
# that, so that one lost packet is one miss.
PACE = 0.02
LIMIT = 0.8


@dataclass(frozen=True)
class Target:
    """Where somebody knocks.

    Attributes:
        name: what it is called in a failure.
        address: the socket address, with a scope for link-local IPv6.
        source: the address to knock from, when it is not the one that the kernel would take.
    """

    name: str
    address: Address
    source: str = ""


@dataclass(frozen=True)
class Knock:
    """One connection that was tried.

    Attributes:
        who: the host's name.
        target: the target's name.
        at: when it began, in seconds of time.monotonic().
        answered: whether it came about.
    """

    who: str
    target: str
    at: float
    answered: bool


class Knocking:
    """Hosts that knock at their targets as long as the ``with`` block lasts.

    Args:
        who: each host with what it knocks at.

    Attributes:
        knocks: all that were made, by host and time; complete once the block has ended.
    """

    def __init__(self, who: Mapping[Host, Sequence[Target]]) -> None:
        self.knocks: list[Knock] = []
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(host, targets), daemon=True) for host, targets in who.items()
        ]

    def __enter__(self) -> Knocking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _run(self, host: Host, targets: Sequence[Target]) -> None:
        try:
            enter(host.netns)
            self.knocks += _knock(host.name, targets, self._stop)
        except BaseException as error:  # raised again where the block ends
            self._errors.append(error)


def _knock(who: str, targets: Sequence[Target], stop: threading.Event) -> list[Knock]:
    """Knock until told to stop, and wait for what is under way."""
    made: list[Knock] = []
    trying: dict[socket.socket, tuple[Target, float]] = {}
    with selectors.DefaultSelector() as selector:

        def end(each: socket.socket, answered: bool) -> None:
            selector.unregister(each)
            target, at = trying.pop(each)
            each.close()
            made.append(Knock(who, target.name, at, answered))

        due = time.monotonic()
        while trying or not stop.is_set():
            now = time.monotonic()
            if now >= due and not stop.is_set():
                for target in targets:
                    each, error = _try(target)
                    if error in (0, errno.EINPROGRESS):
                        selector.register(each, selectors.EVENT_WRITE)
                        trying[each] = (target, now)
                    else:  # no way there at this moment: a network that is down, or a packet that OUTPUT refused
                        each.close()
                        made.append(Knock(who, target.name, now, answered=False))
                due = max(due + PACE, now)  # one that was late does not make up for it
            for key, _ in selector.select(max(0.0, min(due - time.monotonic(), PACE))):
                assert isinstance(key.fileobj, socket.socket)
                end(key.fileobj, key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0)
            now = time.monotonic()
            for each in [each for each, (_, at) in trying.items() if at + LIMIT < now]:
                end(each, answered=False)
    return made


def _try(target: Target) -> tuple[socket.socket, int]:
    trying = socket.socket(socket.AF_INET6 if ":" in target.address[0] else socket.AF_INET)
    trying.setblocking(False)
    # Ends by a reset: neither side keeps the port for a minute.
    trying.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if target.source:
        trying.bind((target.source, 0))
    return trying, trying.connect_ex(target.address)
