"""Poll a fleet's head, and refresh when it changed: the watcher's one child where DROPLAN_SHARED is set.

An unchanged poll is one request on a connection that stays open, answered by 304 and a few hundred bytes.
"""

from __future__ import annotations

from typing import Final

from droplan_boot import paths
from droplan_boot.errors import DroplanError, NoAnswerError
from droplan_boot.host.doors import Host
from droplan_boot.settings import Settings
from droplan_boot.sources.shared.store import HEAD, UNCHANGED, Store
from droplan_boot.state import budget
from droplan_boot.state.shared import Kept

INTERVAL_S: Final = 30
"""Between two polls, as long as no head said another."""

_AGAIN_S: Final = 60.0
_REQUEST_S: Final = 20.0
_REFRESH_S: Final = 120.0


class Polling:
    """The loop, a step at a time.

    Args:
        host: this machine.
        wanted: its settings.
    """

    def __init__(self, host: Host, wanted: Settings) -> None:
        self._host = host
        self._fleet = wanted.shared
        self._http = host.session(host.clock)
        self._store = Store(self._http, wanted.shared, wanted.shared_key)
        self._kept = Kept(host.files)
        # "" at first: whatever was enforced before this began, one refresh makes sure of it.
        self._etag = ""
        self._not_before = 0.0

    def step(self) -> bool:
        """Wait for this Droplet's moment, look once, and refresh if the head changed.

        Returns:
            Whether a refresh was run.
        """
        seen = self._kept.seen(self._fleet)
        interval, share = (seen.interval, budget.share(seen.droplet)) if seen else (INTERVAL_S, 0.0)
        self._host.clock.sleep(pause(self._host.clock.time(), interval, share))
        self._http.renew(_REQUEST_S)
        try:
            found = self._store.get(HEAD, self._etag)
        except NoAnswerError:
            return False  # the scheduled refresh meets the same, and reports it
        if found is None or found is UNCHANGED or self._host.clock.monotonic() < self._not_before:
            return False
        if self._refreshed():
            self._etag = found.etag
        else:
            # What is not believed now will not be in a moment either: a store that lies must not keep us busy.
            self._not_before = self._host.clock.monotonic() + _AGAIN_S
        return True

    def _refreshed(self) -> bool:
        argv = [str(paths.PROGRAM), "refresh", "--scheduled"]
        try:
            return self._host.runner.run(argv, timeout=_REFRESH_S, check=False).status == 0
        except DroplanError:
            return False


def pause(now: float, interval: int, share: float) -> float:
    """Tell the seconds from ``now`` (epoch) to this Droplet's next moment, which comes once an interval."""
    left = (share * interval - now) % interval
    return left if left > 0.5 else left + interval
