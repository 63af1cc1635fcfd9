"""Spell a policy as our table of nftables. Pure; tests/golden shows the table of each scenario.

The rules are those of ``ruleset``, with a set of intervals where iptables has a rule a peer: a lookup costs a packet
the same for ten peers and ten thousand. One table holds both families, so one transaction writes both.

Our base chains come before the priority ``filter`` (0): a stranger's packet is dropped before anybody else's rule
could answer or log it. In nft a drop is final, an accept only ends the chain it is in. So no rule of others lets a
stranger in, and a peer still has to pass theirs. Prerouting would come earlier yet, but there nobody knows whether a
packet is for this Droplet or for a container.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from droplan_boot.access.policy import Policy, Segment
from droplan_boot.networks import Interval, Network, intervals, join

NAME: Final = "inet droplan"

DELETIONS: Final = 8
"""Up to so many elements are deleted one by one. For each, nft from 1.0 on passes over the whole set, at an eighth of
the cost of writing all of it (docs/nftables.md): from there on filling the set anew is less work."""

# nft names the priorities next to those that it knows, since version 0.9.1: -20 reads the same everywhere.
_BASE: Final = "type filter hook {0} priority -20; policy accept;"
_REPLIES: Final = "ct direction reply ct state established,related"
# The same types as in ruleset: on the private network solicitation and advertisement of neighbours (RFC 4861), on the
# public one routers have their say too.
_NEIGHBOURS: Final = {
    False: "nd-neighbor-solicit, nd-neighbor-advert",
    True: "nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect",
}
# By the last letter of a set's name: its type, the address family, and the bytes of an address.
_SETS: Final = {"4": ("ipv4_addr", socket.AF_INET, 4), "6": ("ipv6_addr", socket.AF_INET6, 16)}
_BLOCK: Final = re.compile(r"^\t(\w+) (\S+) \{\n((?:\t\t.*\n)*)\t\}\n", re.MULTILINE)


@dataclass(frozen=True)
class Table:
    """Our table: what is wanted, or what the kernel has.

    Args:
        sets: intervals of addresses by set; ascending, neither overlapping nor adjacent.
        chains: rules by chain, as ``nft list`` spells them; a base chain begins with its hook.
        strange: what else is in it, which is not ours.
    """

    sets: Mapping[str, tuple[Interval, ...]]
    chains: Mapping[str, tuple[str, ...]]
    strange: tuple[str, ...] = ()


def build(policy: Policy) -> Table | None:
    """Spell a policy; None when it asks for no rule."""
    heads: dict[str, list[str]] = {"input": [], "forward": [], "output": []}
    sets: dict[str, tuple[Interval, ...]] = {}
    chains: dict[str, tuple[str, ...]] = {}
    for segment in policy.segments:
        forward = "droplan-forward-public" if segment.public else "droplan-forward"
        for name in segment.interfaces:
            heads["input"].append(f'iifname "{name}" jump {segment.chain}')
            heads["forward"].append(f'iifname "{name}" jump {forward}')
        for version in (4, 6):
            sets[f"{segment.chain}{version}"] = tuple(intervals(segment.sources(version), version))
        chains[segment.chain] = (
            f"{_REPLIES} accept",
            f"icmpv6 type {{ {_NEIGHBOURS[segment.public]} }} accept",
            *(f"{rule} accept" for rule in _services(segment, "{0} dport {1}")),
            *(f"{rule} accept" for rule in _peers(segment)),
            "drop",
        )
        # A published port is rewritten before we see the packet: what the sender asked for is what conntrack
        # remembers. Peers return, because the rule about the metadata service comes after.
        chains[forward] = (
            f"{_REPLIES} return",
            *(f"{rule} return" for rule in _services(segment, "meta l4proto {0} ct original proto-dst {1}")),
            *(f"{rule} return" for rule in _peers(segment)),
            "drop",
        )
    if policy.metadata:
        # Only root may reach the service that shows the token to whoever asks; containers may not at all.
        refuse = f"ip daddr {policy.metadata} reject"
        heads["forward"].append(refuse)
        heads["output"] += [f"ip daddr {policy.metadata} meta skuid {uid} accept" for uid in policy.metadata_readers]
        heads["output"].append(refuse)
    based = {hook: (_BASE.format(hook), *rules) for hook, rules in heads.items() if rules}
    return Table(sets, {**chains, **based}) if based else None


def render(table: Table) -> str:
    """Write a table as ``nft`` reads and lists it."""
    blocks = [_render_set(name, held) for name, held in table.sets.items()]
    blocks += [_block("chain", name, rules) for name, rules in table.chains.items()]
    return f"table {NAME} {{\n" + "\n".join(blocks) + "}\n"


def replace(text: str) -> str:
    """Write the transaction that puts a table ("" for none) in place of ours, whether that is there or not."""
    return f"add table {NAME}\ndelete table {NAME}\n{text}"


def small_change(current: Table | None, wanted: Table | None) -> str:
    """Write the transaction that changes elements of sets only.

    Returns:
        "" when more than that differs, or when filling the sets anew is less work.
    """
    if current is None or wanted is None or differences(current, wanted, elements=False):
        return ""
    old, new = current.sets, wanted.sets
    gone = {name: sorted(set(old[name]) - set(new[name])) for name in new}
    come = {name: sorted(set(new[name]) - set(old[name])) for name in new}
    if sum(map(len, gone.values())) > DELETIONS:
        return ""
    # Deletions first: a grown interval overlaps the one that it takes the place of.
    return "".join(
        f"{verb} element {NAME} {name} {{ {_elements(name, held)} }}\n"
        for verb, changed in (("delete", gone), ("add", come))
        for name, held in changed.items()
        if held
    )


def update(current: Table | None, wanted: Table | None) -> str:
    """Write the transaction that fills sets and chains anew where they stand.

    Chains and sets stay themselves, because a packet may be on its way through them at the moment of the commit. In a
    table that is replaced it would look into a set that has just been deleted, and a peer's packet would be dropped:
    24 of 83,000 in 300 replacements.

    Returns:
        "" when the table is not there, or holds something of another shape, so that it has to be replaced.
    """
    if current is None or wanted is None or current.strange or _bases(current, wanted) != _bases(wanted, current):
        return ""
    lines: list[str] = []
    for name, held in wanted.sets.items():
        if name not in current.sets:
            lines.append(f"add set {NAME} {name} {{ type {_SETS[name[-1]][0]}; flags interval; }}")
        elif current.sets[name]:
            lines += [f"flush set {NAME} {name}"] if current.sets[name] != held else []
        if held and current.sets.get(name) != held:
            lines.append(f"add element {NAME} {name} {{ {_elements(name, held)} }}")
    changed = {name: rules for name, rules in wanted.chains.items() if current.chains.get(name) != rules}
    for name, rules in changed.items():  # all chains first: rules jump to each other's
        base = f" {{ {rules[0]} }}" if rules[0].startswith("type ") else ""
        lines += [f"flush chain {NAME} {name}"] if name in current.chains else [f"add chain {NAME} {name}{base}"]
    for name, rules in changed.items():
        lines += [f"add rule {NAME} {name} {rule}" for rule in rules if not rule.startswith("type ")]
    surplus = [name for name in current.chains if name not in wanted.chains]
    lines += [f"flush chain {NAME} {name}" for name in surplus]
    lines += [f"delete chain {NAME} {name}" for name in surplus]
    lines += [f"delete set {NAME} {name}" for name in current.sets if name not in wanted.sets]
    return "".join(f"{line}\n" for line in lines)


def _bases(one: Table, other: Table) -> dict[str, str]:
    """Tell how the chains that both have hang in the kernel; that cannot be changed where they stand."""
    both = {name: one.chains[name][:1] for name in one.chains if name in other.chains}
    return {name: first[0] if first and first[0].startswith("type ") else "" for name, first in both.items()}


def differences(current: Table | None, wanted: Table | None, *, elements: bool = True) -> tuple[str, ...]:
    """Say in words how a table differs from what is wanted, a line each.

    Args:
        current: the kernel's; None when there is none.
        wanted: what is wanted; None for no table.
        elements: whether to compare what is in the sets.
    """
    if current is None or wanted is None:
        return () if current is wanted else (f"table {NAME} {'is missing' if wanted else 'should not be there'}",)
    lines = [f"table {NAME} has what is not ours: {what}" for what in current.strange]
    for kind, have, want in (("chain", current.chains, wanted.chains), ("set", current.sets, wanted.sets)):
        lines += [f"{kind} {name} is missing" for name in want if name not in have]
        lines += [f"{kind} {name} should not be there" for name in have if name not in want]
    for name, rules in wanted.chains.items():
        if current.chains.get(name, rules) != rules:
            lines.append(f"chain {name} is altered")
    for name, held in wanted.sets.items() if elements else ():
        if current.sets.get(name, held) != held:
            missing, surplus = set(held) - set(current.sets[name]), set(current.sets[name]) - set(held)
            lines.append(f"set {name} lacks {len(missing)} of its entries and has {len(surplus)} others")
    return tuple(lines)


def parse(text: str) -> Table | None:
    """Read a table as ``nft list`` prints it; None for ""."""
    if not text:
        return None
    sets: dict[str, tuple[Interval, ...]] = {}
    chains: dict[str, tuple[str, ...]] = {}
    strange = [line.strip() for line in _BLOCK.sub("", text).splitlines()[1:] if line not in ("", "}")]
    for kind, name, body in _BLOCK.findall(text):
        if kind == "chain":
            # From 1.0 on nft adds with what it rejects, though it is the usual answer.
            usual = body.replace("reject with icmp port-unreachable\n", "reject\n")
            chains[name] = tuple(line.strip() for line in usual.splitlines())
            continue
        intervals = _parse_set(name, body) if kind == "set" else None
        if intervals is None:
            strange.append(f"{kind} {name}")
        else:
            sets[name] = intervals
    return Table(sets, chains, tuple(strange))


def _parse_set(name: str, body: str) -> tuple[Interval, ...] | None:
    """Read a set's intervals; None when it is of another kind than ours."""
    if name[-1] not in _SETS:
        return None
    address_type, family, size = _SETS[name[-1]]
    header, _, elements = body.partition("elements = {")
    if header.split() != ["type", address_type, "flags", "interval"]:
        return None

    def number(address: str) -> int:
        return int.from_bytes(socket.inet_pton(family, address), "big")

    found = []
    try:
        for element in elements.strip().rstrip("}").split(",") if elements else ():
            first, _, last = element.strip().partition("-")
            address, _, length = first.partition("/")
            begin = number(address)
            rest = 8 * size - int(length or 8 * size)
            found.append((begin, number(last) if last else begin | ((1 << rest) - 1)))
    except (OSError, ValueError):
        return None  # elements with counters, time-outs or comments are not ours
    return tuple(join(found))


def _peers(segment: Segment) -> tuple[str, str]:
    return f"ip saddr @{segment.chain}4", f"ip6 saddr @{segment.chain}6"


def _services(segment: Segment, port: str) -> Iterator[str]:
    for entry in segment.allow:
        if entry.protocol:
            yield _source(entry.source) + port.format(entry.protocol, entry.port)


def _source(source: Network | None) -> str:
    if source is None:
        return ""
    if not source.prefixlen:
        return f"meta nfproto ipv{source.version} "
    address = source.network_address if source.prefixlen == source.max_prefixlen else source
    return f"{'ip' if source.version == 4 else 'ip6'} saddr {address} "


def _render_set(name: str, held: tuple[Interval, ...]) -> str:
    elements = (f"elements = {{ {_elements(name, held)} }}",) if held else ()
    return _block("set", name, (f"type {_SETS[name[-1]][0]}", "flags interval", *elements))


def _elements(name: str, held: Iterable[Interval]) -> str:
    _, family, size = _SETS[name[-1]]

    def text(address: int) -> str:
        return socket.inet_ntop(family, address.to_bytes(size, "big"))

    return ", ".join(text(first) if first == last else f"{text(first)}-{text(last)}" for first, last in held)


def _block(kind: str, name: str, lines: Iterable[str]) -> str:
    return f"\t{kind} {name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"
