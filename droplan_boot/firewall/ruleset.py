"""Spell a policy as the door: rules of ip(6)tables in the table filter. Pure; tests/golden shows each scenario's.

A rule is a string as iptables-save prints it, without ``-A CHAIN``: what is wanted and what is read back can be
compared letter by letter, and a person can read both.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from droplan_boot.access.policy import Policy, Segment
from droplan_boot.firewall import opened, tree
from droplan_boot.networks import Address, Network

PREFIX: Final = tree.PREFIX

FLAT: Final = 64
"""Up to so many entries a chain lists them one by one, as the tutorial shows; above, they become a tree."""

TABLES: Final = {"mangle": ("PREROUTING",), "filter": ("INPUT", "FORWARD", "OUTPUT")}
"""The built-in chains where rules of ours may stand, by table. The guard's table first: what is written first."""

REPLIES: Final = "-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY"
"""Packets that answer what this Droplet opened. Not the other direction: the connections that a peer opened end when
it is no peer any more."""

ERRORS: Final = {
    4: "-p icmp -m conntrack --ctstate RELATED",
    6: "-p ipv6-icmp -m conntrack --ctstate RELATED",
}
"""ICMP errors about any tracked connection. One that a peer opened has the direction of the original, so that the
rule for replies does not let its errors in: behind a link of smaller MTU it would hang for ever."""

_REWRITTEN: Final = "-m conntrack --ctstate DNAT"
"""Packets whose destination was rewritten. Few are, so that few meet the rules for those."""

# Neighbour solicitation and advertisement keep IPv6 alive on a link (RFC 4861), and so does the multicast listener
# query (130) where a switch snoops multicast (RFC 4890, 4.4.1). On the private network no router has any business: a
# VPC carries no IPv6, and a stranger's router advertisement or redirect (134, 137) would turn this Droplet's traffic
# towards the stranger.
_NEIGHBOURS: Final = {False: (130, 135, 136), True: (130, 133, 134, 135, 136, 137)}


@dataclass(frozen=True)
class Ruleset:
    """All our rules in a table of one family.

    Args:
        version: 4 or 6.
        heads: by built-in chain, the rules that are to be there, in order.
        chains: by name, the rules of the chains that are ours alone.
        retired: by built-in chain, rules that were ours and are to go even where no chain of ours tells so.
        table: ``filter`` or ``mangle``.
    """

    version: int
    heads: Mapping[str, tuple[str, ...]]
    chains: Mapping[str, tuple[str, ...]]
    retired: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    table: str = "filter"


def build(policy: Policy, version: int, *, alone: bool = False) -> Ruleset:
    """Spell the door: what the filter table holds for a policy; nothing where droplan only observes.

    Args:
        policy: who may come in.
        version: 4 or 6.
        alone: whether no table of nftables stands beside it, which otherwise keeps the metadata service.
    """
    if policy.observe:  # it would let peers in past what the host refuses
        return Ruleset(version, {}, {})
    heads: dict[str, list[str]] = {hook: [] for hook in TABLES["filter"]}
    chains: dict[str, tuple[str, ...]] = {}
    for segment in policy.segments:
        for name in segment.interfaces:
            heads["INPUT"] += [
                f"-i {name} {REPLIES} -j ACCEPT",
                f"-i {name} -j {segment.chain}",
                f"-i {name} -j DROP",
            ]
        chains.update(_chains(segment, version))
    if alone and policy.metadata and version == 4:
        _lock_metadata(policy, heads, chains)
    return Ruleset(version, {hook: tuple(rules) for hook, rules in heads.items()}, chains)


def probe(version: int) -> tuple[str, ...]:
    """Spell a rule with each match and target that the rules of any policy may need."""
    common = (
        f"{REPLIES} -j RETURN",
        f"{ERRORS[version]} -j RETURN",
        "-p tcp -m tcp --dport 1 -j RETURN",
        "-p udp -m udp --dport 1 -j RETURN",
        f"{_REWRITTEN} -j RETURN",
        "-p tcp -m conntrack --ctorigdstport 1 -j RETURN",
    )
    return (*common, "-p ipv6-icmp -m icmp6 --icmpv6-type 135 -j RETURN") if version == 6 else common


def nothing(former: Policy | None, version: int, table: str = "filter") -> Ruleset:
    """Spell that nothing of ours is there any more; ``former`` is the policy that was applied last, if known."""
    retired = build(former, version, alone=True).heads if former and table == "filter" else {}
    return Ruleset(version, {}, {}, retired, table)


def admitted(segment: Segment, version: int, target: str) -> tuple[str, ...]:
    """Spell what comes in whoever sends it: errors, and what keeps a link alive.

    Args:
        segment: the network.
        version: 4 or 6.
        target: what becomes of such a packet, ``ACCEPT`` or ``RETURN``.
    """
    neighbours = _NEIGHBOURS[segment.public] if version == 6 else ()
    return (
        f"{ERRORS[version]} -j {target}",
        *(f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j {target}" for kind in neighbours),
    )


def sources(
    segment: Segment, version: int, target: str, refuse: str
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Spell the peers and all that may send anything.

    Args:
        segment: the network.
        version: 4 or 6.
        target: what becomes of their packets.
        refuse: what becomes of others' in the tree, such as ``-j DROP``; in a flat list they go past.

    Returns:
        The rules that ask, and the chains that they ask, if there are more than :data:`FLAT`.
    """
    listed = segment.sources(version)
    if len(listed) <= FLAT:
        return tuple(f"-s {network} -j {target}" for network in _flat(listed)), {}
    root = f"{PREFIX}tree-public" if segment.public else f"{PREFIX}tree"
    stem = f"{PREFIX}u-" if segment.public else f"{PREFIX}t-"
    return (f"-j {root}", f"-j {target}"), tree.lay_out(listed, version, root, stem, refuse)


def _chains(segment: Segment, version: int) -> dict[str, tuple[str, ...]]:
    # The port may have been rewritten by now: conntrack remembers what the sender asked for. A packet that is not
    # tracked still has it, for nothing rewrites that one.
    (services, once), trees = opened.rules(segment, version, (opened.NOW, opened.ONCE), "-j ACCEPT")
    rules, below = sources(segment, version, "ACCEPT", "-j DROP")
    rewritten = (f"{_REWRITTEN} -j {segment.asked}",) if once else ()
    return {
        segment.chain: (*admitted(segment, version, "ACCEPT"), *services, *rewritten, *rules),
        **({segment.asked: once} if once else {}),
        **trees,
        **below,
    }


def _flat(sources: Sequence[Address | Network]) -> list[str]:
    """Spell each as a network, once."""
    return list(dict.fromkeys(str(ipaddress.ip_network(one)) for one in sources))


def _lock_metadata(policy: Policy, heads: dict[str, list[str]], chains: dict[str, tuple[str, ...]]) -> None:
    """Let only root and DigitalOcean's agents reach the metadata service, which shows the token to whoever asks."""
    heads["OUTPUT"].append(f"-d {policy.metadata}/32 -j {PREFIX}metadata")
    heads["FORWARD"].append(f"-d {policy.metadata}/32 -j {PREFIX}metadata-fwd")
    refuse = "-j REJECT --reject-with icmp-port-unreachable"
    readers = (f"-m owner --uid-owner {uid} -j RETURN" for uid in policy.metadata_readers)
    chains[f"{PREFIX}metadata"] = (*readers, refuse)
    chains[f"{PREFIX}metadata-fwd"] = (refuse,)
