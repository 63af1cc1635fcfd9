"""Decide which Droplets are peers. Pure: what DigitalOcean said goes in, addresses come out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from droplan_boot.errors import NoAnswerError
from droplan_boot.networks import Address
from droplan_boot.sources.listing import Droplet, Listing
from droplan_boot.sources.own import Metadata


@dataclass(frozen=True)
class Peers:
    """Who may come in.

    Args:
        droplets: the peers.
        others: the Droplets that were listed and are no peers, each with what keeps it out: ``region``, ``vpc`` or
            ``tag``; this one is not among them.
        listed: whether this Droplet is listed itself, as its peers need it to be.
    """

    droplets: tuple[Droplet, ...]
    others: tuple[tuple[Droplet, str], ...] = ()
    listed: bool = True

    @property
    def private(self) -> tuple[Address, ...]:
        """Their private IPv4 addresses, each once, ascending."""
        return ascending(address for droplet in self.droplets for address in droplet.private)

    @property
    def public(self) -> tuple[Address, ...]:
        """Their public addresses, IPv4 before IPv6, each once, ascending."""
        return ascending(address for droplet in self.droplets for address in droplet.public)


def select(
    metadata: Metadata,
    listing: Listing,
    *,
    scope: str,
    tags: tuple[str, ...] = (),
) -> Peers:
    """Select the peers among the account's Droplets.

    A Droplet that is off or archived keeps its address, so its status does not matter. Two VPCs may overlap, so
    one address may come from two Droplets; it counts once.

    Args:
        metadata: this Droplet, which is never its own peer.
        listing: all Droplets of the account (or all that carry the one tag), and with scope ``vpc`` its peerings.
        scope: ``region``: those of this Droplet's region; ``vpc``: those of its VPC and the ones actively peered
            with it; ``account``: all.
        tags: only Droplets with one of these tags are peers; none for all.

    Returns:
        The peers.

    Raises:
        NoAnswerError: the listing is incomplete or lacks this Droplet, or the token may not see a field that the
            decision needs.
    """
    wanted = {tag.lower() for tag in tags}
    own = listing.own(metadata.droplet_id)
    inside, outside = _parted(metadata, listing, scope)
    found: list[Droplet] = []
    others = [(droplet, scope) for droplet in outside]
    for droplet in inside:
        if wanted and wanted.isdisjoint(carried(droplet, "DO_TAG")):
            others.append((droplet, "tag"))
        else:
            found.append(droplet)
    return Peers(tuple(found), tuple(others), own is not None)


def neighbours(metadata: Metadata, listing: Listing, scope: str) -> tuple[Droplet, ...]:
    """Select the Droplets in scope, this one left out.

    Args:
        metadata: this Droplet.
        listing: as for :func:`select`.
        scope: as for :func:`select`.

    Raises:
        NoAnswerError: the listing is incomplete or lacks this Droplet, or the token may not see its VPC.
    """
    return _parted(metadata, listing, scope)[0]


def _parted(metadata: Metadata, listing: Listing, scope: str) -> tuple[tuple[Droplet, ...], tuple[Droplet, ...]]:
    """Part the account's other Droplets into those in scope and those that are not."""
    own = listing.own(metadata.droplet_id)
    vpcs = _own_and_peered(own, listing.peerings) if scope == "vpc" else frozenset()
    inside: list[Droplet] = []
    outside: list[Droplet] = []
    for droplet in listing.droplets:
        if droplet is not own:
            (inside if _in_scope(droplet, metadata.region, scope, vpcs) else outside).append(droplet)
    return tuple(inside), tuple(outside)


def carried(droplet: Droplet, setting: str) -> frozenset[str]:
    """Tell a Droplet's tags in lower case: DigitalOcean compares them without regard to case.

    Args:
        droplet: whose.
        setting: what needs them, for the message.

    Raises:
        NoAnswerError: the token may not see them.
    """
    if droplet.tags is None:
        raise _not_permitted(setting, "tag:read")
    return frozenset(tag.lower() for tag in droplet.tags)


def ascending(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Sort addresses, IPv4 before IPv6, each once; by number, as an address itself is ten times dearer to hash."""
    found = {(address.version, int(address)): address for address in addresses}
    return tuple(found[number] for number in sorted(found))


def _own_and_peered(own: Droplet | None, peerings: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Name the VPCs whose Droplets are peers in scope ``vpc``: our own and those with an active peering to it."""
    if own is None:
        raise NoAnswerError(
            "this Droplet is not listed yet, and DROPLAN_SCOPE=vpc needs to know its VPC", "the next run may see it"
        )
    vpc = own.vpc
    if vpc is None:
        raise _not_permitted("DROPLAN_SCOPE=vpc", "vpc:read")
    return frozenset({vpc, *(other for pair in peerings if vpc in pair for other in pair)})


def _in_scope(droplet: Droplet, region: str, scope: str, vpcs: frozenset[str]) -> bool:
    if scope == "region":
        return droplet.region == region
    if scope == "vpc":
        if droplet.vpc is None:
            raise _not_permitted("DROPLAN_SCOPE=vpc", "vpc:read")
        return droplet.vpc in vpcs
    return True


def _not_permitted(setting: str, scope: str) -> NoAnswerError:
    # A field that is missing means "not permitted", never "none".
    return NoAnswerError(
        f"{setting} needs a token with the scope {scope}", "make one that has it and set it as DO_KEY"
    )
