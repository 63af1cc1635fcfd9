"""What a person's own command must not do unasked: cut their SSH session, or all that they are there for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from droplan_boot.access import verdict
from droplan_boot.access.change import Change, listed
from droplan_boot.access.here import Here
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.host.sessions import Session
from droplan_boot.networks import Address
from droplan_boot.sources.own import Interface


def sessions(
    policy: Policy, here: Here, found: Sequence[Session], homes: Mapping[Address, str] | None = None
) -> Iterator[str]:
    """Object to rules that would cut an SSH session.

    Replies to what others opened are not let in by state alone, so a session that the rules do not name ends.

    Args:
        policy: what is to be enforced.
        here: this Droplet; tells which network a session comes in by.
        found: the connections to keep.
        homes: which interface has which of our addresses: the metadata name neither the anchor address, by which
            what is sent to a reserved IP arrives, nor addresses that somebody added.

    Yields:
        A sentence that holds the settings that keep them, if any would be cut.
    """
    kept: dict[str, list[str]] = {}
    for segment in policy.segments:
        cut = [f"tcp/{one.port}@{one.remote}" for one in found if _cuts(one, segment, here, homes or {})]
        if cut:
            entries = kept.setdefault(policy.setting(segment), [str(entry) for entry in segment.allow])
            entries += cut
    if not kept:
        return
    settings = " ".join(f"{name}={','.join(dict.fromkeys(entries))}" for name, entries in kept.items())
    yield (
        "these rules would cut your SSH session, so nothing was changed: "
        f"put {settings} before the command to keep it, or --force after it to go on"
    )


def losses(changes: Iterable[Change]) -> Iterator[str]:
    """Object to losing all peers, or more than half of them.

    Args:
        changes: who comes and goes.

    Yields:
        A sentence for each network.
    """
    for one in changes:
        had = len(one.removed) + one.kept
        if had and 2 * len(one.removed) > had and not one.opened:
            rest = "all" if not one.kept else f"{len(one.removed)} of {had}"
            yield (
                f"this would remove {rest} peers from {one.chain} ({listed(one.removed, 3)}), so nothing was "
                "changed: "
                "see whether DO_TAG, DROPLAN_SCOPE and the token are what you mean, or put --force after the command "
                "to go on"
            )


def nobody(policy: Policy, former: Policy | None, tags: tuple[str, ...]) -> Iterator[str]:
    """Object to closing a network to everybody by what looks like a mistake.

    Args:
        policy: what is to be enforced.
        former: what is enforced now, if known: what was so before is no news.
        tags: DO_TAG.

    Yields:
        A sentence for each.
    """
    before = {segment.chain: segment for segment in former.segments} if former else {}
    for segment in policy.segments:
        old = before.get(segment.chain)
        if segment.public and not segment.allow and (old is None or old.allow):
            name = policy.setting(segment)
            yield (
                f"PUBLIC=true with nothing in {name} would cut everybody on the internet off, yourself too, so "
                f"nothing was changed: allow what they may reach, such as {name}=tcp/22, or put --force after "
                "the command to go on"
            )
    private = policy.segments[0]
    old = before.get(private.chain)
    if tags and not private.peers and (old is None or old.peers):
        yield (
            f"no other Droplet in scope carries DO_TAG={','.join(tags)}, which would leave nobody to let in, so "
            "nothing was changed: see whether the tag is spelled as on the Droplets and DROPLAN_SCOPE is what you "
            "mean, or put --force after the command to go on"
        )


def _cuts(session: Session, segment: Segment, here: Here, homes: Mapping[Address, str]) -> bool:
    if not _comes_in_by(session.local, segment, here, homes):
        return False
    return not verdict.judge(segment, session.remote, "tcp", session.port).accept


def _comes_in_by(local: Address, segment: Segment, here: Here, homes: Mapping[Address, str]) -> bool:
    # Link-local IPv6 is in no metadata. Either network may carry it; to refuse needlessly is the lesser evil.
    if local.is_link_local or homes.get(local) in segment.interfaces:
        return True
    interfaces: Iterable[Interface] = here.metadata.public if segment.public else here.metadata.private
    return any(local in interface.addresses for interface in interfaces)
