"""Spell a policy as rules of ip(6)tables. Pure; tests/golden shows the rules of each scenario.

A rule is a string as iptables-save prints it, without ``-A CHAIN``: what is wanted and what is read back can be
compared letter by letter, and a person can read both.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from droplan_boot.access.allow import Allow
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.firewall import tree
from droplan_boot.networks import Address, Network

PREFIX: Final = "droplan-"
"""How the names of all our chains begin, and of nobody else's."""

FLAT: Final = 64
"""Up to so many entries a chain lists them one by one, as the tutorial shows; above, they become a tree."""

HOOKS: Final = ("INPUT", "FORWARD", "OUTPUT")

REPLIES: Final = "-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY"
"""Packets that answer what this Droplet opened. Not the other direction: the connections that a peer opened end when
it is no peer any more."""

# Neighbour solicitation and advertisement keep IPv6 alive on a link (RFC 4861). On the private network no router has
# any business: a VPC carries no IPv6, and a stranger's router advertisement or redirect (134, 137) would turn this
# Droplet's traffic towards the stranger.
_NEIGHBOURS: Final = {False: (135, 136), True: (133, 134, 135, 136, 137)}


@dataclass(frozen=True)
class Ruleset:
    """All our rules in the filter table of one family.

    Args:
        version: 4 or 6.
        heads: by built-in chain, the rules that are to be its first, in order.
        chains: by name, the rules of the chains that are ours alone.
        retired: by built-in chain, rules that were ours and are to go even where no chain of ours tells so.
    """

    version: int
    heads: Mapping[str, tuple[str, ...]]
    chains: Mapping[str, tuple[str, ...]]
    retired: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def build(policy: Policy, version: int) -> Ruleset:
    """Spell a policy for one IP version (4 or 6)."""
    heads: dict[str, list[str]] = {hook: [] for hook in HOOKS}
    chains: dict[str, tuple[str, ...]] = {}
    for segment in policy.segments:
        forward = _forward_name(segment)
        for name in segment.interfaces:
            heads["INPUT"] += [
                f"-i {name} {REPLIES} -j ACCEPT",
                f"-i {name} -j {segment.chain}",
                f"-i {name} -j DROP",
            ]
            heads["FORWARD"].append(f"-i {name} -j {forward}")
        chains.update(_chains(segment, forward, version))
    if policy.metadata and version == 4:
        _lock_metadata(policy, heads, chains)
    return Ruleset(version, {hook: tuple(rules) for hook, rules in heads.items()}, chains)


def probe(version: int) -> tuple[str, ...]:
    """Spell a rule with each match and target that the rules of any policy may need."""
    common = (f"{REPLIES} -j ACCEPT", "-p tcp -m tcp --dport 1 -j ACCEPT", "-p udp -m udp --dport 1 -j ACCEPT")
    origin = "-p tcp -m conntrack --ctorigdstport 1 -j RETURN"
    return (
        (*common, origin, "-p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT") if version == 6 else (*common, origin)
    )


def nothing(former: Policy | None, version: int) -> Ruleset:
    """Spell that nothing of ours is there any more; ``former`` is the policy that was applied last, if known."""
    return Ruleset(version, {}, {}, retired=build(former, version).heads if former else {})


def _forward_name(segment: Segment) -> str:
    return "droplan-forward-public" if segment.public else "droplan-forward"


def _chains(segment: Segment, forward: str, version: int) -> dict[str, tuple[str, ...]]:
    sources = segment.sources(version)
    services = segment.services(version)
    knock = [
        *_neighbours(segment, version),
        *(_service(entry, "-m {0} --dport {1}", "ACCEPT") for entry in services),
    ]
    # A published port is rewritten before FORWARD sees the packet: what the sender asked for is what conntrack
    # remembers. Peers RETURN, so that the rules that come after (Docker's, Kubernetes') still have their say.
    passing = [
        f"{REPLIES} -j RETURN",
        *(_service(entry, "-m conntrack --ctorigdstport {1}", "RETURN") for entry in services),
    ]
    if len(sources) <= FLAT:
        flat = _flat(sources)
        return {
            segment.chain: (*knock, *(f"-s {network} -j ACCEPT" for network in flat)),
            forward: (*passing, *(f"-s {network} -j RETURN" for network in flat), "-j DROP"),
        }
    root = f"{PREFIX}tree-public" if segment.public else f"{PREFIX}tree"
    stem = f"{PREFIX}u-" if segment.public else f"{PREFIX}t-"
    return {
        segment.chain: (*knock, f"-j {root}", "-j ACCEPT"),
        forward: (*passing, f"-j {root}"),
        **tree.lay_out(sources, version, root, stem),
    }


def _flat(sources: Sequence[Address | Network]) -> list[str]:
    """Spell each as a network, once."""
    return list(dict.fromkeys(str(ipaddress.ip_network(one)) for one in sources))


def _neighbours(segment: Segment, version: int) -> list[str]:
    if version == 4:
        return []
    return [f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j ACCEPT" for kind in _NEIGHBOURS[segment.public]]


def _service(entry: Allow, port: str, target: str) -> str:
    source = f"-s {entry.source} " if entry.source and entry.source.prefixlen else ""
    return f"{source}-p {entry.protocol} {port.format(entry.protocol, entry.port)} -j {target}"


def _lock_metadata(policy: Policy, heads: dict[str, list[str]], chains: dict[str, tuple[str, ...]]) -> None:
    """Let only root and DigitalOcean's agents reach the metadata service, which shows the token to whoever asks."""
    heads["OUTPUT"].append(f"-d {policy.metadata}/32 -j {PREFIX}metadata")
    heads["FORWARD"].append(f"-d {policy.metadata}/32 -j {PREFIX}metadata-fwd")
    refuse = "-j REJECT --reject-with icmp-port-unreachable"
    readers = (f"-m owner --uid-owner {uid} -j RETURN" for uid in policy.metadata_readers)
    chains[f"{PREFIX}metadata"] = (*readers, refuse)
    chains[f"{PREFIX}metadata-fwd"] = (refuse,)
