"""This Droplet, as its metadata describe it."""

from __future__ import annotations

from dataclasses import dataclass

from droplan_boot.networks import Address, Network


@dataclass(frozen=True)
class Interface:
    """A network interface of this Droplet.

    Args:
        mac: its hardware address, lower case; "" when not told.
        addresses: its own addresses (never the anchor address, which belongs to a reserved IP).
        networks: the IPv4 range that it is in, by its netmask; none when not told.
    """

    mac: str
    addresses: tuple[Address, ...]
    networks: tuple[Network, ...] = ()


@dataclass(frozen=True)
class Metadata:
    """Who this Droplet is.

    Args:
        droplet_id: its number.
        region: slug of its region.
        private: its interfaces on the private network.
        public: those on the public one.
    """

    droplet_id: int
    region: str
    private: tuple[Interface, ...]
    public: tuple[Interface, ...]
