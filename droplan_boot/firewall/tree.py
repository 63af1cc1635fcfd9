"""Lay out addresses as a tree of chains, so that a packet passes a few rules however many peers there are.

Addresses are merged into networks exactly: never one address more or less. A chain with more networks than fit
splits its range by the next two bits where they differ; each part with several networks becomes a chain of its own.
Two bits a step cost the fewest comparisons: (4 + 1) / 2 rules for 2 bits, against 1.5 a bit with 1 or 3 bits.

The chains are a question with two answers. A peer's packet RETURNs to whoever jumped into the tree; any other packet
is dropped at the end of the chain it got to. INPUT and FORWARD share the tree that way. ``-g`` (goto) keeps the way
back short: RETURN leads out of the tree from any depth, ip(6)tables(8).

A chain is named after the network it is for, so that a peer more or less changes the chains around it and no other.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from typing import Final

from droplan_boot.networks import Address, Block, Network, blocks, intervals

WIDTH: Final = 8
"""The most rules in a chain, the last DROP included."""

_STRIDE: Final = 2


def lay_out(sources: Iterable[Address | Network], version: int, root: str, stem: str) -> dict[str, tuple[str, ...]]:
    """Lay out addresses and networks as a tree of chains.

    Args:
        sources: who is in; those of the other IP version are left out.
        version: 4 or 6.
        root: name of the chain to jump to.
        stem: how the names of the other chains begin, at most 10 characters (a name has at most 28).

    Returns:
        Rules by chain, as iptables-save spells them without ``-A CHAIN``; at most :data:`WIDTH` in each.
    """
    layout = _Layout(version, stem)
    return layout.chains(root, list(blocks(intervals(sources, version), layout.bits)))


class _Layout:
    def __init__(self, version: int, stem: str) -> None:
        self.bits = 32 if version == 4 else 128
        self._address = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        self._stem = stem

    def chains(self, root: str, networks: list[Block]) -> dict[str, tuple[str, ...]]:
        laid: dict[str, tuple[str, ...]] = {}
        waiting = [(root, networks)]
        while waiting:
            name, mine = waiting.pop()
            rules = []
            for part in self._parts(mine):
                if len(part) == 1:
                    rules.append(f"-s {self._text(part[0])} -j RETURN")
                else:
                    around = self._around(part)
                    below = self._name(around)
                    rules.append(f"-s {self._text(around)} -g {below}")
                    waiting.append((below, part))
            laid[name] = (*rules, "-j DROP")
        return laid

    def _parts(self, networks: list[Block]) -> list[list[Block]]:
        """Split a chain's networks into the parts that get one rule each."""
        if len(networks) < WIDTH:
            return [[block] for block in networks]
        shift = self.bits - min(self._around(networks)[1] + _STRIDE, self.bits)
        parts: dict[int, list[Block]] = {}
        for block in networks:  # ascending, so a network wider than a part starts one and stays alone in it
            parts.setdefault(block[0] >> shift, []).append(block)
        return list(parts.values())

    def _around(self, networks: list[Block]) -> Block:
        """Find the smallest network around some (ascending, disjoint) networks."""
        first, (last, length) = networks[0][0], networks[-1]
        end = last | ((1 << (self.bits - length)) - 1)
        free = (first ^ end).bit_length()
        return first >> free << free, self.bits - free

    def _text(self, block: Block) -> str:
        return f"{self._address(block[0])}/{block[1]}"

    def _name(self, block: Block) -> str:
        if self.bits == 32:
            return f"{self._stem}{block[0]:08x}-{block[1]}"
        return self._stem + hashlib.blake2s(self._text(block).encode(), digest_size=8).hexdigest()
