"""Asking the kernel for a table without nft: messages as strace shows nft's own, and what a kernel may answer."""

from __future__ import annotations

import errno
import struct

import pytest

from droplan_boot.host import nfnetlink


def refusal(number: int) -> bytes:
    """Return the kernel's NLMSG_ERROR, with the header of what was asked."""
    return struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -number) + bytes(16)


def test_the_question_names_family_and_table() -> None:
    assert nfnetlink.request(1, "droplan") == (
        b"\x20\x00\x00\x00\x01\x0a\x01\x00\x01\x00\x00\x00\x00\x00\x00\x00"  # header: 32 bytes, GETTABLE
        b"\x01\x00\x00\x00"  # NFPROTO_INET
        b"\x0c\x00\x01\x00droplan\x00"  # NFTA_TABLE_NAME
    )


def test_a_table_that_is_told_of_stands() -> None:
    assert nfnetlink.answer(struct.pack("=IHHII", 20, 10 << 8, 0, 1, 0) + b"\x01\x00\x00\x00")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EPERM, errno.EINVAL])
def test_a_refusal_is_raised_with_its_reason(number: int) -> None:
    with pytest.raises(OSError) as refused:  # noqa: PT011 (the number is looked at)
        nfnetlink.answer(refusal(number))
    assert refused.value.errno == number


@pytest.mark.parametrize(
    ("number", "stands"), [(errno.ENOENT, False), (errno.EOPNOTSUPP, False), (errno.EPERM, True), (errno.EBUSY, True)]
)
def test_only_a_kernel_that_says_so_has_none(number: int, stands: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_data: bytes) -> bool:
        raise OSError(number, "")

    class Deaf:
        def __init__(self, *_arguments: int) -> None: ...
        def __enter__(self) -> Deaf:
            return self

        def __exit__(self, *_arguments: object) -> None: ...
        def settimeout(self, _seconds: float) -> None: ...
        def bind(self, _address: tuple[int, int]) -> None: ...
        def send(self, _data: bytes) -> None: ...
        def recv(self, _size: int) -> bytes:
            return b""

    monkeypatch.setattr("socket.socket", Deaf)
    monkeypatch.setattr(nfnetlink, "answer", refuse)
    assert nfnetlink.table_stands("inet droplan") is stands
