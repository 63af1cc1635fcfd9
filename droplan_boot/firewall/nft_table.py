"""Our table of nftables: what it holds, how it is read, written, compared and changed. Pure.

What a policy asks of it is spelled in ``nft_guard``. A set is one of three kinds, told by its name: single addresses
in a plain set, which is a hash table to the kernel; networks in a set of intervals; and who was heard of a moment
ago, which the kernel itself fills (so its elements are never compared).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from droplan_boot.firewall import protocols
from droplan_boot.networks import Interval, join
from droplan_boot.plural import counted

NAME: Final = "inet droplan"

DELETIONS: Final = 8
"""Up to so many elements of a set of intervals are deleted one by one. For each, nft from 1.0 on passes over the
whole set, at an eighth of the cost of writing all of it (docs/guard.md): from there on filling it anew is less
work."""

ADDRESSES: Final = "droplan-addresses"
NETWORKS: Final = "droplan-networks"
HEARD: Final = "droplan-heard"

# By IP version: the type of a set's elements, the address family, and the bytes of an address.
_ADDRESSES: Final = {4: ("ipv4_addr", socket.AF_INET, 4), 6: ("ipv6_addr", socket.AF_INET6, 16)}
_KINDS: Final = {
    ADDRESSES: (),
    NETWORKS: ("flags interval",),
    HEARD: ("size 4096", "flags dynamic,timeout", "timeout 10s"),
    # droplan 1.0.0 kept addresses and networks together.
    "droplan-peers": ("flags interval",),
}
_NAMED: Final = re.compile(
    rf"(?P<kind>{'|'.join(_KINDS)})(?:-public)?(?:-(?:tcp|udp|icmp|\d+)(?:-\d+){{0,2}}-)?(?P<version>[46])"
)
"""How our sets are named: what kind, on which network, for which service, of which IP version."""

_BLOCK: Final = re.compile(r"^\t(\w+) (\S+) \{\n((?:\t\t.*\n)*)\t\}\n", re.MULTILINE)


@dataclass(frozen=True)
class Table:
    """Our table: what is wanted, or what the kernel has.

    Args:
        sets: intervals of addresses by set; ascending, and in sets of intervals neither overlapping nor adjacent.
        chains: rules by chain, as ``nft list`` spells them; a base chain begins with its hook.
        strange: what else is in it, which is not ours.
    """

    sets: Mapping[str, tuple[Interval, ...]]
    chains: Mapping[str, tuple[str, ...]]
    strange: tuple[str, ...] = ()


def render(table: Table, name: str = NAME) -> str:
    """Write a table as ``nft`` reads and lists it."""
    blocks = [_render_set(each, held) for each, held in table.sets.items()]
    blocks += [_block("chain", each, rules) for each, rules in table.chains.items()]
    return f"table {name} {{\n" + "\n".join(blocks) + "}\n"


def replace(text: str) -> str:
    """Write the transaction that puts a table ("" for none) in place of ours, whether that is there or not."""
    return f"add table {NAME}\ndelete table {NAME}\n{text}"


def forgets_us(text: str, *, flushes: bool = False) -> bool:
    """Whether what nft loads flushes all rules, or is loaded after a flush, and does not include ours after that.

    Args:
        text: what it loads, files that it includes in their place.
        flushes: whether the service flushes by itself.
    """
    *before, last = re.split(r"^[ \t]*flush[ \t]+ruleset\b", text, flags=re.MULTILINE)
    return (flushes or bool(before)) and not re.search(r'^[ \t]*include[ \t]+"/etc/droplan/', last, re.MULTILINE)


def small_change(current: Table | None, wanted: Table | None) -> str:
    """Write the transaction that changes elements of sets only.

    Returns:
        "" when more than that differs, or when filling the sets anew is less work.
    """
    if current is None or wanted is None or differences(current, wanted, elements=False):
        return ""
    gone, come = _changed(current, wanted)
    if any(len(held) > DELETIONS for name, held in gone.items() if _is_of_intervals(name)):
        return ""
    return _element_lines(gone, come)


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
            lines.append(f"add set {NAME} {name} {{ {'; '.join(_declaration(name))}; }}")
        elif current.sets[name] and _is_of_intervals(name) and current.sets[name] != held:
            lines.append(f"flush set {NAME} {name}")
        if held and current.sets.get(name) != held and (_is_of_intervals(name) or name not in current.sets):
            lines.append(f"add element {NAME} {name} {{ {_elements(name, held)} }}")
    # Plain sets are changed by what differs: a deletion there costs no look over the others.
    plain = {name: held for name, held in wanted.sets.items() if name in current.sets and not _is_of_intervals(name)}
    lines += _element_lines(*_changed(current, Table(plain, {}))).splitlines()
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
            words = (
                f"lacks {counted(len(missing), 'element')}" if missing else "",
                f"has {counted(len(surplus), 'element')} too many" if surplus else "",
            )
            lines.append(f"set {name} {' and '.join(filter(None, words))}")
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
            usual = protocols.numbered(body.replace("reject with icmp port-unreachable\n", "reject\n"))
            chains[name] = tuple(line.strip() for line in usual.splitlines())
            continue
        held = _parse_set(name, body) if kind == "set" else None
        if held is None:
            strange.append(f"{kind} {name}")
        else:
            sets[name] = held
    return Table(sets, chains, tuple(strange))


def _bases(one: Table, other: Table) -> dict[str, str]:
    """Tell how the chains that both have hang in the kernel; that cannot be changed where they stand."""
    both = {name: one.chains[name][:1] for name in one.chains if name in other.chains}
    return {name: first[0] if first and first[0].startswith("type ") else "" for name, first in both.items()}


_Elements = Mapping[str, Iterable[Interval]]


def _changed(current: Table, wanted: Table) -> tuple[dict[str, list[Interval]], dict[str, list[Interval]]]:
    """List by set what goes and what comes, of the sets that both have."""
    old, new = current.sets, wanted.sets
    gone = {name: sorted(set(old[name]) - set(new[name])) for name in new}
    come = {name: sorted(set(new[name]) - set(old[name])) for name in new}
    return gone, come


def _element_lines(gone: _Elements, come: _Elements) -> str:
    # Deletions first: a grown interval overlaps the one that it takes the place of.
    return "".join(
        f"{verb} element {NAME} {name} {{ {_elements(name, held)} }}\n"
        for verb, changed in (("delete", gone), ("add", come))
        for name, held in changed.items()
        if held
    )


def _is_of_intervals(name: str) -> bool:
    return "flags interval" in _kind(name)


def _kind(name: str) -> tuple[str, ...]:
    found = _NAMED.fullmatch(name)
    return _KINDS[found["kind"]] if found else ()


def _address(name: str) -> tuple[str, socket.AddressFamily, int]:
    """Tell what the elements of one of our sets are: their type, the address family, the bytes of an address."""
    found = _NAMED.fullmatch(name)
    if not found:
        raise ValueError(f"{name} is no set of ours")
    return _ADDRESSES[int(found["version"])]


def _declaration(name: str) -> tuple[str, ...]:
    return (f"type {_address(name)[0]}", *_kind(name))


def _parse_set(name: str, body: str) -> tuple[Interval, ...] | None:
    """Read a set's intervals; None when it is of another kind than ours."""
    if not _NAMED.fullmatch(name):
        return None
    _, family, size = _address(name)
    header, _, elements = body.partition("elements = {")
    # nft 1.1.7 (not yet 1.1.3) adds to the size how many elements there are: size 4096 # count 1.
    lines = [line.partition("#")[0].strip() for line in header.splitlines()]
    if sorted(filter(None, lines)) != sorted(_declaration(name)):
        return None
    if name.startswith(HEARD):
        return ()

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
    return tuple(join(found)) if _is_of_intervals(name) else tuple(sorted(found))


def _render_set(name: str, held: tuple[Interval, ...]) -> str:
    elements = (f"elements = {{ {_elements(name, held)} }}",) if held else ()
    return _block("set", name, (*_declaration(name), *elements))


def _elements(name: str, held: Iterable[Interval]) -> str:
    _, family, size = _address(name)

    def text(address: int) -> str:
        return socket.inet_ntop(family, address.to_bytes(size, "big"))

    return ", ".join(text(first) if first == last else f"{text(first)}-{text(last)}" for first, last in held)


def _block(kind: str, name: str, lines: Iterable[str]) -> str:
    return f"\t{kind} {name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"
