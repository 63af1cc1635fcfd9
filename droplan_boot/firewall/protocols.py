"""Read the names of protocols as iptables-save and nft print them: with a number where we write one. Pure.

Both look a number up in /etc/protocols, so what is read back has a name on one machine and a number on another.
"""

from __future__ import annotations

import re
import socket
from functools import lru_cache
from typing import Final

SPELLED: Final = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp"}
"""Those that we write by name, as every version of both programs prints them."""

_NAME: Final = re.compile(r"(?<=-p )[a-z][\w.+-]*|(?<=meta l4proto )[a-z][\w.+-]*")


def numbered(text: str) -> str:
    """Replace the names of other protocols by their numbers; names that nobody knows stay."""
    return _NAME.sub(_number, text)


def _number(found: re.Match[str]) -> str:
    return _known(found[0])


@lru_cache(maxsize=64)
def _known(name: str) -> str:
    if name in SPELLED.values():
        return name
    if name == "icmpv6":  # iptables 1.8.10 and later may print the older name of the same protocol
        return SPELLED[58]
    try:
        number = socket.getprotobyname(name)
    except OSError:
        return name
    return SPELLED.get(number, str(number))
