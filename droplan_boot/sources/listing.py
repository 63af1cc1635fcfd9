"""What a source of Droplets says: a Listing, complete or not. Pure; the first source is the DigitalOcean API."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from droplan_boot.errors import NoAnswerError
from droplan_boot.networks import Address, address, text


@dataclass(frozen=True)
class Droplet:
    """A Droplet of the account, as it is listed.

    Args:
        id: its number.
        name: its name, as its owner typed it.
        region: slug of its region.
        tags: its tags; None when the token may not see them.
        vpc: UUID of its VPC; None when the token may not see it.
        private: its private IPv4 addresses; none while it is being created.
        public: its public addresses, IPv4 and IPv6.
        off: whether it is switched off now; kept nowhere, for it keeps its addresses and is let in all the same.
    """

    id: int
    name: str
    region: str
    tags: tuple[str, ...] | None
    vpc: str | None
    private: tuple[ipaddress.IPv4Address, ...]
    public: tuple[Address, ...]
    off: bool = field(default=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON: what the token may not see is null."""
        return {
            "id": self.id,
            "name": self.name,
            "region": self.region,
            "tags": self.tags,
            "vpc": self.vpc,
            "private": [text(one) for one in self.private],
            "public": [text(one) for one in self.public],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Droplet:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: it is something else.
        """
        return cls(
            id=int(value["id"]),
            name=str(value["name"]),
            region=str(value["region"]),
            tags=None if value["tags"] is None else tuple(str(tag) for tag in value["tags"]),
            vpc=None if value["vpc"] is None else str(value["vpc"]),
            private=tuple(ipaddress.IPv4Address(str(one)) for one in value["private"]),
            public=tuple(address(str(one)) for one in value["public"]),
        )


@dataclass(frozen=True)
class Listing:
    """The account's Droplets at one moment.

    Args:
        droplets: each once; where the source left out some by tag, this Droplet is among them all the same.
        peerings: the active VPC peerings, as pairs of VPC UUIDs; none where nobody asked for them.
        taken: when, in seconds since the epoch.
        shortfall: what is missing, in words; "" when the listing is complete.
        vouched: whether it is known to be of this Droplet's account whether or not it lists this Droplet.
        said: the answers that it was read from, each as its URL and a digest, in the order in which they were asked
            for; none where the source cannot tell whether it says the same again.
    """

    droplets: tuple[Droplet, ...]
    peerings: tuple[tuple[str, str], ...]
    taken: float
    shortfall: str = ""
    vouched: bool = False
    said: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)

    def own(self, droplet_id: int) -> Droplet | None:
        """Find this Droplet in a complete listing: whoever does not list it lists another's, unless vouched for.

        Args:
            droplet_id: this Droplet's number.

        Returns:
            The Droplet; None when it is not listed yet.

        Raises:
            NoAnswerError: the listing is incomplete, or does not have it.
        """
        if self.shortfall:
            raise NoAnswerError(self.shortfall, "a run that sees all of it will go on")
        for droplet in self.droplets:
            if droplet.id == droplet_id:
                return droplet
        if self.vouched:
            return None
        raise NoAnswerError(
            f"the account of this token has no Droplet {droplet_id}, which is this one",
            "use a token of the account that owns this Droplet (right after creation the next run may see it)",
        )

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON."""
        return {
            "droplets": [droplet.to_json() for droplet in self.droplets],
            "peerings": [list(pair) for pair in self.peerings],
            "taken": self.taken,
            "shortfall": self.shortfall,
            "vouched": self.vouched,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Listing:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: it is something else.
        """
        return cls(
            droplets=tuple(Droplet.from_json(droplet) for droplet in value["droplets"]),
            peerings=tuple((str(one), str(other)) for one, other in value["peerings"]),
            taken=float(value["taken"]),
            shortfall=str(value["shortfall"]),
            vouched=bool(value.get("vouched", False)),
        )


class Source(Protocol):
    """Whatever can list the account's Droplets."""

    def listing(self) -> Listing:
        """List them, now.

        Raises:
            NoAnswerError: nothing usable was answered.
        """

    def repeats(self, said: Iterable[tuple[str, str]]) -> bool:
        """Ask whether what a listing was read from is still said, before :meth:`listing` is called.

        Args:
            said: the listing's; none to be told no.

        Raises:
            NoAnswerError: nothing was answered.
        """
