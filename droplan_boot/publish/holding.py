"""Hold the lease: take it, renew it, give it back. What to do is decided in ``lease``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from droplan_boot.errors import DroplanError
from droplan_boot.host.clock import Clock
from droplan_boot.publish import lease
from droplan_boot.publish.lease import Lease, Turn, Watched
from droplan_boot.sources.shared.store import LEASE, Condition, Store


@dataclass
class Holding:
    """One publisher's hold on the lease.

    Args:
        store: the bucket.
        me: who this is, unlike any other process.
        clock: tells the time.
        held: the lease as this one wrote it last; None while another holds it.
    """

    store: Store
    me: str
    clock: Clock
    held: Lease | None = None
    _etag: str = ""
    _seen: Watched | None = None
    _beat_at: float = field(default=float("-inf"))

    def take(self) -> bool:
        """Take the lease if it is this one's turn, else say that this one stands by.

        Raises:
            NoAnswerError: the store does not answer.
        """
        found, etag = self._read()
        self._seen = lease.watched(self._seen, found, self.clock.monotonic())
        turn = lease.turn(self.me, found, self._seen, self.clock.monotonic())
        if turn is Turn.WAIT and found:
            said = lease.standing_by(found, self.me)
            if said and self.store.conditional is not Condition.NONE:
                self.store.replace(LEASE, lease.render(said), etag)
            return False
        wanted = lease.beaten(found or Lease(), self.me)
        body = lease.render(wanted)
        written = self.store.create(LEASE, body) if turn is Turn.CREATE else self.store.replace(LEASE, body, etag)
        if written is None:
            return self._mine_after_all(wanted)
        self._hold(wanted, written)
        return True

    def due(self) -> float:
        """Tell in how many seconds the lease is to be renewed."""
        return max(0.0, self._beat_at + lease.BEAT_S - self.clock.monotonic())

    def renew(self, change: Callable[[Lease], Lease] = lambda held: held) -> bool:
        """Renew the lease, and change what it says; False when it is another's by now.

        Raises:
            NoAnswerError: the store does not answer.
        """
        if self.held is None:
            return False
        if self.store.conditional is Condition.NONE:
            found, _ = self._read()
            if found is not None and found.holder not in ("", self.me):
                raise DroplanError(
                    f"{found.holder} publishes here as well, and this store cannot keep two apart: stop one of them"
                )
        for _ in range(3):
            wanted = lease.beaten(change(self.held), self.me)
            written = self.store.replace(LEASE, lease.render(wanted), self._etag)
            if written is not None:
                self._hold(wanted, written)
                return True
            found, etag = self._read()
            if found is None or found.holder != self.me:
                break
            # One that stands by said so meanwhile, or the write that failed had succeeded.
            self.held, self._etag = (
                replace(self.held, standby=found.standby, beat=max(found.beat, self.held.beat)),
                etag,
            )
        self.held = None
        return False

    def release(self) -> None:
        """Give the lease back, so that the next one need not wait.

        Raises:
            NoAnswerError: the store does not answer.
        """
        if self.held is not None:
            self.store.replace(LEASE, lease.render(replace(self.held, holder="")), self._etag)
            self.held = None

    def _mine_after_all(self, wanted: Lease) -> bool:
        """Look whether a write that was refused, such as with 500, took place."""
        found, etag = self._read()
        if found != wanted:
            return False
        self._hold(wanted, etag)
        return True

    def _hold(self, held: Lease, etag: str) -> None:
        self.held, self._etag, self._beat_at = held, etag, self.clock.monotonic()

    def _read(self) -> tuple[Lease | None, str]:
        found = self.store.get(LEASE)
        return (None, "") if found is None else (lease.parse(found.body), found.etag)
