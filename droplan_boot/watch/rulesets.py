"""Changes of nftables' ruleset, iptables-nft's included, as linux/netfilter/nf_tables.h tells of them.

The kernel tells every object that a transaction made or removed, and then that the transaction is over, by which
process. The legacy tables tell nobody of changes.
"""

from __future__ import annotations

from droplan_boot.host import netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

GROUP: Final = 7
"""NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h)."""

NOTHING: Final = 0
MAYBE: Final = 1
"""A rule of somebody's came or went where ours are; only a look can tell whether it matters."""
SURE: Final = 2
"""Something of ours was touched."""

_TOOLS: Final = ("nft", "iptables-nft-re", "ip6tables-nft-r", "iptables-restor", "ip6tables-resto")
"""What droplan writes rules with, as the kernel tells the names of processes."""

_SUBSYSTEM: Final = 10
_DELTABLE: Final = 2
_NEWCHAIN, _DELCHAIN = 3, 5
_NEWRULE, _DELRULE = 6, 8
_NEWGEN: Final = 15

_IPV4, _INET, _IPV6 = 2, 1, 10
_TABLE: Final = b"droplan\0"
_CHAINS: Final = b"droplan-"
_TABLES: Final = (b"filter\0", b"mangle\0")
_HOOKS: Final = (b"INPUT\0", b"FORWARD\0", b"OUTPUT\0", b"PREROUTING\0")


class Change:
    """A transaction that may concern us.

    Args:
        level: MAYBE or SURE.
        process: the name of who made it, at most 15 bytes of it; "" when not told.
        removed: whether a whole table went that holds rules of ours.
    """

    __slots__ = ("level", "process", "removed")

    def __init__(self, level: int, process: str, removed: bool = False) -> None:
        self.level = level
        self.process = process
        self.removed = removed

    def foreign(self, busy: bool) -> bool:
        """Say whether somebody else made it.

        Every droplan holds a lock while it writes, and reads back what it wrote before it lets go. The process number
        that the kernel tells would not help: it is that of a command which has ended by now. Somebody else's restore
        within the same tenth of a second is taken for ours, and found by the next refresh.

        Args:
            busy: whether a droplan is at work.
        """
        return not busy or self.removed or self.process not in _TOOLS


class Transactions:
    """What was heard of the transaction that is being told."""

    def __init__(self) -> None:
        self._level = NOTHING
        self._removed = False

    def hear(self, data: bytes) -> list[Change]:
        """Take in what one read returned.

        Returns:
            The transactions that ended in it and may concern us.
        """
        # Other programs' chains change all day, thousands of rules at once: what names none of our tables costs only
        # this look.
        if not self._level and not (_TABLE in data or _CHAINS in data or any(name in data for name in _TABLES)):
            return []
        ended = []
        for kind, payload in netlink.messages(data):
            if kind >> 8 != _SUBSYSTEM or len(payload) < 4:
                continue
            if kind & 0xFF == _NEWGEN:
                if self._level:
                    name = netlink.text(netlink.attributes(payload, 4).get(3, b""))
                    ended.append(Change(self._level, name, self._removed))
                self._level, self._removed = NOTHING, False
            elif self._level < SURE or not self._removed:
                level, removed = judge(kind & 0xFF, payload)
                self._level = max(self._level, level)
                self._removed = self._removed or removed
        return ended


def judge(message: int, payload: bytes) -> tuple[int, bool]:
    """Say how much an object that came or went concerns us.

    Args:
        message: its message's number within the subsystem, such as 8, NFT_MSG_DELRULE.
        payload: the message's, which begins with the address family.

    Returns:
        The level, and whether that is a table which went.
    """
    told = netlink.attributes(payload, 4)
    table = told.get(1, b"")
    if table == _TABLE and payload[0] == _INET:
        return SURE, message == _DELTABLE
    if payload[0] not in (_IPV4, _IPV6) or table not in _TABLES:
        return NOTHING, False
    if message == _DELTABLE:
        return SURE, True
    if message in (_NEWRULE, _DELRULE):
        chain = told.get(2, b"")
        if chain.startswith(_CHAINS):
            return SURE, False
        if chain in _HOOKS:
            return (SURE if _CHAINS in payload else MAYBE), False
    elif message in (_NEWCHAIN, _DELCHAIN):
        chain = told.get(3, b"")
        if chain.startswith(_CHAINS):
            return SURE, False
        if message == _DELCHAIN and chain in _HOOKS:
            return SURE, False
    return NOTHING, False
