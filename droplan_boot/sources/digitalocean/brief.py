"""Decode the API's answers without what nobody reads of a Droplet: its image, its size, its region but for the slug.

They are two thirds of an answer, and most of ten thousand Droplets have the same: what was decoded of one is known of
the next. To decode all of it took a third of a first refresh.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from droplan_boot.host.http import decoded

_READ: Final[dict[str, tuple[str, ...]]] = {"image": (), "size": (), "region": ("slug",)}
"""Which members of these objects are read."""

_KNOWN: Final = 16
"""How many values of a member are told apart: each costs every Droplet a comparison, and those above are decoded."""


class Brief:
    """The answers of one account, each as it is but for those objects' members that nobody reads."""

    def __init__(self) -> None:
        self._spelt: dict[bool, _Spelling] = {}

    def decoded(self, url: str, body: bytes) -> Any:
        """Decode an answer as :func:`droplan_boot.host.http.decoded` does, and raise what it raises."""
        try:
            document = body.decode()
            spaced = '": {' in document
            if spaced not in self._spelt:
                self._spelt[spaced] = _Spelling(", ", ": ") if spaced else _Spelling(",", ":")
            return json.loads(self._spelt[spaced].shorter(document))
        except (ValueError, RecursionError):
            return decoded(url, body)  # which says what is wrong with it, or knows its encoding


class _Spelling:
    """Documents that write a member one way: ``, "size": {``, or without spaces.

    In JSON a quote after a comma begins a string or ends one, and it cannot end one here: no letter may follow then.
    So wherever these characters stand there is a member of an object, and never the inside of a Droplet's name. (What
    is no JSON for such a member alone, in a list perhaps, is read as if it were not there.)
    """

    def __init__(self, comma: str, colon: str) -> None:
        self._heads = {name: f'{comma}"{name}"{colon}' for name in _READ}
        # Looked for by its end, of which there are fewer than of commas; the group tells which of them it is.
        ends = (f"(?<={re.escape(head)}{{)(?P<{name}>)" for name, head in self._heads.items())
        self._member = re.compile(rf'"{colon}{{(?:{"|".join(ends)})')
        self._known: dict[str, list[tuple[str, str]]] = {name: [] for name in _READ}
        """Values met so far, by member: each as its text, and what to put for the member."""

    def shorter(self, document: str) -> str:
        """Take out of a document what nobody reads.

        Raises:
            ValueError, RecursionError: it is no JSON.
        """
        kept: list[str] = []
        done = 0
        found = self._member.search(document)
        while found:
            name, value = str(found.lastgroup), found.end() - 1
            text, short = self._value(name, document, value)
            if text:
                kept += document[done : value - len(self._heads[name])], short
                done = value + len(text)
            found = self._member.search(document, value + max(len(text), 1))
        return "".join((*kept, document[done:]))

    def _value(self, name: str, document: str, start: int) -> tuple[str, str]:
        """Tell a value's text, and what to put for the member; "" for both where too many are known."""
        known = self._known[name]
        for text, short in known:
            if document.startswith(text, start):
                return text, short
        if len(known) == _KNOWN:
            return "", ""
        value, end = json.JSONDecoder().raw_decode(document, start)
        read = {each: value[each] for each in _READ[name] if each in value}
        known.append((document[start:end], self._heads[name] + json.dumps(read) if _READ[name] else ""))
        return known[-1]
