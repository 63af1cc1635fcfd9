"""What a file of saved rules is to hold, in iptables-save's format. Pure; ``setup.persistence`` writes it."""

from __future__ import annotations

import re

from droplan_boot.access.policy import Policy
from droplan_boot.firewall import edits, ruleset


def text(policy: Policy, version: int, old: str) -> str:
    """Write what is to be loaded at boot: what stands there already, and our rules, first.

    It is never a dump of all rules in force. Those that fail2ban, Docker, Tailscale or a person wrote as they went
    would be stale when they are loaded again, and with some programs doubled. droplan 1.0.0 dumped them where it knew
    of no such program. A file that holds its dump loses only the rules that are ours: whose the others are, nobody
    can tell by now.

    Args:
        policy: what is enforced.
        version: 4 or 6.
        old: the file as it is; "" for none.
    """
    return splice(old, ruleset.build(policy, version))


def holds(text: str, policy: Policy, version: int) -> bool:
    """Whether what is loaded from ``text`` at boot is our rules as ``policy`` asks, before everybody else's."""
    wanted = ruleset.build(policy, version)
    bare = re.sub(r"^\[\d+:\d+\] (?=-A )", "", text, flags=re.MULTILINE)
    return not edits.needed(edits.parse(bare), wanted)


def splice(text: str, wanted: ruleset.Ruleset) -> str:
    """Put our rules into a saved file, and leave all else in it as it is.

    Args:
        text: the file, in iptables-save's format; "" for none.
        wanted: our rules.

    Returns:
        The new text: every line of others as it was, ours as wanted.
    """
    lines = text.removesuffix("\n").split("\n") if text else []
    if "*filter" not in lines:
        lines += ["*filter", ":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", "COMMIT"]
    start = lines.index("*filter")
    end = lines.index("COMMIT", start) if "COMMIT" in lines[start:] else len(lines)
    bare = [re.sub(r"^\[\d+:\d+\] (?=-A )", "", line) for line in lines]  # saved with `-c`, rules begin with counters
    table = edits.parse("\n".join(bare[start:end]))
    drop = {
        hook: edits.mine(rules, edits.known(hook, wanted)) for hook, rules in table.items() if hook in ruleset.HOOKS
    }
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
    rules = [f"-A {hook} {rule}" for hook in ruleset.HOOKS for rule in wanted.heads.get(hook, ())]
    rules += [f"-A {chain} {rule}" for chain, listed in wanted.chains.items() for rule in listed]
    lines[start + 1 : end] = [*declared, *ours, *rules, *others]
    return "\n".join([*lines, ""])


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
