"""A member of a fleet: the signed list in the store as a source of Droplets. It writes nothing anywhere but here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from droplan_boot.errors import NoAnswerError
from droplan_boot.host.clock import Clock
from droplan_boot.host.command import Runner
from droplan_boot.sources.listing import Listing
from droplan_boot.sources.shared import base, head
from droplan_boot.sources.shared.head import Head
from droplan_boot.sources.shared.store import HEAD, Store


@dataclass(frozen=True)
class Seen:
    """What a member believed last, kept on disk: a version never goes back, not even over a reboot.

    Args:
        fleet: whose head it was.
        version, issued, expires, interval, publisher: as in the head.
        sha256: of the base.
        droplet: this Droplet's number.
        listed: whether it was in the list.
    """

    fleet: str
    version: int
    issued: int
    expires: int
    interval: int
    publisher: str
    sha256: str
    droplet: int
    listed: bool


class Memory(Protocol):
    """Where a member keeps what it believed."""

    def seen(self, fleet: str) -> Seen | None:
        """Tell what was believed last of this fleet."""

    def keep(self, seen: Seen) -> None:
        """Keep what is believed now."""

    def base(self) -> bytes | None:
        """Return the base that was kept; its hash is the caller's to check."""

    def keep_base(self, data: bytes) -> None:
        """Keep a base, so that the next changes need the head alone."""


@dataclass(frozen=True)
class Member:
    """A :class:`Source`: what the fleet's publisher signed.

    Args:
        store: the bucket.
        trust: public keys, one or two.
        memory: what was believed before.
        own_id: this Droplet's number.
        peered: whether the VPC peerings are wanted too.
        runner: runs openssl.
        clock: tells the time.
    """

    store: Store
    trust: tuple[str, ...]
    memory: Memory
    own_id: int
    peered: bool
    runner: Runner
    clock: Clock

    def listing(self) -> Listing:
        """Read the head and what it rests on; keep what is believed.

        Returns:
            A complete listing; right after its creation this Droplet may be missing from it.

        Raises:
            NoAnswerError: the store does not answer, or what it holds is not believed.
        """
        fleet = self.store.address
        found = self.store.get(HEAD)
        if found is None:
            raise NoAnswerError(f"{fleet} holds no head", "see that a publisher runs: `droplan publish`")
        before = self.memory.seen(fleet)
        believed = head.verified(self.runner, found.body, self.trust, fleet)
        head.check(believed, self.clock.time(), before.version if before else None)
        # Before the base is read: the version was seen, whatever becomes of the rest.
        self.memory.keep(self._seen(believed, before.listed if before else True))
        known = base.changed(base.decode(self._base(believed)), believed.changes)
        if self.peered and known.peerings is None:
            raise NoAnswerError(
                "DROPLAN_SCOPE=vpc needs the VPC peerings, which the publisher's token may not see",
                "give the publisher a token that has the scope vpc:read as well",
            )
        listed = self.own_id in known.droplets
        self.memory.keep(self._seen(believed, listed))
        peerings = (known.peerings or ()) if self.peered else ()
        return Listing(tuple(known.droplets.values()), peerings, float(believed.issued), vouched=True)

    def repeats(self, said: Iterable[tuple[str, str]]) -> bool:  # noqa: ARG002 (a Source's)
        """Say no: a head is signed anew each time, and what it rests on is kept anyway."""
        return False

    def _base(self, believed: Head) -> bytes:
        kept = self.memory.base()
        if kept is not None and hashlib.sha256(kept).hexdigest() == believed.base.sha256:
            return kept
        found = self.store.get(believed.base.name)
        if found is None:
            raise NoAnswerError(f"{self.store.address} lacks {believed.base.name}", "the next run tries again")
        if hashlib.sha256(found.body).hexdigest() != believed.base.sha256:
            raise NoAnswerError(
                f"{believed.base.name} does not have the hash it is named by", "the next run tries again"
            )
        self.memory.keep_base(found.body)
        return found.body

    def _seen(self, believed: Head, listed: bool) -> Seen:
        return Seen(
            fleet=believed.fleet,
            version=believed.version,
            issued=believed.issued,
            expires=believed.expires,
            interval=believed.interval,
            publisher=believed.publisher,
            sha256=believed.base.sha256,
            droplet=self.own_id,
            listed=listed,
        )
