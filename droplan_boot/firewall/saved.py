"""What a file of saved rules is to hold, in iptables-save's format. Pure; ``setup.persistence`` writes it.

Our rules and what stood there before us, never what other programs had at that moment: loaded at boot, those would be
stale and, with some programs, doubled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from droplan_boot.firewall import edits, ruleset


def holds(text: str, wanted: Iterable[ruleset.Ruleset]) -> bool:
    """Whether what is loaded from ``text`` at boot is our rules as wanted, table by table."""
    bare = re.sub(r"^\[\d+:\d+\] (?=-A )", "", text, flags=re.MULTILINE)
    return not any(edits.needed(edits.parse(bare, one.table), one) for one in wanted)


def mended(text: str) -> tuple[str, tuple[str, ...]]:
    """Make a saved file one that can be loaded: a single line that iptables-restore cannot read keeps all others out.

    Args:
        text: the file, in iptables-save's format; cut short, perhaps, or with something else in it.

    Returns:
        The text, every table of it ended, and the lines that had to be left out.
    """
    lines: list[str] = []
    left_out: list[str] = []
    table = False
    for line in text.removesuffix("\n").split("\n") if text else []:
        if line.startswith("*"):
            lines += ["COMMIT"] if table else []
            table = True
        elif line == "COMMIT" and table:
            table = False
        elif line.strip() and not line.startswith("#") and not (table and re.match(r":|\s*(-|\[\d+:\d+\] +-)", line)):
            left_out.append(line)
            continue
        lines.append(line)
    lines += ["COMMIT"] if table else []
    return "".join(f"{line}\n" for line in lines), tuple(left_out)


def splice(text: str, wanted: ruleset.Ruleset) -> str:
    """Put our rules into a saved file, and leave all else in it as it is.

    Args:
        text: the file, in iptables-save's format; "" for none.
        wanted: our rules.

    Returns:
        The new text: every line of others as it was, ours as wanted.
    """
    lines = text.removesuffix("\n").split("\n") if text else []
    hooks = ruleset.TABLES[wanted.table]
    if f"*{wanted.table}" not in lines:
        if wanted.table != "filter" and not wanted.chains:
            return text
        lines += [f"*{wanted.table}", *(f":{hook} ACCEPT [0:0]" for hook in hooks), "COMMIT"]
    start = lines.index(f"*{wanted.table}")
    end = lines.index("COMMIT", start) if "COMMIT" in lines[start:] else len(lines)
    bare = [re.sub(r"^\[\d+:\d+\] (?=-A )", "", line) for line in lines]  # saved with `-c`, rules begin with counters
    table = edits.parse("\n".join(bare[start:end]), wanted.table)
    drop = {hook: edits.mine(rules, edits.known(hook, wanted)) for hook, rules in table.items() if hook in hooks}
    kept: list[str] = []
    count: dict[str, int] = {}
    for line, rule in zip(lines[start + 1 : end], bare[start + 1 : end]):
        chain = (
            rule.split(" ")[1] if rule.startswith("-A ") else rule[1:].split(" ")[0] if rule.startswith(":") else ""
        )
        if chain.startswith(ruleset.PREFIX):
            continue
        if rule.startswith("-A "):
            count[chain] = count.get(chain, -1) + 1
            if count[chain] in drop.get(chain, ()):
                continue
        kept.append(line)
    declared = [line for line in kept if line.startswith(":")]
    others = [line for line in kept if not line.startswith(":")]
    ours = [f":{chain} - [0:0]" for chain in wanted.chains]
    rules = [f"-A {hook} {rule}" for hook in hooks for rule in wanted.heads.get(hook, ())]
    rules += [f"-A {chain} {rule}" for chain, listed in wanted.chains.items() for rule in listed]
    left = [*declared, *ours, *rules, *others]
    empty = [f":{hook} ACCEPT [0:0]" for hook in hooks]
    if wanted.table != "filter" and left == empty != lines[start + 1 : end]:
        del lines[start : end + 1]  # ours were all that was in it: we made the table
    else:
        lines[start + 1 : end] = left
    return "\n".join([*lines, ""]) if lines else ""


def _bare(dump: str) -> str:
    """Leave out counters and the time of day, which would make every save differ from the one before."""
    text = re.sub(r"^#.*\n", "", dump, flags=re.MULTILINE)
    return re.sub(r"^(:\S+ \S+) \[\d+:\d+\]$", r"\1 [0:0]", text, flags=re.MULTILINE)


def rules(text: str) -> dict[str, list[str]]:
    """Reduce a saved file to what it sets: each table's chains and rules. Tables that set nothing are left out."""
    tables: dict[str, list[str]] = {}
    chains: dict[str, list[str]] = {}
    name = ""
    for line in _bare(text).splitlines():
        if line.startswith("*"):
            name = line
        elif line.startswith(":") and not line.endswith(" ACCEPT [0:0]"):
            chains.setdefault(name, []).append(line)
        elif line.startswith("-"):
            tables.setdefault(name, []).append(line)
    return {name: sorted(chains.get(name, ())) + tables.get(name, []) for name in {*tables, *chains}}
