"""Asking the kernel for a table without nft: the message as strace shows nft's own, and what a kernel may answer."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from droplan_boot.host import netlink, nfnetlink


def test_the_question_names_family_and_table() -> None:
    assert nfnetlink.request("inet droplan") == (
        b"\x20\x00\x00\x00\x01\x0a\x05\x00\x01\x00\x00\x00\x00\x00\x00\x00"  # header: 32 bytes, GETTABLE, to be acked
        b"\x01\x00\x00\x00"  # NFPROTO_INET
        b"\x0c\x00\x01\x00droplan\x00"  # NFTA_TABLE_NAME
    )


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
