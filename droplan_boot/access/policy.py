"""Who may come in where, before it is spelled as rules of any backend."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from droplan_boot.access.allow import Allow
from droplan_boot.networks import Address, Network, address


@dataclass(frozen=True)
class Segment:
    """A closed network and who may still come in from it.

    Args:
        public: whether it is the public network; else the private one.
        interfaces: names of the Droplet's interfaces on it.
        peers: addresses of the peers, each once, ascending.
        allow: the user's own entries besides them.
        networks: the network's own ranges: what has its source there, or is addressed there, is judged on other cards
            too. None for the public network, which is everywhere.
        outside: names of the public interfaces, by which somebody may ask for an address of these ranges.
    """

    public: bool
    interfaces: tuple[str, ...]
    peers: tuple[Address, ...]
    allow: tuple[Allow, ...] = ()
    networks: tuple[Network, ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def chain(self) -> str:
        """The chain of its peers: a contract."""
        return "droplan-peers-public" if self.public else "droplan-peers"

    def sources(self, version: int) -> tuple[Address | Network, ...]:
        """List who may send anything, of one IP version: the allowed networks, then the peers."""
        allowed = [entry.source for entry in self.allow if entry.source and not entry.protocol]
        return (
            *(one for one in allowed if one.version == version),
            *(address for address in self.peers if address.version == version),
        )

    def services(self, version: int) -> tuple[Allow, ...]:
        """Select the entries that open one port, of one IP version."""
        return tuple(
            entry for entry in self.allow if entry.protocol and (not entry.source or entry.source.version == version)
        )


@dataclass(frozen=True)
class Policy:
    """All that droplan enforces on this Droplet.

    Args:
        segments: the private network, and the public one when asked for.
        metadata: address of the metadata service that only some may reach; "" to leave it open.
        metadata_users: who may besides root, by user number: DigitalOcean's own agents.
    """

    segments: tuple[Segment, ...]
    metadata: str = ""
    metadata_users: tuple[int, ...] = ()

    @property
    def metadata_readers(self) -> tuple[int, ...]:
        """All users, by number, that may reach the metadata service."""
        return (0, *self.metadata_users)


def to_json(policy: Policy) -> dict[str, Any]:
    """Write a policy as JSON, for the snapshot."""
    return {
        "segments": [
            {
                "public": segment.public,
                "interfaces": list(segment.interfaces),
                "peers": [str(address) for address in segment.peers],
                "allow": [[str(entry.source or ""), entry.protocol, entry.port] for entry in segment.allow],
                "networks": [str(network) for network in segment.networks],
                "outside": list(segment.outside),
            }
            for segment in policy.segments
        ],
        "metadata": policy.metadata,
        "metadata_users": list(policy.metadata_users),
    }


def from_json(value: Mapping[str, Any]) -> Policy:
    """Read what :func:`to_json` wrote.

    Raises:
        ValueError, TypeError, KeyError: it is something else.
    """
    # droplan 1.0.0 called them guards.
    segments = value["segments"] if "segments" in value else value["guards"]
    if not segments:
        raise ValueError("a policy without a network")
    return Policy(
        segments=tuple(
            Segment(
                public=bool(segment["public"]),
                interfaces=tuple(str(name) for name in segment["interfaces"]),
                peers=tuple(address(str(text)) for text in segment["peers"]),
                allow=tuple(
                    Allow(ipaddress.ip_network(str(source)) if source else None, protocol, port)
                    for source, protocol, port in segment["allow"]
                ),
                networks=tuple(ipaddress.ip_network(str(network)) for network in segment.get("networks", ())),
                outside=tuple(str(name) for name in segment.get("outside", ())),
            )
            for segment in segments
        ),
        metadata=str(value["metadata"]),
        metadata_users=tuple(int(uid) for uid in value.get("metadata_users", ())),
    )
