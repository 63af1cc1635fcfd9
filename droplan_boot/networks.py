"""IP networks of either version."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Union

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


def merge(networks: Iterable[Network], version: int) -> list[Network]:
    """Merge networks of one IP version (4 or 6) exactly: none overlap, none can be merged further, ascending."""
    return list(ipaddress.collapse_addresses(one for one in networks if one.version == version))  # type: ignore[type-var]
