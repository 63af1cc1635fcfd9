"""Spell a policy as the guard in ip(6)tables, where nf_tables is not: chains in mangle's PREROUTING. Pure.

It judges the same packets as ``nft_guard``, for the same reasons. What it lets through RETURNs to PREROUTING, so that
others' rules there still have their say. It stands as long as nobody flushes the table mangle; the next run puts it
back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from droplan_boot.access.policy import Policy, Segment
from droplan_boot.firewall import nflog, opened
from droplan_boot.firewall.ruleset import PREFIX, REPLIES, Ruleset, admitted, sources

GUARD: Final = f"{PREFIX}guard"

# What every host tells its link unasked; nft_guard says which and why.
_CHATTER: Final = {4: (), 6: (131, 132, 133, 143)}

_NOTE: Final = (
    "-m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 1 --hashlimit-mode srcip --hashlimit-name {name} "
    "-m limit --limit 200/sec --limit-burst 200 -j NFLOG --nflog-prefix {prefix} --nflog-group {group}"
)


def build(policy: Policy, version: int, *, notes: bool = True) -> Ruleset:
    """Spell a policy for one IP version (4 or 6).

    Args:
        policy: who may come in.
        version: 4 or 6.
        notes: whether the kernel can send copies of what is shut out to the watcher.
    """
    chains: dict[str, tuple[str, ...]] = {}
    if not policy.segments:
        return Ruleset(version, {}, {}, table="mangle")
    chains[GUARD] = tuple(_judged(policy, version))
    for segment in policy.segments:
        (services,), trees = opened.rules(segment, version, (opened.NOW,), "-j RETURN", segment.sources(version))
        rules, below = sources(segment, version, "RETURN", f"-g {segment.refuse}")
        verdict = "RETURN" if policy.observe else "DROP"
        told = (*_chatter(version, verdict), _note(segment, observe=policy.observe)) if notes else ()
        chains[segment.refuse] = (*told, f"-j {verdict}")
        chains[segment.guard] = (
            f"{REPLIES} -j RETURN",
            *admitted(segment, version, "RETURN"),
            *services,
            *rules,
            *([] if below else [f"-g {segment.refuse}"]),
        )
        chains.update({**trees, **below})
    return Ruleset(version, {"PREROUTING": (f"-j {GUARD}",)}, chains, table="mangle")


def _judged(policy: Policy, version: int) -> Iterator[str]:
    """Say which packets are judged, by which segment's chain; the first that fits decides."""
    yield "-i lo -j RETURN"
    private = [segment for segment in policy.segments if not segment.public]
    public = [segment for segment in policy.segments if segment.public]
    for segment in private:
        for name in segment.interfaces:
            yield f"-i {name} -g {segment.guard}"
    for segment in private:
        for name in segment.outside:
            for network in segment.networks:
                if network.version == version:
                    yield f"-d {network} -i {name} -g {segment.guard}"
    for segment in public:
        for name in segment.interfaces:
            yield f"-i {name} -g {segment.guard}"
    closed = {name for segment in public for name in segment.interfaces}
    for segment in private:
        networks = [network for network in segment.networks if network.version == version]
        for name in segment.outside if networks else ():
            if name not in closed:
                yield f"-i {name} -j RETURN"
        for network in networks:
            yield f"-s {network} -g {segment.guard}"


def _chatter(version: int, verdict: str) -> Iterator[str]:
    """Refuse without a copy what no host can help sending."""
    return (f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j {verdict}" for kind in _CHATTER[version])


def _note(segment: Segment, *, observe: bool) -> str:
    return _NOTE.format(
        name="droplan-public" if segment.public else "droplan",
        prefix=nflog.prefix(public=segment.public, observe=observe),
        group=nflog.GROUP,
    )
