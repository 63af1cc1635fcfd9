"""What other programs' tables of nftables do with a peer's packet. Pure: it reads ``nft -j list ruleset``.

An ACCEPT of ours is not final: every other base chain of the same hook has its say, and any of them may drop
(nft(8), "Verdicts"). Only what is sure is called a refusal: a match that is not understood is taken for one that
does not match, and it is the end of the chains, a policy or a reject for everybody, that refuses.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from droplan_boot.networks import Address

_OURS: Final = "droplan"
_XTABLES: Final = ("filter", "nat", "mangle", "raw", "security")
_HOOKS: Final = ("prerouting", "input")
_DEEPEST: Final = 32

_GO_ON: Final = ""
_RETURN: Final = "return"


@dataclass(frozen=True)
class Refusal:
    """A chain of another program's that refuses a packet.

    Args:
        family: such as ``inet``.
        table: its table's name.
        chain: the base chain.
    """

    family: str
    table: str
    chain: str


def refusals(text: str, card: str, source: Address, port: int, *, xtables: bool = False) -> tuple[Refusal, ...]:
    """List the base chains that refuse a new TCP connection to this machine.

    Args:
        text: what ``nft -j list ruleset`` printed.
        card: the interface it comes in by.
        source: who opens it.
        port: to which port.
        xtables: whether the tables that iptables made count as another program's; not where our door stands in them.

    Raises:
        ValueError: it is no such listing.
    """
    try:
        listed = json.loads(text)["nftables"]
        found = _Tables(listed)
        packet = _packet(card, source, port)
        return tuple(
            Refusal(*key)
            for key, chain in found.bases.items()
            if chain.get("type", "filter") == "filter"
            and _concerns(key, source.version, xtables=xtables)
            and found.verdict(key, packet) in ("drop", "reject", "queue")
        )
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"no listing of nft's ({error})") from None


def that_may_refuse(text: str, version: int) -> tuple[tuple[str, str], ...]:
    """List the other programs' tables, by family and name, that hold anything which refuses some packet or other.

    Args:
        text: what ``nft -j list ruleset`` printed.
        version: 4 or 6, of the packets.

    Raises:
        ValueError: it is no such listing.
    """
    try:
        found = _Tables(json.loads(text)["nftables"])
        tables = dict.fromkeys(key[:2] for key in found.bases if _concerns(key, version, xtables=False))
        return tuple(table for table in tables if found.may_refuse(table))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no listing of nft's ({error})") from None


def _concerns(key: tuple[str, str, str], version: int, *, xtables: bool) -> bool:
    family, table, _ = key
    if family not in ("inet", "ip" if version == 4 else "ip6"):
        return False
    if table == _OURS or table.startswith(f"{_OURS}-"):  # close.py's is droplan-closed
        return False
    return xtables or family == "inet" or table not in _XTABLES


class _Tables:
    """A ruleset, by what its rules refer to."""

    def __init__(self, listed: Sequence[Mapping[str, Any]]) -> None:
        self.bases: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        self.rules: dict[tuple[str, str, str], list[Sequence[Mapping[str, Any]]]] = {}
        self.sets: dict[tuple[str, str, str], Sequence[Any]] = {}
        for one in listed:
            for kind, value in one.items():
                if kind == "chain":
                    if value.get("hook") in _HOOKS:
                        self.bases[value["family"], value["table"], value["name"]] = value
                elif kind == "rule":
                    place = value["family"], value["table"], value["chain"]
                    self.rules.setdefault(place, []).append(value.get("expr", []))
                elif kind in ("set", "map"):
                    self.sets[value["family"], value["table"], value["name"]] = value.get("elem", [])

    def may_refuse(self, table: tuple[str, str]) -> bool:
        """Whether a table has a policy of drop in input, or any rule that ends in a refusal."""
        closed = any(
            base.get("policy") == "drop" and base["hook"] == "input"
            for key, base in self.bases.items()
            if key[:2] == table
        )
        listed = (rule for key, rules in self.rules.items() if key[:2] == table for rule in rules)
        return closed or any({"drop", "reject"} & set(statement) for rule in listed for statement in rule)

    def verdict(self, base: tuple[str, str, str], packet: Mapping[str, Any]) -> str:
        """Tell what a base chain decides in the end."""
        found = self._walk(base, packet, 0)
        return str(self.bases[base].get("policy", "accept")) if found in (_GO_ON, _RETURN) else found

    def _walk(self, chain: tuple[str, str, str], packet: Mapping[str, Any], depth: int) -> str:
        if depth > _DEEPEST:
            return _GO_ON
        for rule in self.rules.get(chain, ()):
            found = self._rule(chain, rule, packet, depth)
            if found == _RETURN:
                return _GO_ON
            if found != _GO_ON:
                return found
        return _GO_ON

    def _rule(
        self, chain: tuple[str, str, str], rule: Sequence[Mapping[str, Any]], packet: Mapping[str, Any], depth: int
    ) -> str:
        for statement in rule:
            for kind, value in statement.items():
                if kind == "match":
                    if not self._matches(chain, value, packet):
                        return _GO_ON
                elif kind == "vmap":
                    known = _field(value["key"], packet)
                    if known is None:
                        return _GO_ON
                    for entry, verdict in self._elements(chain, value["data"]):
                        if self._holds(chain, known, entry):
                            return self._decide(chain, verdict, packet, depth)
                elif kind in ("accept", "drop", "reject", "queue", "return", "jump", "goto"):
                    return self._decide(chain, statement, packet, depth)
                elif kind in ("xt", "limit", "quota", "ct count"):
                    return _GO_ON  # may match or not; the rule is not counted on
        return _GO_ON

    def _decide(
        self, chain: tuple[str, str, str], verdict: Mapping[str, Any], packet: Mapping[str, Any], depth: int
    ) -> str:
        for kind, value in verdict.items():
            if kind == "jump":
                return self._walk((*chain[:2], value["target"]), packet, depth + 1)
            if kind == "goto":
                # What comes back from there does not come back here, but to where this chain was called.
                return self._walk((*chain[:2], value["target"]), packet, depth + 1) or _RETURN
            if kind == "continue":
                return _GO_ON
            return str(kind)
        return _GO_ON

    def _matches(self, chain: tuple[str, str, str], match: Mapping[str, Any], packet: Mapping[str, Any]) -> bool:
        known = _field(match["left"], packet)
        if known is None or match.get("op") not in ("==", "in", "!="):
            return False
        negated: bool = match["op"] == "!="
        return self._holds(chain, known, match["right"]) != negated

    def _holds(self, chain: tuple[str, str, str], known: Any, wanted: Any) -> bool:
        """Whether a value is, or is in, what a rule names."""
        if isinstance(wanted, str) and wanted.startswith("@"):
            return any(self._holds(chain, known, one) for one in self.sets.get((*chain[:2], wanted[1:]), ()))
        if isinstance(wanted, dict):
            if "set" in wanted:
                return self._holds(chain, known, wanted["set"])
            if "elem" in wanted:
                return self._holds(chain, known, wanted["elem"]["val"])
            if "concat" in wanted:
                parts = wanted["concat"]
                return (
                    isinstance(known, tuple)
                    and len(known) == len(parts)
                    and all(self._holds(chain, one, part) for one, part in zip(known, parts))
                )
            if "prefix" in wanted:
                network = f"{wanted['prefix']['addr']}/{wanted['prefix']['len']}"
                return bool(_is_address(known) and known in ipaddress.ip_network(network, strict=False))
            if "range" in wanted:
                first, last = (_like(known, one) for one in wanted["range"])
                return first is not None and last is not None and first <= known <= last
            return False
        if isinstance(wanted, list):
            return any(self._holds(chain, known, one) for one in wanted)
        if isinstance(known, str) and str(wanted).endswith("*"):
            return known.startswith(str(wanted)[:-1])
        return bool(known == _like(known, wanted))

    def _elements(self, chain: tuple[str, str, str], data: Any) -> Sequence[Any]:
        if isinstance(data, str):
            return self.sets.get((*chain[:2], data.lstrip("@")), ())
        found: Sequence[Any] = data["set"]
        return found


def _packet(card: str, source: Address, port: int) -> Mapping[str, Any]:
    ip = "ip" if source.version == 4 else "ip6"
    return {
        "meta iifname": card,
        "meta iif": card,
        "meta nfproto": "ipv4" if source.version == 4 else "ipv6",
        "meta protocol": ip,
        "meta l4proto": "tcp",
        "meta pkttype": "host",
        f"{ip} saddr": source,
        "ip protocol": "tcp",
        "ip6 nexthdr": "tcp",
        "tcp dport": port,
        "th dport": port,
        "ct state": "new",
        "ct direction": "original",
    }


def _field(left: Any, packet: Mapping[str, Any]) -> Any:
    """Find what the packet has where a match looks; None where that is not known."""
    if not isinstance(left, dict):
        return None
    if "meta" in left:
        return packet.get(f"meta {left['meta']['key']}")
    if "ct" in left:
        return packet.get(f"ct {left['ct']['key']}")
    if "payload" in left:
        return packet.get(f"{left['payload'].get('protocol')} {left['payload'].get('field')}")
    if "concat" in left:
        parts = tuple(_field(one, packet) for one in left["concat"])
        return None if None in parts else parts
    return None


def _is_address(known: Any) -> bool:
    return isinstance(known, (ipaddress.IPv4Address, ipaddress.IPv6Address))


def _like(known: Any, wanted: Any) -> Any:
    """Read what a rule names as the packet's value is; None where it cannot be that."""
    try:
        if _is_address(known):
            return ipaddress.ip_address(str(wanted))
        if isinstance(known, int):
            return int(wanted)
    except (ValueError, TypeError):
        return None
    return wanted
