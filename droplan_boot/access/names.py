"""Look up whom the names in DROPLAN_ALLOW stand for: a tag, a Droplet, a cluster. Pure.

Backends hear of addresses only. A name that nobody has lets nobody in and is no error: the Droplet may come later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from droplan_boot.access import allow, peers
from droplan_boot.access.allow import Allow, Name
from droplan_boot.networks import Address
from droplan_boot.sources.listing import Droplet, Listing
from droplan_boot.sources.own import Metadata


@dataclass(frozen=True)
class Known:
    """Whom names stand for.

    Args:
        private: the Droplets' private addresses by name, each once, ascending.
        public: their public ones.
        droplets: the Droplets that any of the names stands for.
        warnings: what a person should know, a sentence each.
    """

    private: tuple[tuple[Name, tuple[Address, ...]], ...] = ()
    public: tuple[tuple[Name, tuple[Address, ...]], ...] = ()
    droplets: tuple[Droplet, ...] = ()
    warnings: tuple[str, ...] = ()


def resolve(
    metadata: Metadata, listing: Listing, *, scope: str, tags: Iterable[str], entries: Iterable[Allow]
) -> Known:
    """Look up the names among the Droplets in scope.

    Args:
        metadata: this Droplet, whom no name stands for.
        listing: all Droplets of the account, or all that carry the one tag that anybody asks for.
        scope: as for :func:`peers.select`.
        tags: those of DO_TAG, for the warnings.
        entries: those of DROPLAN_ALLOW and DROPLAN_ALLOW_PUBLIC.

    Raises:
        NoAnswerError: the token may not see a field that the decision needs.
    """
    entries = tuple(entries)
    wanted = allow.names(entries)
    tags = tuple(tags)
    if not wanted and not tags:
        return Known()
    near = by_name(peers.neighbours(metadata, listing, scope), wanted, strict=True)
    anywhere = by_name(listing.droplets, (*wanted, *(Name("tag", tag.lower()) for tag in tags)), strict=False)
    found = {name: near.get(name, ()) for name in wanted}
    return Known(
        private=tuple((name, _addresses(one.private for one in droplets)) for name, droplets in found.items()),
        public=tuple((name, _addresses(one.public for one in droplets)) for name, droplets in found.items()),
        droplets=tuple({one.id: one for droplets in found.values() for one in droplets}.values()),
        warnings=(
            *(
                f"DO_TAG={tag} makes nobody a peer, for no Droplet carries the tag {tag}"
                for tag in tags
                if not anywhere.get(Name("tag", tag.lower()))
            ),
            *(
                f"{entry} lets nobody in, for {_why(name, len(others), scope)}"
                for entry in entries
                for name in allow.names((entry,))
                for others in [[one for one in anywhere.get(name, ()) if one.id != metadata.droplet_id]]
                # Where only this Droplet bears the name, it is the first of its kind and nothing is wrong.
                if not found[name] and (others or not anywhere.get(name))
            ),
        ),
    )


def _why(name: Name, elsewhere: int, scope: str) -> str:
    bears = {"tag": "carries the tag", "droplet": "has the name or number", "k8s": "is a node of the cluster"}[
        name.kind
    ]
    if not elsewhere:
        return f"no Droplet {bears} {name.value}"
    return f"no Droplet that {bears} {name.value} is in scope (DROPLAN_SCOPE={scope})"


def by_name(droplets: Iterable[Droplet], wanted: Iterable[Name], *, strict: bool) -> dict[Name, list[Droplet]]:
    """Find the Droplets of each name, in one pass.

    Args:
        droplets: among which.
        wanted: the names.
        strict: whether a field that the token may not see is an error; else nobody is found by it.

    Raises:
        NoAnswerError: the token may not see one.
    """
    by_tag: dict[str, list[Name]] = {}
    by_droplet: dict[str, Name] = {}
    for name in wanted:
        if name.tag is None:
            by_droplet[name.value] = name
        else:
            by_tag.setdefault(name.tag, []).append(name)
    found: dict[Name, list[Droplet]] = {}
    for droplet in droplets:
        names: list[Name] = []
        if by_tag and (strict or droplet.tags is not None):
            for tag in peers.carried(droplet, f"DROPLAN_ALLOW={next(iter(by_tag.values()))[0]}"):
                names += by_tag.get(tag, ())
        if by_droplet:
            # A name of digits alone is a number: whom it lets in must not depend on how somebody names a Droplet.
            for value in (str(droplet.id), "" if droplet.name.isdigit() else droplet.name):
                names += [by_droplet[value]] if value in by_droplet else []
        for name in dict.fromkeys(names):
            found.setdefault(name, []).append(droplet)
    return found


def _addresses(of_droplets: Iterable[Iterable[Address]]) -> tuple[Address, ...]:
    return peers.ascending(address for addresses in of_droplets for address in addresses)
