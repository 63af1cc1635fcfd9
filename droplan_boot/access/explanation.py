"""Say whether somebody gets in, and every step of why. Pure: what is known goes in, words and a verdict come out."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any, Final

from droplan_boot.access import reasons, verdict
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.access.services import Service
from droplan_boot.access.verdict import Grant, Verdict
from droplan_boot.networks import Address
from droplan_boot.sources.listing import Droplet, Listing

REASONS: Final = {
    "peer": "it is a peer",
    "allowed": "an entry of DROPLAN_ALLOW lets it in",
    "own": "it is this Droplet itself",
    "open": "the public network is not closed",
    "not-installed": "no rules of ours are there",
    "observing": "nobody is shut out while droplan only observes",
    "new": "it is a peer, but the last answer does not know it yet",
    "no-address": "it has no private address",
    "lacks-tag": "it lacks the tag",
    "other-region": "it is in another region",
    "other-vpc": "it is in a VPC that is neither ours nor peered with it",
    "peer-not-on-this-port": "it is a peer, but not on this port",
    "allowed-not-on-this-port": "only other services are open to it",
    "unknown": "nobody has named the peers yet",
    "stranger": "it is no Droplet of the account",
}
"""Every reason, as ``--json`` names it: a contract."""

# RFC 1918, 3927, 4193, 4291, 6598. Not ipaddress' is_private, which counts networks for documentation among others.
_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        *("fe80::/10", "fc00::/7"),
    )
)


@dataclass(frozen=True)
class Asked:
    """Whom the question is about.

    Args:
        who: as it was asked.
        address: the address that would send; None for a Droplet without one.
        droplet: the Droplet that has it, if any is known.
        service: what it would reach; None for everything at once.
    """

    who: str
    address: Address | None
    droplet: Droplet | None
    service: Service | None = None

    @property
    def spelled(self) -> str:
        """The service as DROPLAN_ALLOW takes it; "" for everything at once."""
        return "" if self.service is None else str(self.service)


@dataclass(frozen=True)
class Known:
    """What the answer is taken from.

    Args:
        policy: what is enforced; None where nothing is.
        answered: whether an answer named the peers.
        own_addresses: this Droplet's.
        scope: DROPLAN_SCOPE.
        tags: DO_TAG.
        listing: the account's Droplets now, where the last answer did not know whom; None where nobody was asked.
        own_id: this Droplet's number; None where that is not known.
        observing: whether strangers pass all the same.
        guard: the table in which the guard is, such as ``table inet droplan``; "" where that is not known.
        door: whether there is a door too.
    """

    policy: Policy | None
    answered: bool = True
    own_addresses: frozenset[Address] = frozenset()
    scope: str = "region"
    tags: tuple[str, ...] = ()
    listing: Listing | None = None
    own_id: int | None = None
    observing: bool = False
    guard: str = ""
    door: bool = True


@dataclass(frozen=True)
class Part:
    """A part of what was asked about, such as some ports of a range.

    Args:
        service: which.
        accept: whether that gets in.
        reason: one of :data:`REASONS`.
        grant: what lets it in; None where it is shut out.
    """

    service: Service
    accept: bool
    reason: str
    grant: Grant | None

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON."""
        return {
            "service": str(self.service),
            "verdict": "accept" if self.accept else "drop",
            "reason": self.reason,
            "grant": None if self.grant is None else self.grant.to_json(),
        }


@dataclass(frozen=True)
class Explanation:
    """The answer.

    Args:
        accept: whether it gets in, and so does all that was asked about.
        reason: one of :data:`REASONS`.
        rule: the rule that decides, in words.
        steps: every step of why, a line each.
        remedy: the setting that would change it; "" where there is none.
        grant: what lets it in; None where it is no peer's right and no entry's.
        parts: where parts of what was asked about meet another verdict or another rule, each of them; else none.
        only: the services that are open to it, where everything was asked about and not everything gets in.
    """

    accept: bool
    reason: str
    rule: str
    steps: tuple[str, ...] = field(default=())
    remedy: str = ""
    grant: Grant | None = None
    parts: tuple[Part, ...] = ()
    only: tuple[Service, ...] = ()

    @property
    def partly(self) -> bool:
        """Whether some of what was asked about gets in, and some does not."""
        return len({part.accept for part in self.parts}) > 1 or (bool(self.only) and not self.accept)

    @property
    def why(self) -> str:
        """Say it in a clause."""
        if not self.partly:
            return REASONS[self.reason]
        if self.only:
            return f"it reaches {', '.join(map(str, self.only))}, and nothing else"
        return f"{self.among(accept=True)} gets in, {self.among(accept=False)} does not"

    def among(self, *, accept: bool) -> str:
        """List the parts that get in, or those that do not."""
        return ", ".join(str(part.service) for part in self.parts if part.accept == accept)


def explain(asked: Asked, known: Known) -> Explanation:
    """Judge and explain."""
    if known.policy is None:
        return Explanation(True, "not-installed", "no rule", (), "`droplan install` closes the private interface")
    if asked.address is not None and asked.address in known.own_addresses:
        return Explanation(True, "own", "no rule: what this Droplet sends itself goes over lo")
    if asked.address is None:
        return _without_address(asked, known)
    segment = segment_of(known.policy, asked.address)
    if segment is None:
        return Explanation(
            True,
            "open",
            "no rule",
            (f"{asked.address} is a public address, and the public interface is open", *_whose(asked)),
            "PUBLIC=true closes it",
        )
    found = _judged(asked, known, segment, asked.address)
    if found.accept or not known.observing:
        return found
    let_in = ", ".join(map(str, found.only)) or found.among(accept=True)
    step = (
        f"enforced, only {let_in} would be let in"
        if found.partly
        else f"enforced, it would be shut out: {REASONS[found.reason]}"
    )
    return Explanation(
        True,
        "observing",
        found.rule,
        (*found.steps, step),
        "`sudo DROPLAN_MODE=enforce droplan install` shuts it out",
    )


def segment_of(policy: Policy, address: Address) -> Segment | None:
    """Find the network that an address comes in from; None for the public one while it is open."""
    private = any(address.version == network.version and address in network for network in _PRIVATE)
    return next((one for one in policy.segments if one.public != private), None)


def _judged(asked: Asked, known: Known, segment: Segment, address: Address) -> Explanation:
    # Nobody sends this protocol (it is reserved, RFC 3692), so only what lets in everything lets it in.
    judged = verdict.parts(segment, address, asked.service or Service("255"))
    parts = tuple(_part(*one) for one in judged) if len(judged) > 1 else ()
    opened = [found for _, found in judged if found.accept]
    accepts = ", ".join(dict.fromkeys(f"accept {_by(found, address)}" for found in opened))
    by = ", ".join(segment.interfaces)
    chains = _chains(segment, known)
    setting = known.policy.setting(segment) if known.policy else "DROPLAN_ALLOW"
    if len(opened) < len(judged):
        reason, steps, remedy = _why_not(asked, known, segment, address, parts)
        granted = verdict.grants(segment, address) if asked.service is None else ()
        only = tuple(dict.fromkeys(grant.service for grant in granted if grant.service is not None))
        accepts = accepts or ", ".join(f"accept {_spelled(grant, address)}" for grant in granted)
        rule = f"{chains}: {accepts}{', then ' if accepts else ''}drop on {by} what is not accepted"
        return Explanation(False, reason, rule, steps, remedy, parts=parts, only=only)
    found, each = opened[0], tuple(f"{part.service} gets in{_thanks(part, setting)}" for part in parts)
    rule = f"{chains}: {accepts}"
    if found.entry is not None:
        steps = (*_whose(asked), *(each or (f"the entry {found.entry} of {setting} covers it, on {by}",)))
        entries = dict.fromkeys(str(one.entry) for one in opened if one.entry)
        remedy = f"take {' and '.join(entries)} out of {setting} to shut it out"
        grant = Grant(found.entry.service, found.entry)
        return Explanation(True, "allowed", rule, steps, remedy, None if parts else grant, parts)
    reach = "" if parts else _reach(found)
    steps = (
        *_whose(asked),
        f"{address} is among the peers of the last answer, who may come in by {by}{reach}",
        *each,
    )
    return Explanation(True, "peer", rule, steps, _out(known), None if parts else Grant(found.service, None), parts)


def _part(service: Service, found: Verdict) -> Part:
    grant = Grant(found.service if found.entry is None else found.entry.service, found.entry)
    return Part(service, found.accept, found.reason, grant if found.accept else None)


def _by(found: Verdict, address: Address) -> str:
    return f"{address}{_reach(found)}" if found.entry is None else str(found.entry)


def _spelled(grant: Grant, address: Address) -> str:
    return f"{address} to {grant.service}" if grant.entry is None else str(grant.entry)


def _reach(found: Verdict) -> str:
    return "" if found.service is None else f" to {found.service} (DROPLAN_PEER_PORTS)"


def _thanks(part: Part, setting: str) -> str:
    entry = part.grant.entry if part.grant else None
    return ", as peers may reach it" if entry is None else f" by the entry {entry} of {setting}"


def _chains(segment: Segment, known: Known) -> str:
    """Name the chains that decide: the guard's, which shuts out, and the door's, which lets in."""
    guard = f"guard {segment.guard} ({known.guard})" if known.guard else ""
    return " and ".join(filter(None, (guard, f"door {segment.chain} (INPUT)" if known.door else "")))


def _why_not(
    asked: Asked, known: Known, segment: Segment, address: Address, parts: tuple[Part, ...]
) -> tuple[str, tuple[str, ...], str]:
    setting = known.policy.setting(segment) if known.policy else "DROPLAN_ALLOW"
    each = [
        f"{part.service} {f'gets in{_thanks(part, setting)}' if part.accept else 'is shut out'}" for part in parts
    ]
    if not known.answered:
        steps = [*each, "no answer has named the peers yet, so nobody is one"]
        return "unknown", tuple(steps), "the next refresh that has an answer names them"
    granted = verdict.grants(segment, address)
    entry = _entry(asked, address, setting, segment)
    if address in segment.peers:
        used = [part.grant.entry for part in parts if part.grant]
        steps = [*_whose(asked), *each, f"{address} is a peer, and {_peers_reach(segment)}"]
        steps += [
            f"the entry {grant.entry} of {setting} "
            + ("is for another service" if asked.service else f"opens {grant.service} to it")
            for grant in granted
            if grant.entry and grant.entry not in used
        ]
        return "peer-not-on-this-port", tuple(steps), entry
    steps = [*_whose(asked), *each, f"{address} is not among the peers of the last answer"]
    only = ", ".join(str(grant.entry) for grant in granted if grant.entry)
    opened = f"{setting} lets it reach only {only}" if granted else f"no entry of {setting} covers it"
    droplet, own = asked.droplet, _own(known)
    if droplet is None or own is None or known.listing is None:
        whose = (
            "no Droplet of the account has that address now"
            if known.listing is not None
            else "whether a Droplet of the account has it is not known"
        )
        return "allowed-not-on-this-port" if granted else "stranger", (*steps, whose, opened), entry
    lack = reasons.lacking(droplet, own, known.listing.peerings, scope=known.scope, tags=known.tags)
    told, remedy = _lack(lack, droplet, own, known, entry)
    return "allowed-not-on-this-port" if granted else lack or "new", (*steps, told, opened), remedy


def _peers_reach(segment: Segment) -> str:
    if not segment.ports:
        return "with DROPLAN_PEER_PORTS=none peers reach nothing but what entries open"
    return f"DROPLAN_PEER_PORTS={','.join(map(str, segment.ports))} is all that peers may reach"


def _without_address(asked: Asked, known: Known) -> Explanation:
    own = _own(known)
    lack = "no-address"
    remedy = "the refresh after it has one decides"
    steps = [*_whose(asked), "it has no private address, so it cannot reach this Droplet's"]
    if asked.droplet is not None and own is not None and known.listing is not None:
        other = reasons.lacking(asked.droplet, own, known.listing.peerings, scope=known.scope, tags=known.tags)
        if other not in (None, "no-address"):
            told, remedy = _lack(other, asked.droplet, own, known, "")
            steps.append(told)
    return Explanation(False, lack, "no rule", tuple(steps), remedy)


def _lack(lack: str | None, droplet: Droplet, own: Droplet, known: Known, entry: str) -> tuple[str, str]:
    """Say what a Droplet lacks, and what would change that."""
    if lack == "lacks-tag":
        tags = ", ".join(droplet.tags or ()) or "none"
        which = "that tag" if len(known.tags) == 1 else "one of those"
        return (
            f"DO_TAG={','.join(known.tags)} asks for {which}, and its tags are: {tags}",
            f"give it the tag {known.tags[0]} at DigitalOcean" + (f", or {entry}" if entry else ""),
        )
    if lack == "other-region":
        return (
            f"DROPLAN_SCOPE=region asks for {own.region}, and it is in {droplet.region}",
            "DROPLAN_SCOPE=account lets in Droplets of every region, DROPLAN_SCOPE=vpc those of peered VPCs",
        )
    if lack == "other-vpc":
        return (
            f"DROPLAN_SCOPE=vpc asks for VPC {own.vpc} or one peered with it, and it is in {droplet.vpc}",
            "peer the two VPCs, or DROPLAN_SCOPE=account lets in Droplets of every VPC",
        )
    return "it is a peer by now: the last answer is older than that", "the next refresh lets it in: `droplan refresh`"


def _whose(asked: Asked) -> tuple[str, ...]:
    droplet = asked.droplet
    if droplet is None:
        return ()
    address = f"{asked.address} is" if asked.address else f"{asked.who} is"
    told = f"{address} Droplet {droplet.name or '(without a name)'} (number {droplet.id}, region {droplet.region})"
    return (told, "it is off now, so nothing comes from it") if droplet.off else (told,)


def _own(known: Known) -> Droplet | None:
    if known.listing is None:
        return None
    return next((one for one in known.listing.droplets if one.id == known.own_id), None)


def _entry(asked: Asked, address: Address, setting: str, segment: Segment) -> str:
    entry = f"{asked.spelled}{'@' if asked.spelled else ''}{address}"
    # One that replaced the others would shut them out.
    return f"add {entry} to {setting} to let it in" if segment.allow else f"{setting}={entry} lets it in"


def _out(known: Known) -> str:
    return (
        f"take the tag {' and '.join(known.tags)} from it to shut it out"
        if known.tags
        else "DO_TAG lets in only Droplets with a tag of your choice"
    )
