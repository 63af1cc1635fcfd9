"""Check DigitalOcean's JSON, and turn it into Droplets.

A field that is missing or of the wrong shape is no answer: nothing is guessed, because what is guessed here
becomes a firewall rule.
"""

from __future__ import annotations

import ipaddress
import socket
from bisect import bisect_right
from functools import lru_cache
from typing import Any, Final

from droplan_boot.errors import NoAnswerError
from droplan_boot.networks import Address, intervals
from droplan_boot.sources.listing import Droplet

PAGE: Final = 200
"""The most entries that the API puts on a page, https://docs.digitalocean.com/reference/api/."""

# RFC 6890: this network, loopback, link-local; RFC 5771 and 1112: multicast, reserved, broadcast.
_NO_HOST = intervals(
    [ipaddress.ip_network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")], 4
)
_FIRSTS = [first for first, _ in _NO_HOST]  # the very first address is one of them


def droplet(value: object) -> Droplet:
    """Check one Droplet of the API's list.

    Args:
        value: decoded JSON, https://docs.digitalocean.com/reference/api/ "List All Droplets".

    Raises:
        NoAnswerError: it is not shaped like a Droplet.
    """
    networks = member(value, "networks", dict)
    private: list[ipaddress.IPv4Address] = []
    public: list[Address] = []
    for entry in member(networks, "v4", list):
        kind = member(entry, "type", str)
        address = ipv4(member(entry, "ip_address", str))
        if kind == "private":
            private.append(address)
        elif kind == "public":
            public.append(address)
        else:
            raise malformed(f"a network of type {kind!r:.80}")
    public.extend(ipv6(member(entry, "ip_address", str)) for entry in optional(networks, "v6", list, []))
    tags = optional(value, "tags", list, None)
    return Droplet(
        id=identity(value, "id"),
        name=shown(optional(value, "name", str, "")),
        region=text(member(member(value, "region", dict), "slug", str)),
        tags=None if tags is None else tuple(map(text, tags)),
        vpc=optional(value, "vpc_uuid", str, None) or None,
        private=tuple(private),
        public=tuple(public),
        off=value.get("status") == "off" if isinstance(value, dict) else False,
    )


def shown(value: str) -> str:
    """Take what a terminal would obey out of a Droplet's name, which is no reason to refuse the whole answer."""
    return value if value.isprintable() else "".join(char if char.isprintable() else "?" for char in value)


def member(value: object, name: str, kind: type) -> Any:
    """Get a field that must be there and of one type (``bool`` is no ``int``).

    Raises:
        NoAnswerError: it is not.
    """
    if type(value) is not dict:
        raise malformed(f"{type(value).__name__} where an object with {name!r} belongs")
    found = value.get(name)
    if type(found) is not kind:  # JSON gives no subclasses, but bool is one of int
        raise malformed(f"{name!r} is {'missing' if name not in value else type(found).__name__}")
    return found


def optional(value: Any, name: str, kind: type, otherwise: Any) -> Any:
    """Get a field that may be missing or null, but nothing else than ``kind``."""
    found = value.get(name) if type(value) is dict else member(value, name, kind)
    if found is None:
        return otherwise
    return found if type(found) is kind else member(value, name, kind)


def identity(value: object, name: str) -> int:
    """Get a Droplet's number.

    Raises:
        NoAnswerError: it is no positive whole number.
    """
    number: int = member(value, name, int)
    if number <= 0:
        raise malformed(f"{name!r} is {number}")
    return number


def text(value: object) -> str:
    """Check a short name such as a slug or tag.

    Raises:
        NoAnswerError: it is no string, empty, or holds control characters.
    """
    if not isinstance(value, str) or not _is_name(value):
        raise malformed(f"{value!r:.80} where a name belongs")
    return value


@lru_cache(maxsize=4096)  # ten thousand Droplets share a few regions and tags
def _is_name(value: str) -> bool:
    return bool(value) and value.isprintable() and len(value) <= 255


def ipv4(value: str) -> ipaddress.IPv4Address:
    """Check an IPv4 address that a host can have.

    Raises:
        NoAnswerError: it is something else, a network or multicast address among others.
    """
    try:
        # As strict as ipaddress, and a third of its price, three times for each of 10,000 Droplets.
        number = int.from_bytes(socket.inet_pton(socket.AF_INET, value), "big")
    except (OSError, ValueError):
        raise malformed(f"{value!r:.80} where an IPv4 address belongs") from None
    if number <= _NO_HOST[bisect_right(_FIRSTS, number) - 1][1]:
        raise malformed(f"{value} cannot be the address of a Droplet")
    return ipaddress.IPv4Address(number)


def ipv6(value: str) -> ipaddress.IPv6Address:
    """Check an IPv6 address that a host can have; see :func:`ipv4`.

    A scope (``fe80::1%anything``) is refused: Python keeps whatever stands behind the ``%``. So is an IPv4-mapped
    address: no packet on the wire has one.
    """
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        raise malformed(f"{value!r:.80} where an IPv6 address belongs") from None
    if "%" in value or address.ipv4_mapped:
        raise malformed(f"{value!r:.80} where an IPv6 address belongs")
    if address.is_multicast or address.is_loopback or address.is_unspecified or address.is_link_local:
        raise malformed(f"{value} cannot be the address of a Droplet")
    return address


class MalformedError(NoAnswerError):
    """An answer is of the wrong shape; ``what`` is the part that is."""

    what = ""


def malformed(what: str) -> MalformedError:
    """Make the error for an answer of the wrong shape."""
    error = MalformedError(
        f"DigitalOcean's answer is malformed ({what})",
        "look at https://status.digitalocean.com if the next run says the same",
    )
    error.what = what
    return error
