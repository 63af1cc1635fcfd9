"""Ask the kernel itself whether a table of nf_tables is there, for when nft(8) does not answer.

The message is what linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h lay out: NFT_MSG_GETTABLE.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Final

_NETLINK_NETFILTER: Final = 12
_GETTABLE: Final = 10 << 8 | 1  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE
_REQUEST: Final = 1  # NLM_F_REQUEST
_ERROR: Final = 2  # NLMSG_ERROR
_TABLE_NAME: Final = 1  # NFTA_TABLE_NAME
_FAMILIES: Final = {"inet": 1, "ip": 2, "ip6": 10}  # NFPROTO_*
_PATIENCE_S: Final = 2.0

_NONE: Final = (errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL)
"""How a kernel says that there is no such table, or no nf_tables to hold one."""


def table_stands(table: str) -> bool:
    """Ask whether a table is there.

    Args:
        table: family and name, as nft spells them: ``inet droplan``.

    Returns:
        Whether it is; also True where the kernel does not tell.
    """
    family, _, name = table.partition(" ")
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as line:
            line.settimeout(_PATIENCE_S)
            line.bind((0, 0))
            line.send(request(_FAMILIES[family], name))
            return answer(line.recv(65536))
    except OSError as error:
        return error.errno not in _NONE


def request(family: int, name: str) -> bytes:
    """Write the question.

    Args:
        family: one of the kernel's NFPROTO_*.
        name: of the table.
    """
    value = os.fsencode(name) + b"\0"
    attribute = struct.pack("=HH", 4 + len(value), _TABLE_NAME) + value + bytes(-len(value) % 4)
    payload = struct.pack("=BBH", family, 0, 0) + attribute
    return struct.pack("=IHHII", 16 + len(payload), _GETTABLE, _REQUEST, 1, 0) + payload


def answer(data: bytes) -> bool:
    """Read the answer: the table itself, or why there is none.

    Args:
        data: the message.

    Raises:
        OSError: the kernel refuses, and that is the reason.
    """
    kind = struct.unpack_from("=H", data, 4)[0] if len(data) >= 20 else None
    if kind == _ERROR:
        number = -struct.unpack_from("=i", data, 16)[0]
        raise OSError(number, os.strerror(number))
    return True
