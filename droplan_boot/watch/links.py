"""Links and addresses that come, go and are renamed, as linux/rtnetlink.h and linux/if_link.h tell of them.

Containers and pods make and remove links all day. What counts is a card (a link of no kind: a real device), a link
that we cover, and an IPv4 address that was not there before.
"""

from __future__ import annotations

import struct

from droplan_boot.host import netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

GROUPS: Final = (1, 5)
"""RTNLGRP_LINK and RTNLGRP_IPV4_IFADDR."""

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_MAC, _NAME, _MASTER, _INFO, _KIND = 1, 3, 10, 18, 1
_LOCAL: Final = 2
_LOOPBACK: Final = 1  # its index, and it has no other in any network namespace
_HOST: Final = 254  # RT_SCOPE_HOST
_MOST: Final = 4096


class Links:
    """What is known of this machine's links.

    Args:
        covered: names of the interfaces that the rules name.
    """

    def __init__(self, covered: Iterable[str]) -> None:
        self.covered = frozenset(covered)
        self._cards: dict[int, tuple[str, bytes, bytes]] = {}
        self._addresses: set[tuple[int, bytes]] = set()

    def ask(self, line: netlink.Line) -> bool:
        """Learn all links and addresses anew, as at the start and after messages were lost.

        Returns:
            Whether what concerns us is other than it was.
        """
        before = (self._cards, self._addresses)
        self._cards, self._addresses = {}, set()
        for kind, size in ((_GETLINK, 16), (_GETADDR, 8)):
            for found, payload in line.ask(netlink.request(kind, netlink.DUMP, bytes(size))):
                self._hear(found, payload)
        return before != (self._cards, self._addresses)

    def hear(self, data: bytes) -> bool:
        """Take in what one read returned; say whether the rules may have to name other interfaces now."""
        changed = False
        for kind, payload in netlink.messages(data):
            changed = self._hear(kind, payload) or changed
        return changed

    def _hear(self, kind: int, payload: bytes) -> bool:
        # A bridge tells of its ports in messages of its own family (7): the links themselves did not change.
        if kind in (_NEWLINK, _DELLINK) and len(payload) >= 16 and payload[0] == 0:
            return self._link(kind, payload)
        if kind in (_NEWADDR, _DELADDR) and len(payload) >= 8 and payload[0] == 2:
            return self._address(kind, payload)
        return False

    def _link(self, kind: int, payload: bytes) -> bool:
        index = struct.unpack_from("=i", payload, 4)[0]
        told = netlink.attributes(payload, 16)
        name = netlink.text(told.get(_NAME, b""))
        if index == _LOOPBACK:
            return False
        if kind == _DELLINK:
            self._addresses = {one for one in self._addresses if one[0] != index}
            return self._cards.pop(index, None) is not None
        real = _KIND not in netlink.attributes(told.get(_INFO, b""))
        if not real and name not in self.covered and index not in self._cards:
            return False
        seen = (name, told.get(_MAC, b""), told.get(_MASTER, b""))
        if self._cards.get(index) == seen or len(self._cards) >= _MOST:
            return False
        self._cards[index] = seen
        return True

    def _address(self, kind: int, payload: bytes) -> bool:
        index = struct.unpack_from("=I", payload, 4)[0]
        one = (index, netlink.attributes(payload, 8).get(_LOCAL, b""))
        if kind == _DELADDR:
            self._addresses.discard(one)
            return False
        if index == _LOOPBACK or payload[3] == _HOST or one in self._addresses or len(self._addresses) >= _MOST:
            return False  # a lease that is renewed tells of its address again
        self._addresses.add(one)
        return True
