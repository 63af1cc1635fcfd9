"""Say what a refresh or an uninstall would do, and do none of it."""

from __future__ import annotations

from collections.abc import Iterator

from droplan_boot.access import change, cut
from droplan_boot.access.here import Here
from droplan_boot.access.policy import Policy
from droplan_boot.errors import DroplanError
from droplan_boot.firewall import choose
from droplan_boot.flow.learn import Learned
from droplan_boot.host import connections
from droplan_boot.host.doors import Host
from droplan_boot.settings import Settings
from droplan_boot.sources.listing import Droplet
from droplan_boot.state import snapshot

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
        if former is None or all(old.chain != segment.chain for old in former.segments):
            allowed = ", ".join(str(entry) for entry in segment.allow)
            yield (
                f"Would close {', '.join(segment.interfaces)} to everyone but {change.peers(len(segment.peers))}"
                f"{f' and DROPLAN_ALLOW ({allowed})' if allowed else ''}"
            )
        lines = change.lines(one, added="Would add", removed="Would remove")
        yield from lines or [f"Would keep {change.peers(one.kept)} in {one.chain}; nobody comes, nobody goes"]
    yield from ended(host, answer.policy, answer.here, (*known, *answer.peers), former)


def ended(host: Host, policy: Policy, here: Here, known: tuple[Droplet, ...], former: Policy | None) -> Iterator[str]:
    """Tell which connections that exist now a policy would end, a line for each source and service."""
    found = cut.connections(policy, here, connections.incoming(host.files), former)
    names = change.names(known)
    for one in found[:_MOST]:
        yield f"Would cut {one.line(names)}"
    if len(found) > _MOST:
        rest = sum(one.count for one in found[_MOST:])
        yield f"Would cut {rest} more connections from {len(found) - _MOST} sources and services"
    if not found:
        yield "Would cut no connection that exists now"


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
