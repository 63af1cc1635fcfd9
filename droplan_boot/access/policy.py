"""Who may come in where, before it is spelled as rules of any backend."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from droplan_boot.access import allow as words
from droplan_boot.access import services
from droplan_boot.access.allow import Allow, Name
from droplan_boot.access.services import Service
from droplan_boot.errors import UsageError
from droplan_boot.networks import Address, Network, address, text

if TYPE_CHECKING:
    from droplan_boot.access.openings import Opening, Sources


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
        ports: what peers may reach; None for everything.
        known: the addresses that each name in ``allow`` stands for, each once, ascending.
    """

    public: bool
    interfaces: tuple[str, ...]
    peers: tuple[Address, ...]
    allow: tuple[Allow, ...] = ()
    networks: tuple[Network, ...] = ()
    outside: tuple[str, ...] = ()
    ports: tuple[Service, ...] | None = None
    known: tuple[tuple[Name, tuple[Address, ...]], ...] = ()

    @property
    def chain(self) -> str:
        """The chain of its peers: a contract."""
        return "droplan-peers-public" if self.public else "droplan-peers"

    @property
    def asked(self) -> str:
        """The chain below it for packets whose destination was rewritten: by the port that was asked for."""
        return "droplan-asked-public" if self.public else "droplan-asked"

    @property
    def guard(self) -> str:
        """The chain of the guard that judges what comes from it, in nftables and in mangle alike."""
        return "droplan-public" if self.public else "droplan-private"

    @property
    def refuse(self) -> str:
        """The guard's chain where what it does not let through ends."""
        return "droplan-refuse-public" if self.public else "droplan-refuse"

    def sources(self, version: int) -> Sources:
        """List who may send anything, of one IP version: whom the user allowed, then the peers.

        Backends merge them: an address may be there more than once.
        """
        allowed = (one for entry in self.allow if entry.service is None for one in self.stands_for(entry, version))
        return (*allowed, *(_of(version, self.peers) if self.ports is None else ()))

    def openings(self, version: int) -> tuple[Opening, ...]:
        """List what is open to some or to everyone, of one IP version, as :func:`openings.disjoint` returns it.

        Whom :meth:`sources` names may reach all of it anyway.
        """
        from droplan_boot.access import openings  # for who spells rules or explains them

        return openings.disjoint(self._granted(version), version)

    def stands_for(self, entry: Allow, version: int) -> Sources:
        """List the addresses that an entry's source stands for, of one IP version.

        Args:
            entry: one of ``allow``, with a source.
            version: 4 or 6.
        """
        if isinstance(entry.source, Name):
            return _of(version, dict(self.known).get(entry.source, ()))
        return (entry.source,) if entry.source is not None and entry.source.version == version else ()

    def _granted(self, version: int) -> Iterator[tuple[Service, Sources | None, str]]:
        for service in self.ports or ():
            yield service.of(version), _of(version, self.peers), "peers"
        for entry in self.allow:
            if entry.service is not None:
                sources = None if entry.source is None else self.stands_for(entry, version)
                yield entry.service.of(version), sources, str(entry.source or "")


@dataclass(frozen=True)
class Policy:
    """All that droplan enforces on this Droplet, or observes.

    Args:
        segments: the private network, and the public one when asked for.
        metadata: address of the metadata service that only some may reach; "" to leave it open.
        metadata_users: who may besides root, by user number: DigitalOcean's own agents.
        observe: whether nobody is shut out and nobody let in by it: who would be is only noted.
    """

    segments: tuple[Segment, ...]
    metadata: str = ""
    metadata_users: tuple[int, ...] = ()
    observe: bool = False

    def setting(self, segment: Segment) -> str:
        """Name the setting that a segment's entries are from, as far as they tell: the two networks' may be the same.

        Args:
            segment: one of ``segments``.
        """
        own = segment.public and segment.allow != self.segments[0].allow
        return "DROPLAN_ALLOW_PUBLIC" if own else "DROPLAN_ALLOW"

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
                "peers": [text(one) for one in segment.peers],
                "ports": None if segment.ports is None else [str(service) for service in segment.ports],
                "allow": [str(entry) for entry in segment.allow],
                "networks": [str(network) for network in segment.networks],
                "outside": list(segment.outside),
                "known": {str(name): [text(one) for one in addresses] for name, addresses in segment.known},
            }
            for segment in policy.segments
        ],
        "metadata": policy.metadata,
        "metadata_users": list(policy.metadata_users),
        "observe": policy.observe,
    }


def from_json(value: Mapping[str, Any]) -> Policy:
    """Read what :func:`to_json` wrote, and what droplan 1.0.0 did.

    Raises:
        ValueError, TypeError, KeyError: it is something else.
    """
    # droplan 1.0.0 called them guards.
    segments = value["segments"] if "segments" in value else value["guards"]
    if not segments:
        raise ValueError("a policy without a network")
    try:
        return Policy(
            tuple(_segment(segment) for segment in segments),
            str(value["metadata"]),
            tuple(int(uid) for uid in value.get("metadata_users", ())),
            value.get("observe") is True,
        )
    except (UsageError, AttributeError) as error:
        raise ValueError(str(error)) from None


def _segment(value: Mapping[str, Any]) -> Segment:
    ports = value.get("ports")
    return Segment(
        public=bool(value["public"]),
        interfaces=tuple(str(name) for name in value["interfaces"]),
        peers=_addresses(value["peers"]),
        allow=tuple(_entry(entry) for entry in value["allow"]),
        networks=tuple(ipaddress.ip_network(str(network)) for network in value.get("networks", ())),
        outside=tuple(str(name) for name in value.get("outside", ())),
        ports=None if ports is None else tuple(services.one("ports", str(service)) for service in ports),
        known=tuple((_name(name), _addresses(found)) for name, found in value.get("known", {}).items()),
    )


def _entry(value: Any) -> Allow:
    if isinstance(value, str):
        return words.entry("allow", value)
    source, protocol, port = value  # droplan 1.0.0
    return Allow(
        ipaddress.ip_network(str(source)) if source else None, Service(protocol, port, port) if protocol else None
    )


def _name(value: str) -> Name:
    source = words.entry("known", value).source
    if not isinstance(source, Name):
        raise ValueError(f"{value} where a name belongs")
    return source


def _addresses(value: Any) -> tuple[Address, ...]:
    return tuple(address(str(one)) for one in value)


def _of(version: int, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    return tuple(one for one in addresses if one.version == version)
