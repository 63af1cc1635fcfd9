"""Sets of IP addresses of either version, exactly: never one address more or less."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from typing import Union

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

Interval = tuple[int, int]
"""The first and the last address, as numbers."""

Block = tuple[int, int]
"""A network: its first address as a number, and its prefix length."""


def address(text: str) -> Address:
    """Read an address of either version, as strictly as ``ipaddress`` and for a third of its price.

    Raises:
        ValueError: it is none.
    """
    try:
        return ipaddress.IPv4Address(int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big"))
    except OSError:
        return ipaddress.IPv6Address(text)


def text(one: Address) -> str:
    """Write an address as ``str`` does, IPv4 for half of the price: ten thousand are written often."""
    return socket.inet_ntoa(int(one).to_bytes(4, "big")) if one.version == 4 else str(one)


def intervals(sources: Iterable[Address | Network], version: int) -> list[Interval]:
    """Join the addresses and networks of one IP version (4 or 6) into the fewest intervals, ascending."""
    # Not by way of ipaddress.collapse_addresses: a network object for each of 10,000 peers costs ten times the rest.
    return join(ends(one) for one in sources if one.version == version)


def join(unsorted: Iterable[Interval]) -> list[Interval]:
    """Join intervals that overlap or touch, ascending."""
    joined: list[Interval] = []
    for first, last in sorted(unsorted):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return joined


def blocks(joined: Iterable[Interval], bits: int) -> Iterator[Block]:
    """Split intervals into the fewest networks, ascending.

    Args:
        joined: disjoint and ascending.
        bits: length of an address, 32 or 128.
    """
    for first, last in joined:
        start = first
        while start <= last:
            # The widest network that begins here: as far as the zeros of its start reach, and not beyond the end.
            zeros = (start & -start).bit_length() - 1 if start else bits
            free = min(zeros, (last - start + 1).bit_length() - 1)
            yield start, bits - free
            start += 1 << free


def ends(one: Address | Network) -> Interval:
    """Tell the first and the last address of an address or a network."""
    if isinstance(one, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        return int(one), int(one)
    return int(one.network_address), int(one.broadcast_address)
