"""Compare a table of ip(6)tables with the rules that are wanted, and list the edits. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Union

from droplan_boot.firewall import protocols
from droplan_boot.firewall.ruleset import PREFIX, REPLIES, TABLES, Ruleset

Rules = Mapping[str, Sequence[str]]
"""A table of one family: rules by chain, built-in chains included."""


class Fill(NamedTuple):
    """Make a chain of ours, emptied if it is there, and fill it."""

    chain: str
    rules: tuple[str, ...]


class Delete(NamedTuple):
    """Delete the first rule of a chain that reads like this."""

    chain: str
    rule: str


class Insert(NamedTuple):
    """Insert a rule at a position, counted from 1."""

    chain: str
    position: int
    rule: str


class Erase(NamedTuple):
    """Remove a chain of ours that no rule leads to any more."""

    chain: str


Edit = Union[Fill, Delete, Insert, Erase]

_JUMP: Final = re.compile(rf"-i (\S+) -j {PREFIX}\S+")
_ANY_JUMP: Final = re.compile(rf"(?:.* )?-[jg] {PREFIX}\S+")
_BARE: Final = re.compile(
    r"(?:-i (?P<on>\S+) |! -i (?P<not>\S+) )?(?:-p \S+ )?(?:-m comment --comment (?:\"[^\"]*\"|\S+) )?"
    r"-j (?:DROP|REJECT --reject-with \S+|REJECT)"
)
_GO_REPLIES: Final = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


def parse(text: str, table: str = "filter") -> dict[str, list[str]]:
    """Read a table out of what iptables-save printed.

    Returns:
        Rules by chain; empty when the table is not there.
    """
    chains: dict[str, list[str]] = {}
    _, found, rest = ("\n" + text).partition(f"\n*{table}\n")
    if not found:
        return chains
    for line in rest.split("\nCOMMIT", 1)[0].split("\n"):
        if line.startswith("-A "):
            _, chain, rule = line.split(" ", 2) if line.count(" ") > 1 else (*line.split(" "), "")
            chains.setdefault(chain, []).append(protocols.numbered(rule.rstrip()) if "-p" in rule else rule.rstrip())
        elif line.startswith(":"):
            chains.setdefault(line[1:].split(" ", 1)[0], [])
    return chains


def needed(current: Rules, wanted: Ruleset) -> tuple[Edit, ...]:
    """List the edits that make our part of the table what is wanted; none when it is."""
    return (
        *(edit for chain, rules in wanted.chains.items() for edit in _chain(chain, current.get(chain), rules)),
        *(edit for hook in TABLES[wanted.table] for edit in _head(hook, current.get(hook, ()), wanted)),
        *(Erase(chain) for chain in current if chain.startswith(PREFIX) and chain not in wanted.chains),
    )


def undo(current: Rules, before: Rules, wanted: Ruleset) -> tuple[Edit, ...]:
    """List the edits that take back what was done for ``wanted`` since the table read ``before``."""
    listed: list[Edit] = []
    for chain in (name for name in current if name.startswith(PREFIX) and name in before):
        listed += _chain(chain, current[chain], tuple(before[chain]))
    listed += [
        Fill(chain, tuple(before[chain])) for chain in before if chain.startswith(PREFIX) and chain not in current
    ]
    for hook in TABLES[wanted.table]:
        now, then, ours = current.get(hook, ()), before.get(hook, ()), known(hook, wanted)
        if list(now) != list(then):
            listed += [Delete(hook, now[index]) for index in sorted(mine(now, ours))]
            listed += [Insert(hook, index + 1, then[index]) for index in sorted(mine(then, ours))]
    listed += [Erase(chain) for chain in current if chain.startswith(PREFIX) and chain not in before]
    return tuple(listed)


def mine(rules: Sequence[str], head: Sequence[str]) -> set[int]:
    """Find our rules in a built-in chain.

    Ours are copies of the head's rules, jumps to our chains, and what belongs to such a jump for its interface: the
    rule for replies before it, the DROP after it, or the two that the Go droplan appended after its jump.

    Returns:
        Their indices, from 0.
    """
    found = {index for index, rule in enumerate(rules) if rule in head or _ANY_JUMP.fullmatch(rule)}
    for index, rule in enumerate(rules):
        jump = _JUMP.fullmatch(rule)
        if not jump:
            continue
        on = f"-i {jump[1]} "
        if index and rules[index - 1] == f"{on}{REPLIES} -j ACCEPT":
            found.add(index - 1)
        after = index + 1
        if rules[after : after + 1] == [f"{on}{_GO_REPLIES}"]:
            found.add(after)
            after += 1
        if rules[after : after + 1] == [f"{on}-j DROP"]:
            found.add(after)
    return found


def script(planned: Sequence[Edit], table: str = "filter") -> str:
    """Write edits as input of ``iptables-restore --noflush``: one transaction."""
    return "\n".join([f"*{table}", *_lines(planned), "COMMIT", ""])


def _lines(planned: Sequence[Edit]) -> Iterator[str]:
    fills = [edit for edit in planned if isinstance(edit, Fill)]
    erased = [edit.chain for edit in planned if isinstance(edit, Erase)]
    for fill in fills:  # all chains first: rules refer to each other's
        yield f":{fill.chain} - [0:0]"
    for fill in fills:
        for rule in fill.rules:
            yield f"-A {fill.chain} {rule}"
    for edit in planned:
        if isinstance(edit, Delete):
            yield f"-D {edit.chain} {edit.rule}"
        elif isinstance(edit, Insert):
            yield f"-I {edit.chain} {edit.position} {edit.rule}"
    for chain in erased:  # all emptied before the first goes: they refer to each other
        yield f"-F {chain}"
    for chain in erased:
        yield f"-X {chain}"


def _head(hook: str, rules: Sequence[str], wanted: Ruleset) -> Iterator[Edit]:
    head = wanted.heads.get(hook, ())
    ours = sorted(mine(rules, known(hook, wanted)))
    if _in_place(hook, [rules[index] for index in ours] == list(head), rules, ours, head):
        return
    for index in reversed(ours):
        yield Delete(hook, rules[index])
    place = _place(hook, rules, ours, head)
    for rule in reversed(head):
        yield Insert(hook, place, rule)


def _in_place(hook: str, once: bool, rules: Sequence[str], ours: Sequence[int], head: Sequence[str]) -> bool:
    """Whether the head's rules stand where they are to.

    In INPUT others may put what they like above: it is the guard that shuts strangers out, and a ban of fail2ban's is
    to hold. Only what would shut out everybody must not come first. Elsewhere ours are the very first.
    """
    if not once or not head:
        return once
    return _blocked(rules, ours, head) is None if hook == "INPUT" else ours[-1] == len(head) - 1


def _place(hook: str, rules: Sequence[str], ours: Sequence[int], head: Sequence[str]) -> int:
    """Choose where the head's rules go, counted from 1 among the rules of others.

    That is the head of the chain; but where ours stood already, others' above them stay above.
    """
    left = [index for index in ours if rules[index] in head]
    if hook != "INPUT" or not left or any(_GO_REPLIES in rules[index] for index in ours):
        return 1
    blocked = _blocked(rules, ours, head)
    first = left[0] if blocked is None else min(left[0], blocked)
    return 1 + sum(1 for index in range(first) if index not in ours)


def _blocked(rules: Sequence[str], ours: Sequence[int], head: Sequence[str]) -> int | None:
    """Find the first rule of others before the last of ours that shuts everybody out of one of our interfaces.

    A jump never does that, nor what asks for more than an interface and a protocol.
    """
    names = {rule.split(" ")[1] for rule in head}
    for index in range(ours[-1] if ours else 0):
        bare = None if index in ours else _BARE.fullmatch(rules[index])
        if bare and any(_applies(name, bare["on"], bare["not"]) for name in names):
            return index
    return None


def _applies(name: str, on: str | None, other_than: str | None) -> bool:
    return (on is None or _is_on(name, on)) and (other_than is None or not _is_on(name, other_than))


def _is_on(name: str, spelled: str) -> bool:
    return name.startswith(spelled[:-1]) if spelled.endswith("+") else name == spelled


def known(hook: str, wanted: Ruleset) -> tuple[str, ...]:
    """List the rules of a built-in chain that are ours, wanted or retired."""
    return (*wanted.heads.get(hook, ()), *wanted.retired.get(hook, ()))


def _chain(chain: str, rules: Sequence[str] | None, wanted: tuple[str, ...]) -> Sequence[Edit]:
    if rules is None:
        return [Fill(chain, wanted)]
    if tuple(rules) == wanted:
        return []
    change = _small_change(chain, rules, wanted)
    return [Fill(chain, wanted)] if change is None else change


def _small_change(chain: str, rules: Sequence[str], wanted: Sequence[str]) -> Sequence[Edit] | None:
    """List single deletions and insertions; None when filling the chain anew is less work, or the order differs."""
    old, new = set(rules), set(wanted)
    if len(old) != len(rules) or [rule for rule in rules if rule in new] != [rule for rule in wanted if rule in old]:
        return None
    deleted: list[Edit] = [Delete(chain, rule) for rule in rules if rule not in new]
    inserted = [Insert(chain, place, rule) for place, rule in enumerate(wanted, start=1) if rule not in old]
    return [*deleted, *inserted] if len(deleted) + len(inserted) < len(wanted) else None
