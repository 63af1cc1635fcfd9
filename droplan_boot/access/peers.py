"""Decide which Droplets are peers. Pure: what DigitalOcean said goes in, addresses come out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from droplan_boot.errors import NoAnswerError
from droplan_boot.networks import Address
from droplan_boot.settings import Settings
from droplan_boot.sources.digitalocean.model import Droplet, Machine


@dataclass(frozen=True)
class Peers:
    """Who may come in.

    Args:
        private: the peers' private IPv4 addresses, each once, ascending.
        public: their public addresses, IPv4 before IPv6, each once, ascending.
    """

    private: tuple[Address, ...]
    public: tuple[Address, ...]


def select(
    machine: Machine,
    droplets: Iterable[Droplet],
    settings: Settings,
    *,
    vpcs: frozenset[str] = frozenset(),
) -> Peers:
    """Select the peers among the account's Droplets.

    A Droplet that is off or archived keeps its address, so its status does not matter. Two VPCs may overlap, so
    one address may come from two Droplets; it counts once.

    Args:
        machine: this Droplet, which is never its own peer.
        droplets: all Droplets of the account (or all that carry ``settings.tag``).
        settings: scope and tag.
        vpcs: UUIDs of this Droplet's VPC and those peered with it; used with scope ``vpc``.

    Returns:
        The peers' addresses.

    Raises:
        NoAnswerError: the token may not see a field that the decision needs.
    """
    private: set[Address] = set()
    public: set[Address] = set()
    for droplet in droplets:
        if droplet.id == machine.droplet_id:
            continue
        if _in_scope(droplet, machine, settings.scope, vpcs) and _has_tag(droplet, settings.tag):
            private.update(droplet.private)
            public.update(droplet.public)
    return Peers(_ascending(private), _ascending(public))


def own_and_peered(own: Droplet, peerings: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Name the VPCs whose Droplets are peers in scope ``vpc``: our own and those with an active peering to it."""
    vpc = own.vpc
    if vpc is None:
        raise _not_permitted("DROPLAN_SCOPE=vpc", "vpc:read")
    return frozenset({vpc, *(other for pair in peerings if vpc in pair for other in pair)})


def _in_scope(droplet: Droplet, machine: Machine, scope: str, vpcs: frozenset[str]) -> bool:
    if scope == "region":
        return droplet.region == machine.region
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
