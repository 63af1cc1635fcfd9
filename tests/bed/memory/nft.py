"""nftables in memory: tables of nft's own, as ``nft -f`` writes and ``nft list`` prints them.

A script is one transaction: what nft or the kernel refuses leaves everything as it was. Each refusal was tried with
nft 1.0.6 on kernel 6.18, in a namespace of its own (tests/lab/test_fake_kernel.py tries them again). Elements that an
``update @set`` rule would add are not kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.bed.memory.nft_rules import NftRule, NftSet, read, read_elements, spell_elements
from tests.bed.memory.nft_script import Command, parsed, split
from tests.bed.memory.nft_values import KEYS, Value, merged
from tests.bed.memory.xtables_rules import NetfilterError

ABSENT = "Could not process rule: No such file or directory"
BUSY = "Could not process rule: Device or resource busy"
EXISTS = "Could not process rule: File exists"
UNSUPPORTED = "Could not process rule: Operation not supported"
LONGEST_NAME = 255
DEEPEST = 15
PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
ONLY_AT = {"dstnat": "prerouting", "srcnat": "postrouting"}
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
NAT_HOOKS = ("prerouting", "input", "output", "postrouting")


@dataclass
class Chain:
    """A chain; a base chain when it has a hook."""

    kind: str = ""
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    rules: list[NftRule] = field(default_factory=list)

    def copy(self) -> Chain:
        """Return one of its own; rules never change, they are replaced."""
        return replace(self, rules=[*self.rules])

    @property
    def spec(self) -> tuple[str, str, int]:
        """Return what cannot be changed."""
        return self.kind, self.hook, self.priority


@dataclass
class NftTable:
    """A table."""

    family: str
    name: str
    sets: dict[str, NftSet] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)

    def copy(self) -> NftTable:
        """Return one of its own."""
        sets = {name: one.copy() for name, one in self.sets.items()}
        return replace(self, sets=sets, chains={name: one.copy() for name, one in self.chains.items()})

    @property
    def rules(self) -> Iterator[NftRule]:
        """Walk through all rules."""
        return (rule for chain in self.chains.values() for rule in chain.rules)

    @property
    def too_deep(self) -> bool:
        """Tell whether a base chain's jumps nest too deep, or in a circle."""
        below: dict[str, int] = {}

        def measure(name: str, above: frozenset[str]) -> int:
            if name in above:
                return 1 << 20
            if name not in below:
                targets = {rule.leads for rule in self.chains[name].rules} - {""}
                below[name] = max((1 + measure(one, above | {name}) for one in targets), default=0)
            return below[name]

        return any(measure(name, frozenset()) > DEEPEST for name, chain in self.chains.items() if chain.hook)


def priority(text: str) -> int:
    """Read a priority: a number, a name, or a name and a distance."""
    words = text.replace("+", " + ").replace("-", " - ").split()
    if words[0] in PRIORITIES:
        return PRIORITIES[words[0]] + int("".join(words[1:]) or 0)
    return int("".join(words))


def spell_priority(value: int, hook: str) -> str:
    """Spell a priority as nft lists it: by name within 10 of one that the hook has."""
    for name, base in PRIORITIES.items():
        if abs(value - base) <= 10 and ONLY_AT.get(name, hook) == hook:
            distance = value - base
            return name if not distance else f"{name} {'-' if distance < 0 else '+'} {abs(distance)}"
    return str(value)


@dataclass
class Ruleset:
    """All tables of nft's own."""

    tables: dict[tuple[str, str], NftTable] = field(default_factory=dict)
    handles: int = 0

    def copy(self) -> Ruleset:
        """Return one of its own."""
        return Ruleset({key: table.copy() for key, table in self.tables.items()}, self.handles)

    def run(self, script: str) -> bool:
        """Obey a script, all of it or nothing; return whether it flushed the whole ruleset.

        Raises:
            NetfilterError: it was refused.
        """
        trial = self.copy()
        flushed = False
        line, lines = 1, [*script.splitlines(), ""]
        try:
            for command in parsed(script):
                line = command.line
                trial._obey(command)
                flushed = flushed or (command.verb, command.kind, command.family) == ("flush", "ruleset", "")
            if any(table.too_deep for table in trial.tables.values()):
                line = self._too_deep_at(script)
                raise NetfilterError("Could not process rule: Too many links")
        except NetfilterError as error:
            raise NetfilterError(f"/dev/stdin:{line}:1-1: Error: {error}\n{lines[line - 1]}\n") from None
        self.tables, self.handles = trial.tables, trial.handles
        return flushed

    def _too_deep_at(self, script: str) -> int:
        trial = self.copy()
        for command in parsed(script):
            trial._obey(command)
            if any(table.too_deep for table in trial.tables.values()):
                return command.line
        return 1

    def list_table(self, family: str, name: str) -> str:
        """Print a table as nft does.

        Raises:
            NetfilterError: there is none.
        """
        if (family, name) not in self.tables:
            raise NetfilterError("Error: No such file or directory\n")
        return "\n".join([*_listed(self.tables[family, name]), ""])

    def list(self) -> str:
        """Print all tables as nft does."""
        return "".join(self.list_table(*key) for key in self.tables)

    def _obey(self, command: Command) -> None:
        if command.kind == "ruleset":
            if command.verb == "flush":
                self.tables = {
                    key: table for key, table in self.tables.items() if command.family not in ("", table.family)
                }
            return
        if command.verb == "list":
            raise NotImplementedError("the fake nft lists only what its command line asks for")
        for name in (command.table, command.name):
            if len(name) > LONGEST_NAME:
                raise NetfilterError("Could not process rule: Numerical result out of range")
        key = (command.family, command.table)
        if command.kind == "table":
            self._table(command, key)
            return
        if key not in self.tables:
            raise NetfilterError("No such file or directory")
        {"chain": self._chain, "set": self._set, "element": self._element, "rule": self._rule}[command.kind](
            command, self.tables[key]
        )

    def _table(self, command: Command, key: tuple[str, str]) -> None:
        if command.verb == "add":
            self.tables.setdefault(key, NftTable(*key))
        elif command.verb == "create":
            if key in self.tables:
                raise NetfilterError(EXISTS)
            self.tables[key] = NftTable(*key)
        elif key not in self.tables:
            raise NetfilterError(ABSENT)
        elif command.verb == "delete":
            del self.tables[key]
        else:  # flush: the rules go, chains and sets stay
            for chain in self.tables[key].chains.values():
                chain.rules.clear()

    def _chain(self, command: Command, table: NftTable) -> None:
        chain = table.chains.get(command.name)
        if command.verb in ("add", "create"):
            wanted = _read_chain(command)
            if chain is None:
                table.chains[command.name] = wanted
            elif command.verb == "create" or (wanted.hook and not chain.hook):
                raise NetfilterError(EXISTS)
            elif wanted.hook and wanted.spec != chain.spec:
                raise NetfilterError(UNSUPPORTED)
            elif "policy" in command.rest:
                chain.policy = wanted.policy
        elif chain is None:
            raise NetfilterError(ABSENT)
        elif command.verb == "flush":
            chain.rules.clear()
        else:
            if any(rule.leads == command.name for rule in table.rules):
                raise NetfilterError(BUSY)
            del table.chains[command.name]

    def _set(self, command: Command, table: NftTable) -> None:
        found = table.sets.get(command.name)
        if command.verb in ("add", "create"):
            wanted, elements = _read_set(command)
            if found is None:
                table.sets[command.name] = found = wanted
            elif command.verb == "create" or (found.kinds, found.flags) != (wanted.kinds, wanted.flags):
                raise NetfilterError(EXISTS)
            _add(found, elements)
        elif found is None:
            raise NetfilterError("No such file or directory" if command.verb == "flush" else ABSENT)
        elif command.verb == "flush":
            found.elements.clear()
        elif any(command.name in rule.refers for rule in table.rules):
            raise NetfilterError(BUSY)
        else:
            del table.sets[command.name]

    def _element(self, command: Command, table: NftTable) -> None:
        if command.name not in table.sets:
            raise NetfilterError("No such file or directory")
        found = table.sets[command.name]
        elements = read_elements([word for word in command.rest if word != ";"], found.kinds)
        if command.verb in ("add", "create"):
            if command.verb == "create" and any(one in found.elements for one in elements):
                raise NetfilterError(EXISTS)
            _add(found, elements)
            return
        for one in elements:
            if one not in found.elements:
                raise NetfilterError("element does not exist" if "interval" in found.flags else ABSENT)
            del found.elements[one]

    def _rule(self, command: Command, table: NftTable) -> None:
        chain, words, place = table.chains.get(command.name), list(command.rest), None
        if words[:1] in (["handle"], ["index"], ["position"]):
            place, words = (words[0], int(words[1])), words[2:]
        made = read(words, table.sets, table.family) if command.verb != "delete" else NftRule(())
        if chain is None:
            raise NetfilterError(ABSENT)
        if made.leads and made.leads not in table.chains:
            raise NetfilterError(ABSENT)
        if made.leads and table.chains[made.leads].hook:
            raise NetfilterError(UNSUPPORTED)
        index = len(chain.rules) if command.verb == "add" else 0
        if place:
            handles = [rule.handle for rule in chain.rules]
            known = range(len(handles)) if place[0] == "index" else handles
            if place[1] not in known:
                raise NetfilterError(ABSENT)
            index = place[1] if place[0] == "index" else handles.index(place[1])
            index += command.verb == "add"
        if command.verb in ("delete", "replace"):
            del chain.rules[index]
        if command.verb != "delete":
            self.handles += 1
            chain.rules.insert(index, replace(made, handle=self.handles))


def _read_chain(command: Command) -> Chain:
    chain = Chain()
    for part in split(command.rest):
        if part[0] == "policy":
            if part[1] not in ("accept", "drop"):
                raise NetfilterError(f"syntax error, unexpected {part[1]}, expecting accept or drop or '$'")
            chain.policy = part[1]
        elif part[0] == "type" and part[2] == "hook" and part[4] == "priority":
            chain.kind, chain.hook, chain.priority = part[1], part[3], priority(" ".join(part[5:]))
            if chain.hook not in (NAT_HOOKS if chain.kind == "nat" else HOOKS):
                if chain.hook == "ingress":
                    raise NetfilterError("Missing `device' in this chain definition")
                raise NetfilterError(UNSUPPORTED)
        elif part[0] != "comment":
            raise NotImplementedError(f"the fake nft does not know `{part[0]}' in a chain")
    return chain


def _read_set(command: Command) -> tuple[NftSet, list[Value]]:
    kinds: tuple[str, ...] = ()
    found, elements = NftSet(()), []
    for part in split(command.rest):
        if part[0] == "type":
            kinds = tuple(word for word in part[1:] if word != ".")
        elif part[0] == "typeof":
            kinds = tuple(KEYS[key][0] for key in " ".join(part[1:]).split(" . "))
        elif part[0] == "flags":
            order_ = ("constant", "interval", "dynamic", "timeout")
            found.flags = tuple(flag for flag in order_ if flag in part)
        elif part[0] in ("auto-merge", "size", "timeout"):
            found.auto_merge = found.auto_merge or part[0] == "auto-merge"
            found.size = int(part[1]) if part[0] == "size" else found.size
            found.timeout = part[1] if part[0] == "timeout" else found.timeout
        elif part[:3] == ["elements", "=", "{"]:
            elements = read_elements(part[3:-1], kinds)
        else:
            raise NotImplementedError(f"the fake nft does not know `{part[0]}' in a set")
    found.kinds = kinds
    found.size = found.size or (65535 if "dynamic" in found.flags else None)
    return found, elements


def _add(found: NftSet, elements: list[Value]) -> None:
    """Add elements, or refuse them as nft does."""
    ranged = [any(low != high for low, high in one) for one in elements]
    if any(ranged) and "interval" not in found.flags:
        raise NetfilterError(
            "You must add 'flags interval' to your set declaration if you want to add range elements"
        )
    if found.auto_merge:
        found.elements = dict.fromkeys(merged([*found.elements, *elements], adjacent=True))
        return
    if "interval" in found.flags:
        new = dict.fromkeys(one for one in elements if one not in found.elements)
        if len(merged(new, adjacent=False)) < len(new):
            raise NetfilterError("conflicting intervals specified")
        if len(merged([*found.elements, *new], adjacent=False)) < len(found.elements) + len(new):
            raise NetfilterError("interval overlaps with an existing one")
    found.elements.update(dict.fromkeys(elements))
    if found.size is not None and len(found.elements) > found.size:
        raise NetfilterError("Could not process rule: Too many open files in system")


def _timeout(text: str) -> str:
    """Spell a time as nft does: ``60s`` is ``1m``."""
    seconds = int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]] if text[:-1].isdigit() else 0
    units = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    return "".join(f"{count}{unit}" for count, unit in units if count) or text


def _listed(table: NftTable) -> Iterator[str]:
    yield f"table {table.family} {table.name} {{"
    blocks = [[*_listed_set(name, one)] for name, one in table.sets.items()]
    for name, chain in table.chains.items():
        head = f"\t\ttype {chain.kind} hook {chain.hook} priority {spell_priority(chain.priority, chain.hook)}; "
        head += f"policy {chain.policy};"
        rules = [f"\t\t{rule.text}" for rule in chain.rules]
        blocks.append([f"\tchain {name} {{", *([head] if chain.hook else []), *rules, "\t}"])
    for index, block in enumerate(blocks):
        yield from [""] if index else []
        yield from block
    yield "}"


def _listed_set(name: str, found: NftSet) -> Iterator[str]:
    yield f"\tset {name} {{"
    yield f"\t\ttype {' . '.join(found.kinds)}"
    yield from [f"\t\tsize {found.size}"] if found.size is not None else []
    yield from [f"\t\tflags {','.join(found.flags)}"] if found.flags else []
    yield from [f"\t\ttimeout {_timeout(found.timeout)}"] if found.timeout else []
    yield from ["\t\tauto-merge"] if found.auto_merge else []
    words = spell_elements(found)
    if words:
        width = 2 if found.kinds == ("ipv4_addr",) or found.kinds == ("inet_service",) else 1
        rows = [", ".join(words[start : start + width]) for start in range(0, len(words), width)]
        yield "\t\telements = { " + ",\n\t\t\t     ".join(rows) + " }"
    yield "\t}"
