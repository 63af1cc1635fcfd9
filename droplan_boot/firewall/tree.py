"""Lay out addresses as a tree of chains, so that a packet passes a few rules however many peers there are.

Addresses are merged into networks exactly: never one address more or less. A chain with more networks than fit
splits its range by the next two bits where they differ; each part with several networks becomes a chain of its own.
Two bits a step cost the fewest comparisons: (4 + 1) / 2 rules for 2 bits, against 1.5 a bit with 1 or 3 bits.

Addresses can be chosen so that such a step splits next to nothing off, and a tree of them would be deeper than the
kernel takes: iptables-nft refuses jumps deeper than 16, and 95 addresses were enough for that. So a step by bits is
made only while the levels that are left suffice to divide what remains by number: into at most seven parts of at most
a third each. Each is what lies in some network and in none of the parts before it.

The chains are a question with two answers. A peer's packet RETURNs to whoever jumped into the tree; any other packet
is refused at the end of the chain it got to. ``-g`` (goto) keeps the way back short: RETURN leads out of the tree
from any depth, ip(6)tables(8).

A chain is named after the network it is for, so that a peer more or less changes the chains around it and no other.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from typing import Final, NamedTuple

from droplan_boot.networks import Address, Block, Network, blocks, intervals

PREFIX: Final = "droplan-"
"""How the names of all our chains begin, and of nobody else's."""

WIDTH: Final = 8
"""The most rules in a chain, the last DROP included."""

LEVELS: Final = 10
"""The most chains on a way through the tree, however up to 137,000 addresses were chosen (12 for 1,200,000)."""

_STRIDE: Final = 2


def lay_out(
    sources: Iterable[Address | Network],
    version: int,
    root: str,
    stem: str,
    refuse: str = "-j DROP",
    target: str = "-j RETURN",
    *,
    key: str = "",
) -> dict[str, tuple[str, ...]]:
    """Lay out addresses and networks as a tree of chains.

    Args:
        sources: who is in; those of the other IP version are left out.
        version: 4 or 6.
        root: name of the chain to jump to.
        stem: how the names of the other chains begin, at most 16 characters in IPv4 and 10 in IPv6 (a name has 28).
        refuse: the rule that ends a chain: what becomes of who is not in.
        target: what becomes of who is in.
        key: what tells this tree from others of the same stem in IPv6, where names are hashes.

    Returns:
        Rules by chain, as iptables-save spells them without ``-A CHAIN``; at most :data:`WIDTH` in each.
    """
    layout = _Layout(version, stem, refuse, target, key)
    return layout.chains(root, list(blocks(intervals(sources, version), layout.bits)))


class _Chain(NamedTuple):
    """A chain that is still to be laid out.

    Args:
        name: its own.
        networks: whom it lets in; ascending, disjoint.
        level: how many chains are on the way to it, itself included.
        around: the network that it is named after; None for the root.
        again: how many chains above it are named after the same.
    """

    name: str
    networks: list[Block]
    level: int
    around: Block | None
    again: int


def _enough(number: int) -> int:
    return -(-number // 6)


def _levels(number: int) -> int:
    """Tell how many levels suffice for so many networks, however they were chosen."""
    levels = 1
    while number >= WIDTH:
        number = 2 * _enough(number) - 1
        levels += 1
    return levels


class _Layout:
    def __init__(self, version: int, stem: str, refuse: str, target: str, key: str) -> None:
        self.bits = 32 if version == 4 else 128
        self._address = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        self._stem = stem
        self._refuse = refuse
        self._target = target
        self._key = key

    def chains(self, root: str, networks: list[Block]) -> dict[str, tuple[str, ...]]:
        laid: dict[str, tuple[str, ...]] = {}
        waiting = [_Chain(root, networks, 1, None, 0)]
        while waiting:
            chain = waiting.pop()
            rules = []
            for part in self._parts(chain.networks, LEVELS - chain.level):
                if len(part) == 1:
                    rules.append(f"-s {self._text(part[0])} {self._target}")
                else:
                    around = self._around(part)
                    again = chain.again + 1 if around == chain.around else 0
                    below = _Chain(self._name(around, again), part, chain.level + 1, around, again)
                    rules.append(f"-s {self._text(around)} -g {below.name}")
                    waiting.append(below)
            laid[chain.name] = (*rules, self._refuse)
        return laid

    def _parts(self, networks: list[Block], levels: int) -> list[list[Block]]:
        """Split a chain's networks into the parts that get one rule each, in the rules' order.

        Args:
            networks: ascending and disjoint.
            levels: how many levels may lie below this chain.
        """
        if len(networks) < WIDTH:
            return [[block] for block in networks]
        shift = self.bits - min(self._around(networks)[1] + _STRIDE, self.bits)
        parts: dict[int, list[Block]] = {}
        for block in networks:  # ascending, so a network wider than a part starts one and stays alone in it
            parts.setdefault(block[0] >> shift, []).append(block)
        if _levels(max(map(len, parts.values()))) > levels:
            return self._thirds(networks)
        return list(parts.values())

    def _thirds(self, networks: list[Block]) -> list[list[Block]]:
        """Split networks into at most seven parts of at most a third each, inner parts before those around them.

        From the leaves of the binary tree of prefixes upwards, a node is cut off as soon as enough networks hang on
        it. Its two branches hold fewer each, or they would have been cut off: so it has less than twice as many.
        """
        enough = _enough(len(networks))
        parts: list[list[Block]] = []
        # The way from the root to the network in hand: the prefix where each branch begins, and what hangs there.
        branches: list[tuple[int, list[Block]]] = []

        def close(branch: list[Block]) -> list[Block]:
            if len(branch) < enough:
                return branch
            parts.append(branch)
            return []

        for block, after in zip(networks, [*networks[1:], None]):
            hanging = close([block])
            # How long a prefix this network shares with the next one: where their branches part.
            shared = -1 if after is None else self.bits - (block[0] ^ after[0]).bit_length()
            while branches and branches[-1][0] > shared:
                hanging = close(branches.pop()[1] + hanging)
            branches.append((shared, hanging))
        rest = branches[-1][1] if branches else []
        return [*parts, rest] if rest else parts

    def _around(self, networks: list[Block]) -> Block:
        """Find the smallest network around some (ascending, disjoint) networks."""
        first, (last, length) = networks[0][0], networks[-1]
        end = last | ((1 << (self.bits - length)) - 1)
        free = (first ^ end).bit_length()
        return first >> free << free, self.bits - free

    def _text(self, block: Block) -> str:
        return f"{self._address(block[0])}/{block[1]}"

    def _name(self, block: Block, again: int) -> str:
        suffix = (
            chr(ord("a") + again - 1) if again else ""
        )  # what is left of a network that the chain above is for too
        if self.bits == 32:
            return f"{self._stem}{block[0]:08x}-{block[1]}{suffix}"
        return (
            self._stem + suffix + hashlib.blake2s((self._key + self._text(block)).encode(), digest_size=8).hexdigest()
        )
