"""Say who comes and who goes between two policies, by name. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from droplan_boot.access.policy import Policy
from droplan_boot.networks import Address, text
from droplan_boot.plural import counted
from droplan_boot.sources.listing import Droplet

NAMED: Final = 10
"""How many are named in a line; the rest are counted."""


class Change(NamedTuple):
    """Who comes and who goes on one network.

    Args:
        chain: the chain of its peers.
        added: who comes, such as ``web-41 10.132.1.41``, ascending by address; from NAMED on, whom no line names, the
            addresses alone.
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
    chains = tuple(dict.fromkeys((*new, *old)))
    added = {chain: _less(new.get(chain, ()), old.get(chain, ())) for chain in chains}
    removed = {chain: _less(old.get(chain, ()), new.get(chain, ())) for chain in chains}
    told = {one for those in (*added.values(), *removed.values()) for one in those[:NAMED]}
    known = names(_with(told, before), _with(told, after)) if told else {}
    return tuple(
        Change(
            chain,
            _called(added[chain], known),
            _called(removed[chain], known),
            len(new.get(chain, ())) - len(added[chain]),
            chain not in new,
        )
        for chain in chains
    )


def _less(those: tuple[Address, ...], others: tuple[Address, ...]) -> tuple[Address, ...]:
    """List those that are not among the others; an address is dear to hash, and most days nobody comes or goes."""
    if not others or those == others:
        return () if others else those
    without = {*others}
    return tuple(one for one in those if one not in without)


def _with(those: Collection[Address], droplets: Iterable[Droplet]) -> Iterator[Droplet]:
    """List the Droplets that have any of some addresses."""
    numbers = {int(one) for one in those}
    for droplet in droplets:
        for one in (*droplet.private, *droplet.public):
            if int(one) in numbers:
                yield droplet
                break


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


def _called(those: tuple[Address, ...], known: Mapping[Address, str]) -> tuple[str, ...]:
    named = (f"{known[one]} {one}" if known.get(one) else str(one) for one in those[:NAMED])
    return (*named, *map(text, those[NAMED:]))
