"""Asking the kernel for a table or its generation: the messages as strace shows nft's own, and what answers."""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import Any, ClassVar

import pytest

from droplan_boot.host import netlink, nfnetlink


def test_the_question_names_family_and_table() -> None:
    assert nfnetlink.request("inet droplan") == (
        b"\x20\x00\x00\x00\x01\x0a\x05\x00\x01\x00\x00\x00\x00\x00\x00\x00"  # header: 32 bytes, GETTABLE, to be acked
        b"\x01\x00\x00\x00"  # NFPROTO_INET
        b"\x0c\x00\x01\x00droplan\x00"  # NFTA_TABLE_NAME
    )


class Named(socket.socket):
    """A socket, of netlink as far as it is asked, in a network namespace with a number."""

    def getsockopt(self, *asked: int) -> Any:
        assert asked == (socket.SOL_SOCKET, 71, 8)  # SO_NETNS_COOKIE
        if not Telling.cookie:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        return Telling.cookie


class Telling(netlink.Line):
    """A kernel that answers with what it is made of."""

    cookie = (7).to_bytes(8, sys.byteorder)
    answer: ClassVar[Any] = []

    def __init__(self, _protocol: int) -> None:
        self.socket = Named()

    def ask(self, message: bytes) -> list[tuple[int, bytes]]:
        # As `strace -e trace=sendto nft list tables` shows nft's own but for the acknowledgement: GETGEN, no family.
        assert message == b"\x14\x00\x00\x00\x10\x0a\x05\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
        if isinstance(self.answer, Exception):
            raise self.answer
        return list(self.answer)


# The header of nf_tables' messages, NFTA_GEN_ID of 258, NFTA_GEN_PROC_PID.
NEWGEN = (0x0A0F, bytes.fromhex("00000102 08000100 00000102 08000200 000006bf"))


@pytest.mark.parametrize(
    ("cookie", "answer", "told"),
    [
        (Telling.cookie, [NEWGEN], (7, 258)),
        (Telling.cookie, [(0x0A0E, NEWGEN[1])], None),
        (Telling.cookie, [(NEWGEN[0], NEWGEN[1][:9])], None),
        (Telling.cookie, [], None),
        (b"", [NEWGEN], None),
        (Telling.cookie, OSError(errno.EPERM, os.strerror(errno.EPERM)), None),
        (Telling.cookie, TimeoutError("timed out"), None),
        (Telling.cookie, netlink.MissedError(), None),
    ],
    ids=["it counts", "another message", "cut short", "nothing", "before 5.14", "not to us", "silence", "lost"],
)
def test_the_generation_is_told_in_full_or_not_at_all(
    cookie: bytes, answer: Any, told: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netlink, "Line", Telling)
    monkeypatch.setattr(Telling, "cookie", cookie)
    monkeypatch.setattr(Telling, "answer", answer)
    assert nfnetlink.generation() == told


@pytest.mark.parametrize(
    ("said", "stands"),
    [
        (None, True),
        (OSError(errno.ENOENT, os.strerror(errno.ENOENT)), False),
        (OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP)), False),
        (OSError(errno.EPERM, os.strerror(errno.EPERM)), True),
        (TimeoutError("timed out"), True),
        (netlink.MissedError(), True),
    ],
    ids=["it is there", "it is not", "no nf_tables", "not to us", "silence", "part of the answer was lost"],
)
def test_only_a_kernel_that_says_so_has_none(
    said: Exception | None, stands: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kernel(netlink.Line):
        def __init__(self, _protocol: int) -> None:
            self.socket = socket.socket()  # netlink's own is for root, on Linux

        def ask(self, _message: bytes) -> list[tuple[int, bytes]]:
            if said:
                raise said
            return []

    monkeypatch.setattr(netlink, "Line", Kernel)
    assert nfnetlink.table_stands("inet droplan") is stands
