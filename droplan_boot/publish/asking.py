"""Ask the API, several pages at a time and within its limits."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from droplan_boot import paths
from droplan_boot.errors import NoAnswerError, TokenError
from droplan_boot.host.clock import Clock
from droplan_boot.host.http import Http
from droplan_boot.publish.merge import Sweep
from droplan_boot.publish.pace import Pace
from droplan_boot.sources.digitalocean import api, model
from droplan_boot.sources.listing import Droplet

_AT_ONCE: Final = 4
_REQUEST_S: Final = 25.0


@dataclass
class Asking:
    """A token's view of the API.

    Args:
        session: opens a session; one is used by one thread at a time, and again and again.
        base: such as ``https://api.digitalocean.com``.
        token: API token with the scope droplet:read; tag:read, vpc:read and actions:read where members need them.
        clock: tells the time.
        pace: counts the requests.
    """

    session: Callable[[], Http]
    base: str
    token: str = field(repr=False)
    clock: Clock
    pace: Pace = field(default_factory=Pace)
    _idle: list[Http] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)

    def sweep(self, meanwhile: Callable[[], None]) -> Sweep:
        """Read all pages.

        Args:
            meanwhile: is called now and then while answers are awaited.

        Raises:
            NoAnswerError: a page could not be had.
        """
        began, taken = self.clock.monotonic(), self.clock.time()
        droplets: dict[int, Droplet] = {}
        totals = []
        for kind in ("", "&type=gpus"):  # the plain list omits GPU Droplets
            found, total = self._all(f"/v2/droplets?per_page={model.PAGE}{kind}", meanwhile)
            totals.append(total == len(found))
            droplets.update(found)
        if not droplets:
            raise NoAnswerError(
                "the account of this token has no Droplet at all", "use a token of the account that the fleet is of"
            )
        return Sweep(began, self.clock.monotonic(), taken, droplets, all(totals), self._peerings())

    def used(self) -> int:
        """Count the requests of the last hour."""
        with self._lock:
            return self.pace.used(self.clock.monotonic())

    def until_listing(self, droplets: int) -> float:
        """Tell in how many seconds a whole listing may be sent; see :meth:`Pace.until_listing`."""
        with self._lock:
            return self.pace.until_listing(self.clock.monotonic(), droplets)

    def between_listings(self, droplets: int, *, actions: bool) -> float:
        """Tell the seconds from one listing's begin to the next one's; see :meth:`Pace.between_listings`."""
        with self._lock:
            return self.pace.between_listings(self.clock.monotonic(), droplets, actions=actions)

    def one(self, number: int) -> Droplet | None:
        """Ask about one Droplet; None when the account has none of that number.

        Raises:
            NoAnswerError: there was no answer.
        """
        answer = self._get(f"/v2/droplets/{number}")
        if answer is None:
            return None
        found = model.droplet(model.member(answer, "droplet", dict))
        if found.id != number:
            raise model.malformed(f"Droplet {found.id} where {number} was asked for")
        return found

    def actions(self) -> tuple[tuple[int, int, bool], ...]:
        """List the account's last actions on Droplets: number of the action, of the Droplet, whether it has ended.

        Raises:
            TokenError: the token may not see them.
            NoAnswerError: there was no answer.
        """
        answer = self._get(f"/v2/actions?per_page={model.PAGE}")
        return tuple(
            (
                model.identity(entry, "id"),
                model.identity(entry, "resource_id"),
                model.member(entry, "status", str) != "in-progress",
            )
            for entry in model.member(answer, "actions", list)
            if isinstance(entry, dict) and entry.get("resource_type") == "droplet" and entry.get("resource_id")
        )

    def _all(self, path: str, meanwhile: Callable[[], None]) -> tuple[dict[int, Droplet], int]:
        """Read a list of Droplets, page 1 first; return what was found, and its total, -1 when that changed."""
        first, total = self._page(path, 1)
        found = {droplet.id: droplet for droplet in first}
        rest = range(2, -(-total // model.PAGE) + 1)
        for page, said in self._several([partial(self._page, path, number) for number in rest], meanwhile):
            found.update({droplet.id: droplet for droplet in page})
            total = total if said == total else -1
        return found, total

    def _several(
        self, asks: Iterable[Callable[[], tuple[list[Droplet], int]]], meanwhile: Callable[[], None]
    ) -> list[tuple[list[Droplet], int]]:
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            waiting: set[Future[tuple[list[Droplet], int]]] = {pool.submit(ask) for ask in asks}
            answers = []
            while waiting:
                done, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                answers += [future.result() for future in done]
                meanwhile()
            return answers
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _page(self, path: str, number: int) -> tuple[list[Droplet], int]:
        answer = self._get(f"{path}&page={number}", listing=True)
        droplets = [model.droplet(entry) for entry in model.member(answer, "droplets", list)]
        total: int = model.member(model.member(answer, "meta", dict), "total", int)
        return droplets, total

    def _peerings(self) -> tuple[tuple[str, str], ...] | None:
        try:
            answer = self._get(f"/v2/vpc_peerings?per_page={model.PAGE}", listing=True)
        except TokenError:
            return None
        entries = model.member(answer, "vpc_peerings", list)
        if model.member(model.member(answer, "meta", dict), "total", int) != len(entries):
            raise NoAnswerError("the list of VPC peerings is incomplete", "the next listing tries again")
        return tuple(pair for _, status, pair in map(api.peering, entries) if status == "ACTIVE")

    def _get(self, path: str, *, listing: bool = False) -> Any:
        """Ask once; None for 404."""
        self._slot(listing)
        with self._lock:
            http = self._idle.pop() if self._idle else self.session()
        try:
            http.renew(_REQUEST_S)
            reply = http.exchange("GET", self.base + path, headers={"Authorization": f"Bearer {self.token}"})
        finally:
            with self._lock:
                self._idle.append(http)
        remaining = reply.headers.get("ratelimit-remaining", "")
        with self._lock:
            self.pace.remaining = int(remaining) if re.fullmatch(r"[0-9]{1,12}", remaining) else self.pace.remaining
        if reply.status == 404:
            return None
        if reply.status == 429:
            after = reply.headers.get("retry-after", "")
            pause = int(after) if re.fullmatch(r"[0-9]{1,4}", after) else 60
            with self._lock:
                self.pace.until = max(self.pace.until, self.clock.monotonic() + pause)
            raise NoAnswerError("the API says too many requests (429)", f"asking again in {pause} s")
        if reply.status in (401, 403):
            raise TokenError(
                f"the API refuses the publisher's token ({reply.status}) for {path.split('?')[0]}",
                f"set DO_KEY in {paths.PUBLISH} to one with the scope droplet:read",
            )
        if reply.status != 200:
            raise NoAnswerError(f"the API answers with status {reply.status}", "the next listing tries again")
        try:
            return json.loads(reply.body)
        except (ValueError, RecursionError):
            raise NoAnswerError(
                "the API answers with something that is no JSON", "the next listing tries again"
            ) from None

    def _slot(self, listing: bool) -> None:
        """Wait until one request more is within the limits, and count it."""
        while True:
            with self._lock:
                now = self.clock.monotonic()
                pause = self.pace.wait(now)
                if pause <= 0:
                    self.pace.note(now, listing=listing)
                    return
            self.clock.sleep(min(pause, 1.0))
