"""What ``nft -f`` reads: parted into commands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tests.bed.memory.xtables_rules import NetfilterError

VERBS = ("add", "create", "delete", "flush", "insert", "replace", "list")
FAMILIES = ("inet", "ip", "ip6", "arp", "bridge", "netdev")
_TOKEN = re.compile(r'"[^"\n]*"|[{},;]|\n|[^\s{},;"]+')
END = ("\n", ";")


@dataclass(frozen=True)
class Word:
    """A token and its line."""

    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        line: where it stands.
        verb: ``add``, ``create``, ``delete``, ``flush``, ``insert``, ``replace`` or ``list``.
        kind: ``table``, ``chain``, ``set``, ``element``, ``rule`` or ``ruleset``.
        family: of the table.
        table: its name.
        name: of the chain or set; "" for a table.
        rest: the tokens after the name, without the braces round them.
    """

    line: int
    verb: str
    kind: str
    family: str = ""
    table: str = ""
    name: str = ""
    rest: tuple[str, ...] = ()


@lru_cache(maxsize=1000)  # the same scripts come again and again: a ruleset is written, and tried, from many starts
def parsed(text: str) -> tuple[Command, ...]:
    """Part a script into commands.

    Raises:
        NetfilterError: nft would not read it.
    """
    return tuple(Parser(text).commands())


def tokens(text: str) -> list[Word]:
    """Part a script into words; a comment is none, and a line that ends in ``\\`` goes on."""
    text = "\n".join(_without_comment(line) for line in text.splitlines()) + "\n"
    found, line = [], 1
    for match in _TOKEN.finditer(text.replace("\\\n", "  ")):
        found.append(Word(match.group(), line))
        line += match.group() == "\n"
    return found


def _without_comment(line: str) -> str:
    if "#" not in line:
        return line
    quoted = False
    for index, letter in enumerate(line):
        quoted ^= letter == '"'
        if letter == "#" and not quoted:
            return line[:index]
    return line


class Parser:
    """Parts a script into commands."""

    def __init__(self, text: str) -> None:
        self.words = tokens(text)
        self.at = 0

    def commands(self) -> Iterator[Command]:
        """Read all commands: of a table's block first its sets and chains, then elements and rules, as nft does."""
        while self._skip_ends():
            yield from self._command()

    def _skip_ends(self) -> bool:
        while self.at < len(self.words) and self.words[self.at].text in END:
            self.at += 1
        return self.at < len(self.words)

    def _take(self) -> Word:
        if self.at >= len(self.words):
            raise NetfilterError("syntax error, unexpected end of file")
        self.at += 1
        return self.words[self.at - 1]

    def _peek(self) -> str:
        return self.words[self.at].text if self.at < len(self.words) else ""

    def _next_is(self, word: str) -> bool:
        if self._peek() == word:
            self.at += 1
            return True
        return False

    def _name(self) -> str:
        word = self._take()
        if word.text in END or word.text in "{},":
            raise NetfilterError(f"syntax error, unexpected {'newline' if word.text in END else word.text}")
        return word.text

    def _command(self) -> list[Command]:
        line = self.words[self.at].line
        verb = self._take().text if self._peek() in VERBS else "add"
        kind = self._take().text
        if kind in ("include", "define", "destroy"):
            raise NotImplementedError(f"the fake nft does not know `{kind}'")
        if kind == "ruleset":
            return [Command(line, verb, kind, self._take().text if self._peek() in FAMILIES else "")]
        if kind not in ("table", "chain", "set", "element", "rule"):
            raise NetfilterError(f"syntax error, unexpected {kind}")
        family = self._take().text if self._peek() in FAMILIES else "ip"
        table = self._name()
        if kind == "table":
            made = Command(line, verb, kind, family, table)
            return [made, *(self._block(family, table) if self._next_is("{") else [])]
        name = self._name()
        if kind == "rule":
            return [Command(line, verb, kind, family, table, name, self._until_end())]
        rest: tuple[str, ...] = ()
        if self._next_is("{"):
            rest = self._braces()
        return [Command(line, verb, kind, family, table, name, rest)]

    def _until_end(self) -> tuple[str, ...]:
        """Take the words to the end of a rule; in braces it may go on in the next line."""
        taken: list[str] = []
        deep = 0
        while self.at < len(self.words):
            word = self._peek()
            if not deep and (word in END or word == "}"):
                break
            self.at += 1
            deep += (word == "{") - (word == "}")
            taken += [word] if word != "\n" else []
        return tuple(taken)

    def _braces(self) -> tuple[str, ...]:
        """Take what stands in braces, whose first one was taken; a line's end counts as ``;``."""
        taken: list[str] = []
        deep = 1
        while True:
            word = self._take().text
            deep += (word == "{") - (word == "}")
            if not deep:
                return tuple(taken)
            taken.append(";" if word == "\n" and deep == 1 else word)
            if word == "\n" and deep > 1:
                taken.pop()

    def _block(self, family: str, table: str) -> list[Command]:
        declared: list[Command] = []
        filled: list[Command] = []
        while self._skip_ends() and not self._next_is("}"):
            line = self.words[self.at].line
            kind, name = self._take().text, self._name()
            if kind not in ("set", "chain"):
                raise NotImplementedError(f"the fake nft does not know `{kind}' in a table")
            if not self._next_is("{"):
                raise NetfilterError(f"syntax error, unexpected {self._peek()!r}")
            if kind == "set":
                declared.append(Command(line, "add", kind, family, table, name, self._braces()))
            else:
                spec, rules = self._chain(family, table, name)
                declared.append(Command(line, "add", kind, family, table, name, spec))
                filled += rules
        if self.words[self.at - 1].text != "}":
            raise NetfilterError("syntax error, unexpected end of file")
        return [*declared, *filled]

    def _chain(self, family: str, table: str, name: str) -> tuple[tuple[str, ...], list[Command]]:
        spec: list[str] = []
        rules = []
        while self._skip_ends() and not self._next_is("}"):
            line = self.words[self.at].line
            if self._peek() in ("type", "policy"):
                spec += [*self._until_end(), ";"]
            else:
                rules.append(Command(line, "add", "rule", family, table, name, self._until_end()))
        if self.words[self.at - 1].text != "}":
            raise NetfilterError("syntax error, unexpected end of file")
        return tuple(spec), rules


def split(words: Sequence[str]) -> list[list[str]]:
    """Part a block's words at its semicolons."""
    parts: list[list[str]] = [[]]
    deep = 0
    for word in words:
        deep += (word == "{") - (word == "}")
        if word == ";" and not deep:
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]
