"""Ask the kernel itself about nf_tables: whether a table is there, and how often anything in it was changed.

The messages are NFT_MSG_GETTABLE and NFT_MSG_GETGEN, as linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h
lay them out.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from typing import Final, NamedTuple

from droplan_boot.host import netlink

_GETTABLE: Final = 10 << 8 | 1  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE
_TABLE_NAME: Final = 1  # NFTA_TABLE_NAME
_GETGEN: Final = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_NEWGEN: Final = 10 << 8 | 15  # NFT_MSG_NEWGEN
_GEN_ID: Final = 1  # NFTA_GEN_ID
_NETNS_COOKIE: Final = 71  # SO_NETNS_COOKIE of asm-generic/socket.h
_FAMILIES: Final = {"inet": 1, "ip": 2, "ip6": 10}  # NFPROTO_*

_NONE: Final = (errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL)
"""How a kernel says that there is no such table, or no nf_tables to hold one."""


class Generation(NamedTuple):
    """How far nf_tables has come: every transaction that is committed, whoever writes it, makes the number one more.

    While it is the same, nothing was changed: nft(8) itself goes by it to tell whether what it has read holds. The
    tables of ip(6)tables-nft are among it, those of the legacy variant are not.

    Args:
        namespace: the network namespace, by a number that no other gets until the next boot.
        number: of its last transaction.
    """

    namespace: int
    number: int


def generation() -> Generation | None:
    """Tell the generation of this network namespace; None where the kernel does not tell both (before Linux 5.14)."""
    try:
        line = netlink.Line(netlink.NETFILTER)
        with line.socket:
            cookie = line.socket.getsockopt(socket.SOL_SOCKET, _NETNS_COOKIE, 8)
            answer = line.ask(netlink.request(_GETGEN, netlink.ACK, struct.pack("=BBH", 0, 0, 0)))
    except (OSError, netlink.MissedError):
        return None
    for kind, payload in answer:
        number = netlink.attributes(payload, 4).get(_GEN_ID, b"")
        if kind == _NEWGEN and len(number) == 4 and len(cookie) == 8:
            return Generation(int.from_bytes(cookie, sys.byteorder), int.from_bytes(number, "big"))
    return None


def table_stands(table: str) -> bool:
    """Ask whether a table is there.

    Args:
        table: family and name, as nft spells them: ``inet droplan``.

    Returns:
        Whether it is; also True where the kernel does not tell.
    """
    try:
        line = netlink.Line(netlink.NETFILTER)
        with line.socket:
            line.ask(request(table))
    except netlink.MissedError:
        return True
    except OSError as error:
        return error.errno not in _NONE
    return True


def request(table: str) -> bytes:
    """Write the question, to be acknowledged.

    Args:
        table: as above.
    """
    family, _, name = table.partition(" ")
    named = netlink.attribute(_TABLE_NAME, os.fsencode(name) + b"\0")
    return netlink.request(_GETTABLE, netlink.ACK, struct.pack("=BBH", _FAMILIES[family], 0, 0) + named)
