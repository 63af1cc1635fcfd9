"""The publisher's loop: hold the lease, read the API, write heads. One step at a time: tests hold the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from droplan_boot.errors import DroplanError, NoAnswerError, TokenError
from droplan_boot.host.clock import Clock
from droplan_boot.host.log import Log
from droplan_boot.plural import counted
from droplan_boot.publish import lease, merge, pace
from droplan_boot.publish.asking import Asking
from droplan_boot.publish.holding import Holding
from droplan_boot.publish.lease import Lease
from droplan_boot.publish.merge import Known, Sweep
from droplan_boot.publish.signing import Written
from droplan_boot.sources.listing import Droplet
from droplan_boot.sources.shared.base import Fleet

REISSUE_S: Final = 240
"""A head is written anew so often, if there was a listing since: members see that somebody still looks."""

_MAY_ASK: Final = 20
_TRIES: Final = 3
_NEWBORN_S: Final = 180.0
"""So long a Droplet without addresses is asked about again and again."""

_UNSEEN_S: Final = 60.0
"""So long actions are not looked at when they could not be had: they hold up no listing."""


@dataclass
class Publisher:
    """One publisher, alone or beside another.

    Args:
        asking: the API.
        holding: the lease.
        written: head and base.
        clock: tells the time.
        log: says what happened.
        renew: begins the time anew that the store's session has.
    """

    asking: Asking
    holding: Holding
    written: Written
    clock: Clock
    log: Log
    renew: Callable[[], None]
    known: Known = field(default_factory=Known)
    taken: int = 0
    _swept: bool = False
    _fence: bool = False
    _next_sweep: float = 0.0
    _next_look: float = 0.0
    _looks: bool = True
    _last_action: int | None = None
    _open: dict[int, int] = field(default_factory=dict)
    _waiting: dict[int, float] = field(default_factory=dict)
    _recent: list[tuple[int, str, str]] = field(default_factory=list)
    _published: Fleet | None = None
    _failing: str = ""

    def step(self) -> float:
        """Do what is due.

        Returns:
            Seconds until something is due again.

        Raises:
            DroplanError: only a person can mend it.
        """
        self.renew()
        try:
            if self.holding.held is None and not self._begin():
                return lease.LOOK_S
            self._keep()
            if self._fence:
                self._publish()
            self._learn()
            self._publish_news()
        except TokenError as error:
            # Only a person can mend it: one that stands by may have a better token.
            self._complain(error.plain)
            self._hand_over()
            return 60.0
        except NoAnswerError as error:
            self._complain(error.plain)
            return 5.0
        self._failing = ""
        return max(0.05, min(self.holding.due(), self._until(self._next_sweep), self._until(self._next_look)))

    def once(self) -> None:
        """Take the lease, publish what is there now, and give the lease back.

        Raises:
            DroplanError: it could not be published.
        """
        self.renew()
        try:
            started = self.clock.monotonic()
            while self.holding.held is None and not self._begin():
                if self.clock.monotonic() - started > 2 * lease.LAPSE_S:
                    raise DroplanError("another publisher is at work here: there is nothing to do, or stop it first")
                self.clock.sleep(lease.LOOK_S)
                self.renew()
            for _ in range(_TRIES):
                self._sweep()
                if self._publish():
                    return
            raise NoAnswerError(f"the head was written by others {_TRIES} times", "see who else writes there")
        finally:
            self.renew()
            self.holding.release()

    def _hand_over(self) -> None:
        try:
            self.holding.release()
        except NoAnswerError as error:
            self._complain(error.plain)

    def _begin(self) -> bool:
        """Take the lease, and go on from what is published."""
        if not self.holding.take():
            return False
        held = self.holding.held or Lease()
        self.written.floor = max(self.written.floor, held.version)
        self.written.retired = dict(held.retired)
        self._recent = list(held.recent)
        self._adopt()
        self.log.say(f"Publishing to {self.written.store.address}, from version {self.written.floor} on")
        self._next_sweep = self._next_look = self.clock.monotonic()
        return True

    def _adopt(self) -> None:
        """Go on from what is published, and from nothing else: what this one knew may be older than that."""
        fleet = self.written.read()
        self.known, self.taken, self._swept = Known(gone=self.known.gone), 0, False
        self._next_sweep = self.clock.monotonic()
        if fleet is not None and self.written.head is not None:
            # A basis, not news: who is not in the next listing is asked about before anybody is shut out.
            self.known, self.taken = Known(fleet, gone=self.known.gone), self.written.head.issued
            # At once, with the old one's dates: whatever a predecessor that was frozen would write is refused then.
            self._fence = True

    def _keep(self) -> None:
        """Renew the lease when it is due; stop when it is another's."""
        if self.holding.due() > 0:
            return
        self._renew()
        if self._published is not None and not self.written.still_there():
            self.log.complain("The head or its base is not what was written last here: writing it again")
            self._published = None
            self._adopt()

    def _renew(self) -> None:
        self.renew()
        if not self.holding.renew(self._noted):
            raise NoAnswerError("another publisher has the lease", "this one stands by")

    def _noted(self, held: Lease) -> Lease:
        return replace(
            held,
            version=max(held.version, self.written.floor),
            requests=self.asking.used(),
            retired=tuple(self.written.retired.items()),
            recent=tuple(self._recent[-10:]),
        )

    def _learn(self) -> None:
        now = self.clock.monotonic()
        if self._looks and now >= self._next_look:
            self._next_look = now + pace.ACTIONS_S
            self._look()
        self._ask_newborn()
        if now >= self._next_sweep:
            # Not begun before it can be ended: what it waits for within would hold up the rest as well.
            pause = self.asking.until_listing(len(self.known.fleet.droplets))
            if pause > 0:
                self._next_sweep = now + pause
            else:
                self._sweep()

    def _look(self) -> None:
        """See in the account's actions which Droplets to ask about; without that right, listings have to do."""
        try:
            found = self.asking.actions()
        except TokenError:
            self._looks, self._next_look = False, float("inf")
            self.log.say("The token may not see actions (scope actions:read): changes are found by listings alone")
            return
        except NoAnswerError as error:
            self._next_look = self.clock.monotonic() + _UNSEEN_S
            self.log.complain(f"No actions ({error.plain}): changes are found by listings meanwhile")
            return
        first = self._last_action is None
        newest = self._last_action or 0
        for action, droplet, ended in found:
            if action in self._open and ended:
                del self._open[action]
                self._waiting.setdefault(droplet, self.clock.monotonic())
            if action > newest and not first:
                self._waiting.setdefault(droplet, self.clock.monotonic())
            if not ended and (action > newest or first):
                self._open[action] = droplet
        self._last_action = max([newest, *(action for action, _, _ in found)])
        self._open = {action: self._open[action] for action in sorted(self._open)[-500:]}

    def _ask_newborn(self) -> None:
        for number, since in list(self._waiting.items()):
            droplet = self._ask(number)
            if droplet is None or droplet.private or self.clock.monotonic() - since > _NEWBORN_S:
                del self._waiting[number]
            self._keep()

    def _ask(self, number: int) -> Droplet | None:
        asked = self.clock.monotonic()
        droplet = self.asking.one(number)
        self._note(merge.answered(self.known, number, droplet, asked))
        return droplet

    def _sweep(self) -> None:
        now = self.clock.monotonic()
        self._next_sweep = now + self.asking.between_listings(len(self.known.fleet.droplets), actions=self._looks)
        sweep: Sweep = self.asking.sweep(self._keep)
        known, ask = merge.merged(self.known, sweep, _MAY_ASK)
        self._note(merge.forgotten(known, sweep.began - 600.0))
        for number in ask:
            self._ask(number)
            self._keep()
        self._swept, self.taken = True, int(sweep.taken)

    def _note(self, known: Known) -> None:
        """Take what is known now, and remember who came and went."""
        before, when = self.known.fleet, int(self.clock.time())
        if self._swept:
            gone = [before.droplets[number].name for number in before.droplets if number not in known.fleet.droplets]
            come = [each.name for each in known.fleet.droplets.values() if each.id not in before.droplets]
            self._recent += [(when, "-", name) for name in gone] + [(when, "+", name) for name in come]
            self._recent = self._recent[-10:]
        self.known = known

    def _publish_news(self) -> None:
        """Publish if anything changed, or the head in the store grows old while listings are newer."""
        head = self.written.head
        if not self._swept or not self.taken:
            return
        due = (
            head is None
            or self.taken - head.issued >= REISSUE_S
            or head.interval != pace.members(len(self.known.fleet.droplets))
            or self._published != self.known.fleet
        )
        if due:
            self._publish()

    def _publish(self) -> bool:
        fleet = self.known.fleet
        # One that was frozen since learns here that the lease is another's, and writes nothing.
        self._renew()
        done = self.written.publish(fleet, self.taken, pace.members(len(fleet.droplets)), int(self.clock.time()))
        if not done:
            self.log.complain("The head is not the one that was written last here: reading it again")
            self._adopt()
            return False
        self._fence, self._published = False, fleet
        self.written.sweep_out(int(self.clock.time()), dict(self.written.retired))
        head = self.written.head
        if head:
            self.log.say(
                f"Published version {head.version}: "
                f"{counted(head.droplets, 'Droplet')}, {counted(len(head.changes), 'change')}"
            )
        return True

    def _complain(self, text: str) -> None:
        """Say what is wrong, once as long as it stays the same."""
        if text != self._failing:
            self.log.complain(text)
        self._failing = text

    def _until(self, moment: float) -> float:
        return moment - self.clock.monotonic()
