"""Ask the kernel itself whether a table of nf_tables is there, for when nft(8) does not answer.

The message is NFT_MSG_GETTABLE, as linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h lay it out.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Final

from droplan_boot.host import netlink

_GETTABLE: Final = 10 << 8 | 1  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE
_TABLE_NAME: Final = 1  # NFTA_TABLE_NAME
_FAMILIES: Final = {"inet": 1, "ip": 2, "ip6": 10}  # NFPROTO_*

_NONE: Final = (errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL)
"""How a kernel says that there is no such table, or no nf_tables to hold one."""


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
