"""Say what a refresh or an uninstall would do, and do none of it."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Iterator, Mapping

from droplan_boot.access import change, cut, verdict
from droplan_boot.access.here import Here
from droplan_boot.access.policy import Policy
from droplan_boot.errors import DroplanError
from droplan_boot.firewall import choose
from droplan_boot.flow.learn import Learned
from droplan_boot.host import connections
from droplan_boot.host.doors import Host
from droplan_boot.networks import Address
from droplan_boot.plural import counted
from droplan_boot.settings import Settings
from droplan_boot.sources.listing import Droplet
from droplan_boot.state import blocked, snapshot
from droplan_boot.state.blocked import Source

_MOST = 10


def access(host: Host, answer: Learned) -> Iterator[str]:
    """Tell who would come and go, and which connections that exist now would end.

    Yields:
        A line each; at least one.
    """
    before = snapshot.load(host.files)
    former = before.policy if before else None
    known = before.peers if before else ()
    for segment, one in zip(answer.policy.segments, change.between(former, answer.policy, known, answer.peers)):
        if answer.policy.observe:
            if former is None or not former.observe:
                yield f"Would shut out nobody on {', '.join(segment.interfaces)}, and note who would be"
        elif former is None or former.observe or all(old.chain != segment.chain for old in former.segments):
            allowed = ", ".join(str(entry) for entry in segment.allow)
            yield (
                f"Would close {', '.join(segment.interfaces)} to everyone but {change.peers(len(segment.peers))}"
                f"{f' and DROPLAN_ALLOW ({allowed})' if allowed else ''}"
            )
        lines = change.lines(one, added="Would add", removed="Would remove")
        yield from lines or [f"Would keep {change.peers(one.kept)} in {one.chain}; nobody comes, nobody goes"]
    closed = {segment.chain for segment in answer.policy.segments}
    for segment in former.segments if former and not former.observe else ():
        if segment.chain not in closed:
            yield f"Would open {', '.join(segment.interfaces)} to everyone"
    yield from ended(host, answer.policy, answer.here, (*known, *answer.peers), former)
    if former and former.observe and not answer.policy.observe:
        yield from strangers(host, answer.policy, change.names(known, answer.peers))


def enforcing(host: Host, answer: Learned) -> Iterator[str]:
    """Tell whom it will cut that droplan shuts out from now on, where it has only observed until now.

    Yields:
        A line each; none where it goes on as before.
    """
    before = snapshot.load(host.files)
    if before is None or not before.policy.observe or answer.policy.observe:
        return
    known = (*before.peers, *answer.peers)
    yield "From now on strangers are shut out; until now droplan only observed them"
    yield from ended(host, answer.policy, answer.here, known, before.policy, will="Will")
    yield from strangers(host, answer.policy, change.names(known), will="Will")


def strangers(host: Host, policy: Policy, names: Mapping[Address, str], *, will: str = "Would") -> Iterator[str]:
    """Tell which of those who were noted while droplan observed a policy would shut out, the last seen first."""
    noted = [each for each in blocked.load(host.files).sources if each.observed]
    found = [line for line in (_stranger(each, policy, names, will) for each in noted) if line]
    yield from found[:_MOST]
    if len(found) > _MOST:
        yield f"{will} shut out {len(found) - _MOST} more: `droplan blocked` names them"
    if not found:
        yield f"{will} shut out nobody who was noted while droplan observed"


def _stranger(noted: Source, policy: Policy, names: Mapping[Address, str], will: str) -> str:
    """Say what of all that a source asked for would be refused; "" for nothing."""
    try:
        source = ipaddress.ip_address(noted.source)
    except ValueError:
        return ""
    refused = [
        each
        for segment in policy.segments
        for each in noted.services
        if segment.public == noted.public and not verdict.judge(segment, source, *_asked(each.service)).accept
    ]
    if not refused:
        return ""
    name = noted.name or names.get(source, "")
    last = time.strftime("%Y/%m/%d %H:%M", time.localtime(max(each.last for each in refused)))
    services = change.listed(each.service for each in refused)
    return f"{will} shut out {f'{name} ' if name else ''}{source}, who last came {last}, from {services}"


def _asked(service: str) -> tuple[str, int | None]:
    """Read such as ``tcp/5432``, ``icmp`` or ``proto/47``."""
    protocol, _, number = service.partition("/")
    if protocol == "proto":
        return number, None
    return protocol, int(number) if re.fullmatch(r"[0-9]{1,5}", number) else None


def ended(
    host: Host,
    policy: Policy,
    here: Here,
    known: tuple[Droplet, ...],
    former: Policy | None,
    *,
    will: str = "Would",
) -> Iterator[str]:
    """Tell which connections that exist now a policy would end, a line for each source and service."""
    found = cut.connections(policy, here, connections.incoming(host.files), former)
    names = change.names(known)
    for one in found[:_MOST]:
        yield f"{will} cut {one.line(names)}"
    if len(found) > _MOST:
        rest = sum(one.count for one in found[_MOST:])
        yield f"{will} cut {counted(rest, 'more connection')}, of other sources or services"
    if not found:
        yield f"{will} cut no connection that exists now"


def rules(host: Host, wanted: Settings, policy: Policy) -> Iterator[str]:
    """Tell how the kernel's rules would change, a line for each difference."""
    try:
        backend = choose.choose(wanted.backend, host).backend
        planned = backend.plan(policy)
    except DroplanError as error:
        yield f"The rules cannot be foretold: {error}"
        return
    for transaction in planned:
        for line in transaction.differences:
            yield f"Would write rules ({backend.name}): {line}"
    if not planned:
        yield f"Would write no rules ({backend.name}): they are as they should be"
