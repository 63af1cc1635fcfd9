"""Spell a policy as the guard in nftables: our table ``inet droplan``. Pure; tests/golden shows each scenario's.

The guard hangs in prerouting, before everybody's rules: no order of others' rules, no program's flush of its own
tables opens it, and one chain judges what is for this Droplet, for its containers and for whom it routes. It comes
after conntrack (-200), which it asks, and before destination NAT (-100), so that a port is the one that the sender
asked for. In nft a drop is final, an accept only ends the table it is in: no rule of others lets a stranger in, and a
peer still has to pass theirs.

It judges (``_judged``) what comes in by a private card; by a public one, what is addressed into the private network's
range, for the kernel answers for any of its addresses on any card; and by any other card but lo, what has its source
in that range: the private card under another name, or the bridge that it has become part of. Packets of containers,
guests and VPN clients have sources of their own networks, so they go on reaching the Droplet's private address. (One
whose network lies within the private range cannot be told from a stranger; DROPLAN_ALLOW names it.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from droplan_boot.access.policy import Policy, Segment
from droplan_boot.firewall import nflog, opened
from droplan_boot.firewall.nft_table import ADDRESSES, HEARD, NETWORKS, Table
from droplan_boot.networks import Address, Interval, Network, ends, intervals

# nft names the priorities next to those that it knows, older versions only these themselves: -170 and -20 read the
# same everywhere. (-160 is `mangle - 10` to newer ones.)
_GUARD: Final = "type filter hook prerouting priority -170; policy accept;"
_LOCK: Final = "type filter hook {0} priority -20; policy accept;"
_REPLIES: Final = "ct direction reply ct state established,related"
# An error about a connection that a peer opened has the direction of the original: without these two such connections
# hang for ever behind a link of smaller MTU.
_ERRORS: Final = ("meta l4proto icmp ct state related", "meta l4proto ipv6-icmp ct state related")
# The same types as in ruleset: what finds neighbours (RFC 4861), and what a switch that snoops multicast asks before
# it forgets who wants to be found (RFC 4890, 4.4.1). On the public network routers have their say too.
_NEIGHBOURS: Final = {
    False: "mld-listener-query, nd-neighbor-solicit, nd-neighbor-advert",
    True: "mld-listener-query, nd-router-solicit, nd-router-advert, "
    "nd-neighbor-solicit, nd-neighbor-advert, nd-redirect",
}
# What every host tells the others of its link, unasked: which multicast groups it listens to (RFC 3810, RFC 2710) and
# that it looks for a router (RFC 4861). Nobody was shut out who wanted something, so nobody hears of it.
_CHATTER: Final = "icmpv6 type { mld-listener-report, mld-listener-done, nd-router-solicit, mld2-listener-report }"
_NOTE: Final = (
    "update @{heard} {{ {family} saddr limit rate 1/second burst 1 packets }} "
    'limit rate 200/second burst 200 packets log prefix "{prefix}" group {group} snaplen {bytes}'
)


def build(policy: Policy, *, notes: bool = True) -> Table | None:
    """Spell a policy; None when it asks for no rule.

    Args:
        policy: who may come in.
        notes: whether the kernel can send copies of what is shut out to the watcher.
    """
    sets: dict[str, tuple[Interval, ...]] = {}
    chains: dict[str, tuple[str, ...]] = {}
    for segment in policy.segments:
        for version in (4, 6):
            sets[_set(ADDRESSES, segment, version)], sets[_set(NETWORKS, segment, version)] = _sources(
                segment, version
            )
            if notes:
                sets[_set(HEARD, segment, version)] = ()
        # Where droplan only observes, this is all that differs: the same packets come here, are told, and go on.
        verdict = "accept" if policy.observe else "drop"
        told = (f"{_CHATTER} {verdict}", *_notes(segment, observe=policy.observe)) if notes else ()
        chains[segment.refuse] = (*told, verdict)
        services, groups, lists = opened.nft(segment, (ADDRESSES, NETWORKS))
        chains.update(groups)
        for name, (sources, version) in lists.items():
            sets[name] = tuple(intervals(sources, version)) if name.startswith(NETWORKS) else _single(sources)
        chains[segment.guard] = (*_admitted(segment, services), f"goto {segment.refuse}")
    if policy.segments:
        chains["prerouting"] = (_GUARD, *_judged(policy))
    if policy.metadata:
        # Only root may reach the service that shows the token to whoever asks; containers may not at all. Both hooks
        # come after destination NAT: another address that leads there is no way round.
        refuse = f"ip daddr {policy.metadata} reject"
        chains["forward"] = (_LOCK.format("forward"), refuse)
        readers = (f"ip daddr {policy.metadata} meta skuid {uid} accept" for uid in policy.metadata_readers)
        chains["output"] = (_LOCK.format("output"), *readers, refuse)
    return Table(sets, chains) if chains else None


def _judged(policy: Policy) -> Iterator[str]:
    """Say which packets are judged, by which segment's chain; the first that fits decides."""
    yield 'iifname "lo" accept'
    private = [segment for segment in policy.segments if not segment.public]
    public = [segment for segment in policy.segments if segment.public]
    for segment in private:
        for name in segment.interfaces:
            yield f'iifname "{name}" goto {segment.guard}'
    for segment in private:
        for name in segment.outside:
            for network in segment.networks:
                yield f'iifname "{name}" {_family(network)} daddr {_text(network)} goto {segment.guard}'
    for segment in public:
        for name in segment.interfaces:
            yield f'iifname "{name}" goto {segment.guard}'
    closed = {name for segment in public for name in segment.interfaces}
    for segment in private:
        for name in segment.outside if segment.networks else ():
            if name not in closed:
                yield f'iifname "{name}" accept'
        for network in segment.networks:
            yield f"{_family(network)} saddr {_text(network)} goto {segment.guard}"


def _admitted(segment: Segment, services: Iterable[str]) -> Iterator[str]:
    """Say which of the judged packets come in."""
    # Where the settings let nobody send anything whatever, these sets are empty, and no packet need look into them.
    anything = (4, 6) if segment.ports is None or any(entry.service is None for entry in segment.allow) else ()
    yield f"{_REPLIES} accept"
    for version in anything:  # most packets are peers', so they come early
        yield f"{_IP[version]} saddr @{_set(ADDRESSES, segment, version)} accept"
    yield from services  # after peers, these have the most packets
    for errors in _ERRORS:
        yield f"{errors} accept"
    yield f"icmpv6 type {{ {_NEIGHBOURS[segment.public]} }} accept"
    for version in anything:
        yield f"{_IP[version]} saddr @{_set(NETWORKS, segment, version)} accept"


def _sources(segment: Segment, version: int) -> tuple[tuple[Interval, ...], tuple[Interval, ...]]:
    """Tell single addresses, each for itself, from networks, as the fewest intervals."""
    single, wide = set(), []
    for one in segment.sources(version):
        first, last = ends(one)
        if first == last:
            single.add((first, last))
        else:
            wide.append(one)
    return tuple(sorted(single)), tuple(intervals(wide, version))


def _single(sources: Iterable[Address | Network]) -> tuple[Interval, ...]:
    return tuple(sorted({ends(one) for one in sources}))


def _notes(segment: Segment, *, observe: bool) -> Iterator[str]:
    """Have a copy of what is shut out (or would be) sent to the watcher: one a second of a source, 200 of all."""
    for version in (4, 6):
        yield _NOTE.format(
            heard=_set(HEARD, segment, version),
            family=_IP[version],
            prefix=nflog.prefix(public=segment.public, observe=observe),
            group=nflog.GROUP,
            bytes=nflog.COPY_BYTES,
        )


_IP: Final = {4: "ip", 6: "ip6"}


def _family(network: Network) -> str:
    return _IP[network.version]


def _text(network: Network) -> str:
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def _set(kind: str, segment: Segment, version: int) -> str:
    return f"{kind}{'-public' if segment.public else ''}{version}"
