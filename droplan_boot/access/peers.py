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
        private: the peers' private IPv4 addresses, each once, ascending.
        public: their public addresses, IPv4 before IPv6, each once, ascending.
        droplets: the Droplets that have them.
        others: the Droplets that were listed and are no peers, each with what keeps it out: ``region``, ``vpc`` or
            ``tag``; this one is not among them.
        listed: whether this Droplet is listed itself, as its peers need it to be.
    """

    private: tuple[Address, ...]
    public: tuple[Address, ...]
    droplets: tuple[Droplet, ...]
    others: tuple[tuple[Droplet, str], ...] = ()
    listed: bool = True


def select(
    metadata: Metadata,
    listing: Listing,
    *,
    scope: str,
    tag: str | None,
) -> Peers:
    """Select the peers among the account's Droplets.

    A Droplet that is off or archived keeps its address, so its status does not matter. Two VPCs may overlap, so
    one address may come from two Droplets; it counts once.

    Args:
        metadata: this Droplet, which is never its own peer.
        listing: all Droplets of the account (or all that carry the tag), and with scope ``vpc`` its peerings.
        scope: ``region``: those of this Droplet's region; ``vpc``: those of its VPC and the ones actively peered
            with it; ``account``: all.
        tag: only Droplets with this tag are peers; None for all.

    Returns:
        The peers' addresses.

    Raises:
        NoAnswerError: the listing is incomplete or lacks this Droplet, or the token may not see a field that the
            decision needs.
    """
    own = listing.own(metadata.droplet_id)
    vpcs = _own_and_peered(own, listing.peerings) if scope == "vpc" else frozenset()
    private: set[Address] = set()
    public: set[Address] = set()
    found = []
    others = []
    for droplet in listing.droplets:
        if droplet is own:
            continue
        if not _in_scope(droplet, metadata.region, scope, vpcs):
            others.append((droplet, scope))
        elif not _has_tag(droplet, tag):
            others.append((droplet, "tag"))
        else:
            found.append(droplet)
            private.update(droplet.private)
            public.update(droplet.public)
    return Peers(_ascending(private), _ascending(public), tuple(found), tuple(others), own is not None)


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


def _has_tag(droplet: Droplet, tag: str | None) -> bool:
    if tag is None:
        return True
    if droplet.tags is None:
        raise _not_permitted("DO_TAG", "tag:read")
    # DigitalOcean compares tags without regard to case.
    return tag.lower() in (name.lower() for name in droplet.tags)


def _not_permitted(setting: str, scope: str) -> NoAnswerError:
    # A field that is missing means "not permitted", never "none".
    return NoAnswerError(
        f"{setting} needs a token with the scope {scope}", "make one that has it and set it as DO_KEY"
    )


def _ascending(addresses: set[Address]) -> tuple[Address, ...]:
    return tuple(sorted(addresses, key=lambda address: (address.version, int(address))))
