"""Say who comes and who goes between two policies, by name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from droplan_boot.access.policy import Policy
from droplan_boot.networks import Address
from droplan_boot.plural import counted
from droplan_boot.sources.listing import Droplet

NAMED: Final = 10
"""How many are named in a line; the rest are counted."""


class Change(NamedTuple):
    """Who comes and who goes on one network.

    Args:
        chain: the chain of its peers.
        added: who comes, such as ``web-41 10.132.1.41``, ascending by address.
        removed: who goes, likewise.
        kept: how many stay.
        opened: whether the network is closed no longer: everybody comes in, and nobody goes.
    """

    chain: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    kept: int
    opened: bool = False


def names(*droplets: Iterable[Droplet]) -> dict[Address, str]:
    """Find the Droplets' names by address; two VPCs may overlap, and then one address has two."""
    found: dict[Address, list[str]] = {}
    for one in droplets:
        for droplet in one:
            for address in (*droplet.private, *droplet.public):
                known = found.setdefault(address, [])
                if droplet.name and droplet.name not in known:
                    known.append(droplet.name)
    return {address: "/".join(known) for address, known in found.items()}


def between(
    former: Policy | None,
    now: Policy,
    before: Iterable[Droplet] = (),
    after: Iterable[Droplet] = (),
) -> tuple[Change, ...]:
    """Compare two policies.

    Args:
        former: what was enforced; None when that is not known.
        now: what is to be.
        before: the Droplets that were peers.
        after: the Droplets that are.

    Returns:
        A change for each network of either, also where nobody comes or goes.
    """
    old = {segment.chain: segment.peers for segment in former.segments} if former else {}
    new = {segment.chain: segment.peers for segment in now.segments}
    found = []
    known: dict[Address, str] | None = None
    for chain in dict.fromkeys((*new, *old)):
        were, are = old.get(chain, ()), new.get(chain, ())
        if were == are:  # on most days nobody comes or goes, and neither sets nor names are needed
            found.append(Change(chain, (), (), len(are), chain not in new))
            continue
        if known is None:
            known = names(before, after)
        had, has = set(were), set(are)
        found.append(
            Change(
                chain,
                tuple(_called(one, known) for one in are if one not in had),
                tuple(_called(one, known) for one in were if one not in has),
                len(had & has),
                chain not in new,
            )
        )
    return tuple(found)


def listed(those: Iterable[str], most: int = NAMED) -> str:
    """List names in one line, and count what is too much for it."""
    all_of_them = tuple(those)
    rest = len(all_of_them) - most
    return ", ".join(all_of_them[:most]) + (f" and {rest} more" if rest > 0 else "")


def peers(number: int) -> str:
    """Count peers, in words."""
    return counted(number, "peer")


def lines(change: Change, *, added: str = "Added", removed: str = "Removed") -> list[str]:
    """Tell a change: a line for who comes and one for who goes, none where nobody does.

    Args:
        change: what changes.
        added: the verb of the first.
        removed: the verb of the second.
    """
    if change.opened:
        return [f"{removed} the rules of {change.chain}: that network is open to everyone"]
    found = []
    if change.added:
        found.append(f"{added} {peers(len(change.added))} to {change.chain}: {listed(change.added)}")
    if change.removed:
        found.append(f"{removed} {peers(len(change.removed))} from {change.chain}: {listed(change.removed)}")
    return found


def _called(address: Address, known: Mapping[Address, str]) -> str:
    name = known.get(address)
    return f"{name} {address}" if name else str(address)
