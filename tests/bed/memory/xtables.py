"""One table of iptables in memory, of the nft or the legacy variant.

It obeys and refuses as the real ones do (each tried with iptables 1.8.9 on kernel 6.18, in a namespace of its own;
tests/lab/test_fake_kernel.py tries them again): a block from ``*table`` to ``COMMIT`` is all or nothing. What the
program refuses by itself ends it at that line; what the kernel refuses, it refuses at COMMIT.
Rules are kept as they are
spelled, and chains in the order in which they were declared (the real programs sort them).
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field, replace

from tests.bed.memory.packet import Packet
from tests.bed.memory.xtables_rules import (
    BUILT_IN,
    PASSING,
    TERMINAL,
    NetfilterError,
    Rule,
    check,
    matches,
    misplaced,
    read,
)

HOOKS = BUILT_IN["filter"]
LONGEST_NAME = 28
DEEPEST_NFT = 15  # a base chain's jumps may nest that deep: NFT_JUMP_STACK_SIZE counts the base chain too
LOOP = 1 << 20


@dataclass(frozen=True)
class Ended:
    """Where a walk through one table ended."""

    verdict: str
    chain: str
    rule: str
    read: Rule | None
    looked: int
    logged: tuple[int, ...]


@dataclass
class Table:
    """One table of one family.

    Args:
        chains: rules of each chain.
        policies: of the built-in chains.
        name: ``filter``, ``mangle``, ``nat`` or ``raw``.
        variant: ``nft`` or ``legacy``.
        version: 4 or 6; 0 for a table on its own, which takes either.
        exists: whether the kernel has it: iptables-save prints no other.
    """

    chains: dict[str, list[str]] = field(default_factory=lambda: {hook: [] for hook in HOOKS})
    policies: dict[str, str] = field(default_factory=lambda: dict.fromkeys(HOOKS, "ACCEPT"))
    name: str = field(default="filter", compare=False)
    variant: str = field(default="nft", compare=False)
    version: int = field(default=0, compare=False)
    exists: bool = field(default=True, compare=False)

    @classmethod
    def named(cls, name: str, variant: str, version: int) -> Table:
        """Make a table that no program has used yet."""
        hooks = BUILT_IN[name]
        return cls({hook: [] for hook in hooks}, dict.fromkeys(hooks, "ACCEPT"), name, variant, version, exists=False)

    def copy(self) -> Table:
        """Return one of its own."""
        chains = {chain: [*rules] for chain, rules in self.chains.items()}
        return replace(self, chains=chains, policies=dict(self.policies))

    def vanish(self) -> None:
        """Go, as by ``nft flush ruleset``: rules, chains and policies."""
        self.chains = {hook: [] for hook in BUILT_IN[self.name]}
        self.policies = dict.fromkeys(BUILT_IN[self.name], "ACCEPT")
        self.exists = False

    def save(self) -> str:
        """Print it as iptables-save does."""
        declared = [f":{chain} {self.policies.get(chain, '-')} [0:0]" for chain in self.chains]
        rules = [f"-A {chain} {rule}" for chain, listed in self.chains.items() for rule in listed]
        return "\n".join([f"*{self.name}", *declared, *rules, "COMMIT", ""])

    def restore(self, text: str, *, noflush: bool = True, first: int = 1) -> None:
        """Apply one block of what ``iptables-restore`` reads: all of it or nothing.

        Args:
            text: from ``*table`` to ``COMMIT``.
            noflush: whether what is there stays, as with ``--noflush``.
            first: number of the block's first line.

        Raises:
            NetfilterError: a line cannot be obeyed; the table is as it was.
        """
        lines = text.splitlines()
        numbered = [(number, line) for number, line in enumerate(lines, first) if line and not line.startswith("#")]
        if not numbered or numbered[0][1] != f"*{self.name}" or numbered[-1][1] != "COMMIT":
            raise NetfilterError(f"{self._program}: COMMIT expected at line {first + len(lines)}")
        trial = copy(self)
        trial.chains = {chain: list(rules) for chain, rules in self.chains.items()} if noflush else {}
        trial.chains = trial.chains or {hook: [] for hook in BUILT_IN[self.name]}
        trial.policies = dict(self.policies)
        refused: list[str] = []  # by the kernel
        for number, line in numbered[1:-1]:
            try:
                refused += [f"line {number}: {words}" for words in trial._obey(line)]
            except NetfilterError as error:
                raise self._complaint(number, error) from None
        if not refused and self._too_deep(trial.chains):
            refused += self._who_is_too_deep(numbered[1:-1], noflush=noflush)
        if refused and self.variant == "nft":
            raise NetfilterError(f"{self._program} v1.8.9 (nf_tables): \n" + "\n".join(refused), 4)
        if refused:
            raise NetfilterError(f"{self._program}: line {numbered[-1][0]} failed")
        self.chains, self.policies, self.exists = trial.chains, trial.policies, True

    @property
    def _program(self) -> str:
        tool = "ip6tables" if self.version == 6 else "iptables"
        return f"{tool}-nft-restore" if self.variant == "nft" else f"{tool}-restore"

    def _complaint(self, number: int, error: NetfilterError) -> NetfilterError:
        variant = "nf_tables" if self.variant == "nft" else "legacy"
        if error.status == 2:
            words = f"{self._program} v1.8.9 ({variant}): {error}\nError occurred at line: {number}"
        elif self.variant == "legacy":
            said = str(error).startswith("Can't")  # for all else legacy has but a number
            words = f"{self._program} v1.8.9 (legacy): {error}" if said else f"{self._program}: line {number} failed"
        else:
            words = f"{self._program}: line {number} failed: {error}"
        return NetfilterError(words, error.status)

    def _obey(self, line: str) -> list[str]:
        """Obey a line; return what the kernel will say against it."""
        if line.startswith(":"):
            self._declare(line)
            return []
        command, chain, rest = [*line.split(" ", 2), "", ""][:3]
        if command in ("-F", "-X", "-Z") and not chain:
            every = list(self.chains) if command == "-F" else [one for one in self.chains if one not in self.policies]
            return [words for one in every if command != "-Z" for words in self._obey(f"{command} {one}")]
        if command == "-N":
            self._fits(chain)
            if chain in self.chains:
                raise NetfilterError("Chain already exists.")
            self.chains[chain] = []
            return []
        if command == "-P":
            if chain not in self.policies:
                raise NetfilterError("Bad built-in chain name.")
            if rest.split(" ")[0] not in ("ACCEPT", "DROP"):
                raise NetfilterError("Bad policy name.")
            self.policies[chain] = rest.split(" ")[0]
            return []
        if command not in ("-A", "-D", "-I", "-R", "-F", "-X", "-Z", "-C"):
            raise NetfilterError(f"Bad argument `{line}'", 2)
        return self._edit(command, chain, rest)

    def _declare(self, line: str) -> None:
        chain, policy = line[1:].split(" ")[:2]
        self._fits(chain)
        if chain in self.policies:
            self.policies[chain] = self.policies[chain] if policy == "-" else policy
        elif policy != "-" and self.variant == "legacy":
            raise NetfilterError(f"Can't set policy `{policy}' on `{chain}': Bad built-in chain name")
        else:
            self.chains[chain] = []

    def _fits(self, chain: str) -> None:
        if len(chain) > LONGEST_NAME:
            raise NetfilterError(f"chain name `{chain}' too long (must be under 29 chars)", 2)

    def _edit(self, command: str, chain: str, rest: str) -> list[str]:
        position, rule = 1, rest
        if command in ("-I", "-R", "-D") and rest.split(" ")[0].isdigit():
            position, rule = int(rest.split(" ")[0]), rest.partition(" ")[2]
            if not position:
                raise NetfilterError("Invalid rule number `0'", 2)
        by_number = command == "-D" and not rule
        read_rule = None
        if command in ("-A", "-I", "-R", "-D") and not by_number:
            read_rule = check(rule, self.name, chain, self.version)
            self._target_is_known(read_rule.target)
        if chain not in self.chains:
            raise NetfilterError("No chain/target/match by that name.")
        rules = self.chains[chain]
        if command == "-F":
            rules.clear()
        elif command == "-X":
            return self._remove(chain)
        elif command in ("-D", "-C") and not by_number:
            if rule not in rules:
                raise NetfilterError("Bad rule (does a matching rule exist in that chain?).")
            if command == "-D":
                rules.remove(rule)
            return []
        elif command != "-Z":
            return self._place(command, chain, position, rule, read_rule)
        return []

    def _place(self, command: str, chain: str, position: int, text: str, rule: Rule | None) -> list[str]:
        rules = self.chains[chain]
        if command != "-A" and position > len(rules) + (command == "-I"):
            names = {"-I": "insertion", "-D": "deletion", "-R": "replacement"}
            raise NetfilterError(f"Index of {names[command]} too big.")
        if command == "-A":
            rules.append(text)
        elif command == "-I":
            rules.insert(position - 1, text)
        elif command == "-R":
            rules[position - 1] = text
        else:
            del rules[position - 1]
        what = {"-A": "APPEND", "-I": "INSERT", "-R": "REPLACE"}.get(command, "")
        if rule and rule.target in self.policies and self.variant == "legacy":
            raise NetfilterError("Invalid target name (already exists as built-in chain).")
        if rule and rule.target in self.policies:
            return [f"RULE_{what} failed (Operation not supported): rule in chain {chain}"]
        if rule and misplaced(rule, self.name):
            return [f"RULE_{what} failed (Invalid argument): rule in chain {chain}"]
        return []

    def _target_is_known(self, target: str) -> None:
        if target and target not in (*TERMINAL, *PASSING) and target not in self.chains:
            if self.variant == "nft":
                raise NetfilterError(f"Chain '{target}' does not exist", 2)
            raise NetfilterError(f"Couldn't load target `{target}':No such file or directory", 2)

    def _remove(self, chain: str) -> list[str]:
        if chain in self.policies:
            if self.variant == "legacy":
                raise NetfilterError("Bad built-in chain name.")
            if self.policies[chain] != "ACCEPT":
                raise NetfilterError("Directory not empty.")
            return [f"CHAIN_DEL failed (Device or resource busy): chain {chain}"] if self.chains[chain] else []
        used = any(read(rule).target == chain for rules in self.chains.values() for rule in rules)
        if self.variant == "legacy" and (used or self.chains[chain]):
            raise NetfilterError("Too many links." if used else "Directory not empty.")
        busy = used or bool(self.chains.pop(chain))
        self.chains.pop(chain, None)
        return [f"CHAIN_DEL failed (Device or resource busy): chain {chain}"] if busy else []

    def _too_deep(self, chains: dict[str, list[str]]) -> bool:
        if self.variant == "nft":
            return depth(chains, self.policies) > DEEPEST_NFT
        return depth({chain: reached(rules) for chain, rules in chains.items()}, self.policies) >= LOOP

    def _who_is_too_deep(self, lines: list[tuple[int, str]], *, noflush: bool) -> Iterator[str]:
        """Find the line after which a jump leads too deep."""
        trial = copy(self)
        trial.chains = {
            chain: list(rules) for chain, rules in self.chains.items() if noflush or chain in self.policies
        }
        for number, line in lines:
            trial._obey(line)
            if self._too_deep(trial.chains):
                yield f"line {number}: RULE_APPEND failed (Too many links): rule in chain {line.split(' ')[1]}"
                return

    def verdict(self, packet: Packet, hook: str = "INPUT") -> str:
        """Walk a packet through a hook: ``ACCEPT``, ``DROP`` or ``REJECT``."""
        return self.walk(packet, hook)[0]

    def walk(self, packet: Packet, hook: str = "INPUT") -> tuple[str, int]:
        """Walk a packet through a hook; return what becomes of it, and how many rules looked at it."""
        found = self.trace(packet, hook)
        return found.verdict, found.looked

    def trace(self, packet: Packet, hook: str, local: frozenset[str] = frozenset()) -> Ended:
        """Walk a packet through a hook; return which rule of which chain decided."""
        back: list[tuple[str, int]] = []
        chain, index, looked = hook, 0, 0
        logged: tuple[int, ...] = ()
        while True:
            rules = self.chains[chain]
            target, goto, rule = "RETURN", False, None
            while index < len(rules):
                rule = read(rules[index])
                index += 1
                looked += 1
                if rule.target and matches(rule, packet, local):
                    if rule.target == "NFLOG":
                        logged += (int(rule.option("--nflog-group") or 0),)
                    if rule.target not in PASSING:
                        target, goto = rule.target, rule.goto
                        break
            if target == "RETURN":
                if not back:
                    return Ended(self.policies[hook], hook, "", None, looked, logged)
                chain, index = back.pop()
            elif target in TERMINAL:
                return Ended(target, chain, rules[index - 1], rule, looked, logged)
            else:
                if not goto:  # who is sent by -g does not come back here, but to where the last -j was
                    back.append((chain, index))
                chain, index = target, 0


def reached(rules: list[str]) -> list[str]:
    """Return the rules that legacy looks at for circles: those after an unconditional verdict it never reaches."""
    ends = [index for index, rule in enumerate(rules) if rule in ("-j ACCEPT", "-j DROP", "-j RETURN")]
    return rules[: ends[0]] if ends else rules


def depth(chains: dict[str, list[str]], heads: dict[str, str]) -> int:
    """Return how deep jumps nest below the built-in chains; ``LOOP`` or more for a loop.

    Both variants look only at what a built-in chain leads to.
    """
    below: dict[str, int] = {}

    def measure(chain: str, above: frozenset[str]) -> int:
        if chain in above:
            return LOOP
        if chain not in below:
            targets = {read(rule).target for rule in chains.get(chain, ())} & chains.keys()
            below[chain] = max((1 + measure(one, above | {chain}) for one in targets), default=0)
        return below[chain]

    return max((measure(head, frozenset()) for head in heads if head in chains), default=0)
