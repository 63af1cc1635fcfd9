"""Why a Droplet is a peer, or is none: the rules of ``peers``, told for one Droplet. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from droplan_boot.sources.listing import Droplet


def why_peer(scope: str, tags: tuple[str, ...]) -> list[str]:
    """Name what a Droplet must share to be a peer: ``region``, ``vpc`` or ``account``, and ``tag`` if one is set."""
    return [scope, *(["tag"] if tags else [])]


def lacking(
    droplet: Droplet, own: Droplet, peerings: Iterable[tuple[str, str]], *, scope: str, tags: tuple[str, ...]
) -> str | None:
    """Say what a Droplet lacks to be a peer.

    Args:
        droplet: the one in question.
        own: this Droplet.
        peerings: the active VPC peerings.
        scope: DROPLAN_SCOPE.
        tags: DO_TAG; none for all.

    Returns:
        ``other-region``, ``other-vpc``, ``lacks-tag`` or ``no-address``; None where it lacks nothing.
    """
    if scope == "region" and droplet.region != own.region:
        return "other-region"
    if scope == "vpc" and droplet.vpc != own.vpc:
        reached = {vpc for pair in peerings if own.vpc in pair for vpc in pair}
        if droplet.vpc not in reached:
            return "other-vpc"
    wanted = {tag.lower() for tag in tags}
    if wanted and wanted.isdisjoint(name.lower() for name in droplet.tags or ()):
        return "lacks-tag"
    return None if droplet.private else "no-address"
