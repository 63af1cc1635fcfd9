"""Publishers and members of one fleet: the real code, a real store, a clock that skips what would be waited."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from droplan_boot.host import openssl
from droplan_boot.host.clock import MachineClock
from droplan_boot.host.command import Commands
from droplan_boot.host.files import Files
from droplan_boot.host.http import Http
from droplan_boot.publish.asking import Asking
from droplan_boot.publish.holding import Holding
from droplan_boot.publish.publisher import Publisher
from droplan_boot.publish.signing import Signer, Written
from droplan_boot.sources.listing import Listing
from droplan_boot.sources.shared.member import Member
from droplan_boot.sources.shared.store import Store
from droplan_boot.state.shared import Kept
from tests.bed.memory.doors import Lines
from tests.bed.shared.engine import OWNER, READER


class SkippingClock:
    """The real time, but for sleeping: that takes none, and is past all the same."""

    def __init__(self) -> None:
        self.skipped = 0.0
        self._lock = threading.Lock()

    def time(self) -> float:
        return time.time() + self.skipped

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.skipped += seconds


@dataclass(frozen=True)
class Keys:
    """A pair of keys: the file of the private one, and the public one."""

    private: Path
    public: str

    @classmethod
    def made(cls, path: Path) -> Keys:
        """Make a pair."""
        private = openssl.make_key(Commands())
        path.write_text(private)
        path.chmod(0o600)
        return cls(path, openssl.public_key(Commands(), private))


@dataclass
class TestFleet:
    """What a fleet's publishers and members share.

    Attributes:
        address: of the bucket, as all of them name it.
        api: base of the API.
        keys: who signs.
        folder: for files.
    """

    __test__ = False

    address: str
    api: str
    keys: Keys
    folder: Path
    clock: SkippingClock = field(default_factory=SkippingClock)
    sessions: list[Http] = field(default_factory=list)

    def session(self) -> Http:
        """Open a session that ``close`` ends."""
        self.sessions.append(Http(MachineClock(), 600.0))
        return self.sessions[-1]

    def close(self) -> None:
        """End all sessions."""
        for http in self.sessions:
            http._session.close()

    def store(self, key: tuple[str, str] = OWNER) -> Store:
        """Open the bucket as somebody."""
        return Store(self.session(), self.address, ":".join(key))

    def publisher(self, name: str = "pub-1", token: str = "token", keys: Keys | None = None) -> Publisher:
        """Make a publisher that has done nothing yet."""
        keys = keys or self.keys
        http = self.session()
        store = Store(http, self.address, ":".join(OWNER))
        trust = tuple(dict.fromkeys((keys.public, self.keys.public)))
        return Publisher(
            Asking(self.session, self.api, token, self.clock),
            Holding(store, f"{name}-{id(store):08x}", self.clock),
            Written(store, Signer(Commands(), keys.private, keys.public, trust), name),
            self.clock,
            Lines(),
            lambda: http.renew(600.0),
        )

    def member(self, number: int = 1000, *, trust: tuple[str, ...] = (), peered: bool = False) -> Member:
        """Make a member, or the same one again: what it believed is on its disk."""
        disk = self.folder / f"member-{number}"
        for folder in ("", "var", "var/lib", "var/lib/droplan"):
            (disk / folder).mkdir(exist_ok=True, mode=0o755)
            (disk / folder).chmod(0o755)
        return Member(
            self.store(READER),
            trust or (self.keys.public,),
            Kept(Files(disk, disk.stat().st_uid)),
            number,
            peered,
            Commands(),
            self.clock,
        )

    def believed(self, number: int = 1000) -> set[int]:
        """Have a member read, and return which Droplets it believes to be there."""
        return numbers(self.member(number).listing())


def numbers(listing: Listing) -> set[int]:
    """Return the Droplets of a listing."""
    return {droplet.id for droplet in listing.droplets}


def running(publisher: Publisher, seconds: float) -> None:
    """Run a publisher for so long, by its clock."""
    end = publisher.clock.monotonic() + seconds
    while publisher.clock.monotonic() < end:
        publisher.clock.sleep(publisher.step())
