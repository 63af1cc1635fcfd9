"""Rules of nft: read, spelled as ``nft list`` spells them (1.0.6), and matched.

It knows the words that a firewall such as ours and its neighbours write; any other is no refusal but a
NotImplementedError, so that no test takes the fake's ignorance for the kernel's opinion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tests.bed.memory.nft_values import KEYS, Local, Point, Value, hit, merged, order, parse, spell
from tests.bed.memory.packet import Packet
from tests.bed.memory.xtables_rules import NetfilterError

VERDICTS = ("accept", "drop", "return", "continue")
IMPLIED = {  # what a key asks for by itself, so that nft does not list it again
    "meta l4proto tcp": ("tcp dport", "tcp sport"),
    "meta l4proto udp": ("udp dport", "udp sport"),
    "meta l4proto icmp": ("icmp type",),
    "meta l4proto ipv6-icmp": ("icmpv6 type",),
    "meta nfproto ipv4": ("ip saddr", "ip daddr", "ip protocol", "icmp type"),
    "meta nfproto ipv6": ("ip6 saddr", "ip6 daddr", "icmpv6 type"),
}
FAMILY_OF = {"meta nfproto ipv4": "icmp", "meta nfproto ipv6": "icmpv6"}


@dataclass
class NftSet:
    """A named set, or an anonymous one in a rule."""

    kinds: tuple[str, ...]
    flags: tuple[str, ...] = ()
    auto_merge: bool = False
    size: int | None = None
    timeout: str = ""
    elements: dict[Value, None] = field(default_factory=dict)

    def copy(self) -> NftSet:
        """Return one of its own."""
        return replace(self, elements=dict(self.elements))

    def holds(self, point: Sequence[Point]) -> bool:
        """Tell whether it holds what a packet has."""
        if tuple((one, one) for one in point) in self.elements:
            return True
        return ("interval" in self.flags or "ifname" in self.kinds) and any(hit(point, one) for one in self.elements)


Sets = Mapping[str, NftSet]


@dataclass(frozen=True)
class Statement:
    """One expression or statement of a rule.

    Args:
        text: as it is listed.
        verb: ``match``, ``limit``, ``log``, ``update``, ``verdict``, ``nat``, or another that only stands there.
        keys: of a match or an update.
        negated: whether a match must fail.
        values: of a match.
        named: the set that a match or an update refers to, the chain of a jump, what a NAT sends to.
    """

    text: str
    verb: str
    keys: tuple[str, ...] = ()
    negated: bool = False
    values: tuple[Value, ...] = ()
    named: str = ""

    def holds(self, packet: Packet, sets: Sets, local: Local) -> bool:
        """Tell whether the packet goes on to the next statement."""
        if self.verb == "match":
            point = [KEYS[key][1](packet, local) for key in self.keys]
            found = [one for one in point if one is not None]
            if len(found) < len(point):
                return False  # the wrong family or protocol: nothing that is asked of it holds, != neither
            inside = sets[self.named].holds(found) if self.named else any(hit(found, one) for one in self.values)
            return inside != self.negated
        if self.verb == "update" and any(KEYS[key][1](packet, local) is None for key in self.keys):
            return False  # nft asks for the family first, as for a match
        if self.verb == "limit" or (self.verb == "update" and "limit" in self.text):
            return packet.hurried == (" over " in self.text)
        return True


@dataclass(frozen=True)
class NftRule:
    """A rule, read."""

    statements: tuple[Statement, ...]
    handle: int = 0

    @property
    def text(self) -> str:
        """Spell it as nft lists it."""
        return " ".join(one.text for one in self.statements)

    @property
    def refers(self) -> set[str]:
        """Name the sets that it refers to."""
        return {one.named for one in self.statements if one.verb in ("match", "update") and one.named}

    @property
    def leads(self) -> str:
        """Name the chain that it jumps or goes to."""
        return next((one.named for one in self.statements if one.verb in ("jump", "goto")), "")


def read(words: Sequence[str], sets: Sets, family: str) -> NftRule:
    """Read a rule.

    Args:
        words: its tokens.
        sets: of its table.
        family: of its table.

    Raises:
        NetfilterError: nft would refuse it.
    """
    reader = _Reader([*words], sets, family)
    statements: list[Statement] = []
    while reader.words:
        if reader.words[0] == "comment":
            statements.append(Statement(f'comment "{reader.take(2)[1].strip(chr(34))}"', "comment"))
            continue
        if statements and statements[-1].verb in ("verdict", "jump", "goto"):
            raise NetfilterError("Statement after terminal statement has no effect")
        statements.append(reader.statement())
        if statements[-1] == Statement("reject", "verdict") and family == "inet":
            statements[-1] = _reject_of_family(statements)
        if statements[-1].text == "reject with tcp reset" and not any("tcp" in one.text for one in statements[:-1]):
            statements.insert(-1, Statement("meta l4proto tcp", "match", ("meta l4proto",), values=(((6, 6),),)))
    return NftRule(tuple(_shortened(statements)))


def _reject_of_family(statements: list[Statement]) -> Statement:
    """Spell a plain ``reject`` as nft does where the packet's family is known from what stands before it."""
    for one in statements:
        for words, code in (("meta nfproto ipv4", "icmp"), ("meta nfproto ipv6", "icmpv6")):
            if one.text == words or (one.keys and one.keys[0] in IMPLIED[words]):
                return Statement(f"reject with {code} port-unreachable", "verdict")
    return statements[-1]


def _shortened(statements: list[Statement]) -> list[Statement]:
    """Leave out what a later key implies, as nft does when it lists."""
    done: list[Statement] = []
    for index, one in enumerate(statements):
        following = statements[index + 1] if index + 1 < len(statements) else None
        if following and following.verb == "match" and not one.negated and one.text.startswith("meta l4proto "):
            protocol = one.text.split(" ", 2)[2]
            if following.keys[0].startswith("th ") and protocol in ("tcp", "udp") and len(following.keys) == 1:
                key = following.keys[0].replace("th", protocol)
                statements[index + 1] = Statement(
                    following.text.replace("th", protocol, 1), "match", (key,), following.negated, following.values,
                    following.named,
                )  # fmt: skip
                continue
        if following and following.text.startswith(f"reject with {FAMILY_OF.get(one.text, '?')} "):
            continue
        if following and following.verb == "match" and following.keys[0] in IMPLIED.get(one.text, ()):
            continue
        done.append(one)
    return done


@dataclass
class _Reader:
    words: list[str]
    sets: Sets
    family: str

    def take(self, count: int = 1) -> list[str]:
        if len(self.words) < count:
            raise NetfilterError("syntax error, unexpected end of file")
        taken, self.words = self.words[:count], self.words[count:]
        return taken

    def next_is(self, *words: str) -> bool:
        if self.words[: len(words)] == list(words):
            self.words = self.words[len(words) :]
            return True
        return False

    def statement(self) -> Statement:
        word = self.words[0]
        if word in VERDICTS:
            return Statement(self.take()[0], "verdict")
        if word in ("jump", "goto"):
            verb, chain = self.take(2)
            return Statement(f"{verb} {chain}", verb, named=chain)
        if word in ("add", "update"):
            return self._update()
        reads = {"counter": self._counter, "log": self._log, "limit": self._limit, "reject": self._reject}
        reads.update({"redirect": self._nat, "dnat": self._nat})
        return reads[word]() if word in reads else self._match()

    def _counter(self) -> Statement:
        self.take()
        if self.next_is("packets"):
            packets, _, size = self.take(3)
            return Statement(f"counter packets {packets} bytes {size}", "counter")
        return Statement("counter packets 0 bytes 0", "counter")

    def _log(self) -> Statement:
        self.take()
        found: dict[str, str] = {}
        while self.words and self.words[0] in ("prefix", "group", "snaplen", "queue-threshold", "level"):
            name, value = self.take(2)
            found[name] = value
        order_ = ("prefix", "group", "snaplen", "queue-threshold", "level")
        words = [f"{name} {found[name]}" for name in order_ if name in found]
        return Statement(" ".join(["log", *words]), "log", named=found.get("group", ""))

    def _limit(self) -> Statement:
        words = self.take(2)
        words += self.take() if self.words[:1] == ["over"] else []
        words += self.take()
        if not re.fullmatch(r"\d+/(second|minute|hour|day)", words[-1]):
            raise NotImplementedError(f"the fake nft does not know the rate `{words[-1]}'")
        if self.next_is("burst"):
            count, unit = self.take(2)
            words += ["burst", count, unit] if count != "5" else []
        return Statement(" ".join(words), "limit")

    def _reject(self) -> Statement:
        self.take()
        words = ["reject"]
        if self.next_is("with"):
            kind = self.take()[0]
            self.next_is("type")
            code = self.take()[0]
            words += ["with", kind, code] if (kind, code) != ("icmpx", "port-unreachable") else []
            return Statement(" ".join(words), "verdict", named=kind)
        return Statement("reject", "verdict")

    def _nat(self) -> Statement:
        verb = self.take()[0]
        family = [*self.take()] if self.words[:1] in (["ip"], ["ip6"]) else []
        if not self.next_is("to"):
            return Statement(verb, "verdict")
        to = self.take()[0]
        return Statement(" ".join([verb, *family, "to", to]), "verdict", named=to)

    def _update(self) -> Statement:
        verb, name = self.take(2)
        found = self._set(name)
        self.take()  # {
        key = self._key()
        words = [verb, name, "{", key]
        if self.next_is("timeout"):
            words += ["timeout", *self.take()]
        if self.words[:1] == ["limit"]:
            words.append(self._limit().text)
        if self.take() != ["}"]:
            raise NotImplementedError(f"the fake nft does not know `{verb} {name}' with more than a limit")
        if "dynamic" not in found.flags:
            raise NetfilterError("Could not process rule: Invalid argument")
        return Statement(" ".join([*words, "}"]), "update", (key,), named=name[1:])

    def _set(self, name: str) -> NftSet:
        if name[1:] not in self.sets:
            raise NetfilterError("No such file or directory")
        return self.sets[name[1:]]

    def _key(self) -> str:
        if self.words[:2] in (["meta", "iifname"], ["meta", "oifname"], ["meta", "iif"], ["meta", "oif"]):
            self.take()
        for length in (3, 2, 1):
            key = " ".join(self.words[:length])
            if key in KEYS:
                self.take(length)
                if {"ip": "ip6", "ip6": "ip"}.get(self.family) == key.split(" ")[0]:
                    raise NetfilterError(f"conflicting protocols specified: {self.family} vs. {key.split(' ')[0]}")
                return key
        raise NotImplementedError(f"the fake nft does not know `{' '.join(self.words[:3])}'")

    def _match(self) -> Statement:
        before = len(self.words)
        keys = [self._key()]
        while self.next_is("."):
            keys.append(self._key())
        if "ct original proto-dst" in keys and not self.protocol_said:
            raise NetfilterError("Can't parse symbolic invalid expressions")
        self.protocol_said = self.protocol_said or keys[0] == "meta l4proto"
        assert before > len(self.words)
        negated = self.next_is("!=")
        if not negated:
            self.next_is("==")
        left, kinds = " . ".join(keys), [KEYS[key][0] for key in keys]
        sign = "!= " if negated else ""
        if not self.words:
            raise NetfilterError("syntax error, unexpected end of file")
        if self.words[0].startswith("@"):
            name = self.take()[0]
            self._set(name)
            return Statement(f"{left} {sign}{name}", "match", tuple(keys), negated, named=name[1:])
        if self.next_is("{"):
            return self._anonymous(f"{left} {sign}", keys, kinds, negated=negated)
        values = [self.value(kinds)]
        while kinds == ["word"] and self.next_is(","):
            values.append(self.value(kinds))
        text = ",".join(self.spelled(value, kinds, ranges=True) for value in values)
        return Statement(f"{left} {sign}{text}", "match", tuple(keys), negated, tuple(values))

    protocol_said = False

    def _anonymous(self, left: str, keys: list[str], kinds: list[str], *, negated: bool) -> Statement:
        values: list[Value] = []
        while not self.next_is("}"):
            values.append(self.value(kinds))
            self.next_is(",")
        several = len(values) > 1
        if kinds != ["word"] and len(kinds) == 1:
            values = merged(dict.fromkeys(values), adjacent=False)
        text = ", ".join(self.spelled(value, kinds) for value in values)
        text = f"{{ {text} }}" if several else text
        return Statement(left + text, "match", tuple(keys), negated, tuple(values))

    def value(self, kinds: Sequence[str]) -> Value:
        """Read a value, of several parts for a concatenation."""
        parts = [parse(self.take()[0], kinds[0])]
        for kind in kinds[1:]:
            if not self.next_is("."):
                raise NetfilterError("syntax error, unexpected comma, expecting .")
            parts.append(parse(self.take()[0], kind))
        return tuple(parts)

    @staticmethod
    def spelled(value: Value, kinds: Sequence[str], *, ranges: bool = False) -> str:
        """Spell a value."""
        return " . ".join(spell(pair, kind) for pair, kind in zip(value, kinds))


def read_elements(words: Sequence[str], kinds: Sequence[str]) -> list[Value]:
    """Read what stands between a set's braces."""
    reader = _Reader([*words], {}, "inet")
    values = []
    while reader.words:
        values.append(reader.value(kinds))
        reader.next_is(",")
    return values


def spell_elements(found: NftSet) -> list[str]:
    """Spell a set's elements in nft's order."""
    return [_Reader.spelled(one, found.kinds) for one in sorted(found.elements, key=order)]
