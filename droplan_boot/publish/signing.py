"""Write heads: sign what is known, and see that no version is published twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from droplan_boot.host import openssl
from droplan_boot.host.command import Runner
from droplan_boot.sources.shared import base, head
from droplan_boot.sources.shared.base import Fleet, Row
from droplan_boot.sources.shared.head import Base, Head, NotBelievedError
from droplan_boot.sources.shared.store import HEAD, UNCHANGED, Store, base_name

_CHANGES_BYTES: Final = 64 << 10


@dataclass(frozen=True)
class Signer:
    """Who signs.

    Args:
        runner: runs openssl.
        private: the file of the private key.
        public: its public half.
        trust: whose heads to go on from: this one's and those trusted besides.
    """

    runner: Runner
    private: Path
    public: str
    trust: tuple[str, ...]


@dataclass
class Written:
    """What this publisher knows of the head and the base in the store.

    Args:
        store: the bucket.
        signer: who signs.
        name: of this publisher, for people.
        floor: the highest version that is known of.
        head: the head in the store, if it is of this fleet's.
        rests_on: what the base holds that the head names.
        retired: bases that no head names any more, and when the last one did (epoch).
    """

    store: Store
    signer: Signer
    name: str
    floor: int = 0
    head: Head | None = None
    rests_on: Fleet = field(default_factory=Fleet)
    retired: dict[str, int] = field(default_factory=dict)
    _etag: str | None = None
    _base_etag: str = ""
    _base_bytes: int = 0
    _sent_bytes: int = 0
    _head_bytes: int = 0
    _written_at: int = 0

    def read(self) -> Fleet | None:
        """Read what is published; None when there is nothing that can be gone on from.

        Raises:
            NoAnswerError: the store does not answer.
        """
        found = self.store.get(HEAD)
        self._etag, self.head = (found.etag if found else None), None
        if found is None:
            return None
        self.floor = max(self.floor, head.claimed_version(found.body))
        try:
            believed = head.verified(self.signer.runner, found.body, self.signer.trust, self.store.address)
            stored = self.store.get(believed.base.name)
            if stored is None or base_name(stored.body) != believed.base.name:
                return None
            self.rests_on = base.decode(stored.body)
            fleet = base.changed(self.rests_on, believed.changes)
        except NotBelievedError:
            return None
        self.floor = max(self.floor, believed.version)
        self.head, self._base_bytes, self._sent_bytes = believed, len(stored.body), 0
        self._base_etag = stored.etag
        return fleet

    def publish(self, fleet: Fleet, taken: int, interval: int, now: int) -> bool:
        """Write a head of the next version, and the base first when a new one is due.

        Args:
            fleet: who is there.
            taken: when the listing began that says so, epoch.
            interval: seconds between two polls of a member.
            now: epoch.

        Returns:
            Whether it is in the store; if not, another wrote there, and ``read`` says what.

        Raises:
            NoAnswerError: the store does not answer, so nobody knows.
        """
        # Members loaded the last head if it lived long enough for all of them to look, else a part of them did.
        self._sent_bytes += int(self._head_bytes * min(1.0, max(0, now - self._written_at) / interval))
        rows = base.changes(self.rests_on, fleet)
        named = self.head.base if self.head else None
        if named is None or self._outgrown(rows) or self.rests_on.peerings != fleet.peerings:
            named, rows = self._new_base(fleet, now), []
        wanted = Head(
            fleet=self.store.address,
            key=head.key_id(self.signer.public),
            # Not below the time: should the bucket be emptied, members go on from what they saw.
            version=max(self.floor + 1, now),
            issued=taken,
            expires=taken + head.LIFETIME_S,
            base=named,
            changes=tuple(rows),
            interval=interval,
            publisher=self.name,
            droplets=len(fleet.droplets),
        )
        text = head.payload(wanted)
        body = head.render(text, openssl.sign(self.signer.runner, self.signer.private, text))
        etag = self.store.replace(HEAD, body, self._etag) if self._etag else self.store.create(HEAD, body)
        if etag is None:
            found = self.store.get(HEAD)
            if found is None or found.body != body:
                return False
            etag = found.etag  # a write that is answered with 500 may have succeeded
        self._etag, self.head, self.floor = etag, wanted, wanted.version
        self._head_bytes, self._written_at = len(body), now
        return True

    def still_there(self) -> bool:
        """Whether head and base are in the store as they were written.

        Raises:
            NoAnswerError: the store does not answer.
        """
        if self.head is None or self._etag is None or self.store.get(HEAD, self._etag) != UNCHANGED:
            return False
        return self.store.get(self.head.base.name, self._base_etag) == UNCHANGED

    def sweep_out(self, now: int, names: Mapping[str, int]) -> None:
        """Remove bases that no head has named for longer than any head lives.

        Args:
            now: epoch.
            names: retired bases, and since when.
        """
        for name, since in names.items():
            if now - since > 3 * head.LIFETIME_S and (self.head is None or name != self.head.base.name):
                self.store.delete(name)
                self.retired.pop(name, None)

    def _outgrown(self, rows: list[Row]) -> bool:
        """Whether members would by now have loaded less with a new base than with the changes.

        All of them load each head, and each base: a new one pays when as many bytes of changes were sent.
        """
        size = sum(len(str(entry)) for entry in rows)
        return size > _CHANGES_BYTES or max(size, self._sent_bytes) > max(self._base_bytes, 4096)

    def _new_base(self, fleet: Fleet, now: int) -> Base:
        data = base.encode(fleet)
        name = base_name(data)
        # Whatever is there: the same bytes, or what is left of somebody's broken write.
        self._base_etag = self.store.put(name, data)
        if self.head and self.head.base.name != name:
            self.retired[self.head.base.name] = now
        self.retired.pop(name, None)
        self.rests_on, self._base_bytes, self._sent_bytes, self._head_bytes = fleet, len(data), 0, 0
        return Base(name, name.removeprefix("base/"))
