"""Refuse to cut the SSH session that droplan was started from. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from droplan_boot.access import verdict
from droplan_boot.access.here import Here
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.errors import RefusedError
from droplan_boot.host.sessions import Session
from droplan_boot.networks import Address
from droplan_boot.sources.own import Interface


def check(policy: Policy, here: Here, sessions: Iterable[Session]) -> None:
    """See that the rules let every session go on.

    Replies to what others opened are not let in by state alone, so a session that the rules do not name ends.

    Args:
        policy: what is to be enforced.
        here: this Droplet; tells which network a session comes in by.
        sessions: the connections to keep.

    Raises:
        RefusedError: one would be cut; the message holds the DROPLAN_ALLOW that keeps it.
    """
    cut = [one for one in sessions if any(_cuts(one, segment, here) for segment in policy.segments)]
    entries = [f"tcp/{one.port}@{one.remote}" for one in cut]
    if entries:
        allowed = ",".join(
            [*dict.fromkeys(str(entry) for segment in policy.segments for entry in segment.allow), *entries]
        )
        raise RefusedError(
            "these rules would cut your SSH session, so nothing was changed: "
            f"put DROPLAN_ALLOW={allowed} before the command to keep it, or --force after it to go on"
        )


def _cuts(session: Session, segment: Segment, here: Here) -> bool:
    interfaces = here.metadata.public if segment.public else here.metadata.private
    if not _comes_in_by(session.local, interfaces):
        return False
    return not verdict.judge(segment, session.remote, "tcp", session.port).accept


def _comes_in_by(local: Address, interfaces: Iterable[Interface]) -> bool:
    # Link-local IPv6 is in no metadata. Either network may carry it; to refuse needlessly is the lesser evil.
    return local.is_link_local or any(local in interface.addresses for interface in interfaces)
