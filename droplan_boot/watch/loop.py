"""Listen, and do what was decided: the only part of the watcher that touches the machine."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time

from droplan_boot.host import netlink
from droplan_boot.watch import children, links, lookups, nflog, outline, rulesets, shut_out
from droplan_boot.watch.children import Child
from droplan_boot.watch.healing import Healing
from droplan_boot.watch.links import Links
from droplan_boot.watch.lookups import Lookups
from droplan_boot.watch.outline import State, number
from droplan_boot.watch.overdue import Overdue
from droplan_boot.watch.poller import Poller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MOST_A_SECOND: Final = 250
"""So many packets are read a second, whatever the rules send: the rest waits in the kernel, or is lost there."""

CALM: Final = 20
FLOOD_PAUSE_S: Final = 0.1
"""After so many within a second, what comes next is read ten times a second, not a packet each time."""

_LINKS_SETTLE_S: Final = 0.2
_LINKS_TRIES: Final = 5

_ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Watcher:
    """All that it knows, and its lines to the kernel.

    Args:
        program: how droplan is started: interpreter, options, file.
        state: droplan's files.
        interval: seconds between two refreshes of the schedule's.
        settings: the settings file.
        shared: whether there is a shared source to poll.
    """

    def __init__(self, program: list[str], state: State, interval: float, settings: str, *, shared: bool) -> None:
        now = time.monotonic()
        self.settings = settings
        self.origin = self._origin(program, settings)
        self.program = program
        self.state = state
        self.repair: Child | None = None
        self.asking: Child | None = None  # a refresh, or a repair that asks for the interfaces: it may wait for long
        self.stop = False
        self.poller = Poller(program, now) if shared else None
        self.register = shut_out.Register(state.path("blocked.json"))
        self.lookups = Lookups(lambda: state.enough(lookups.ENOUGH, time.time()), now)
        self.healing = Healing()
        self.interval = interval
        self.overdue = Overdue(state.stretched() or interval, state.mark(), time.time(), now)
        self.transactions = rulesets.Transactions()
        names, self.networks = state.covered()
        self.links = Links(names)
        self.links_due: float | None = None
        self.links_tries = 0
        self.told: tuple[str, bool] | None = None
        self.second, self.count = now, 0
        self.resume: float | None = None
        self.poll = select.poll()
        self.knocks = self._open("packets that are shut out", netlink.NETFILTER)
        # Another program's restore of 10,000 rules tells a few megabytes before we get to read any.
        self.rules = self._open("changes of nftables", netlink.NETFILTER, (rulesets.GROUP,), 1 << 22)
        self.cards = self._open("changes of links", netlink.ROUTE, links.GROUPS, 1 << 20)

    @staticmethod
    def _origin(program: list[str], settings: str) -> list[tuple[int, int] | None]:
        """Tell one version of the program and its settings from another."""
        return [outline.stamp(program[-1]), outline.stamp(settings)]

    def _open(
        self, what: str, protocol: int, groups: tuple[int, ...] = (), backlog: int = 1 << 18
    ) -> netlink.Line | None:
        try:
            line = netlink.Line(protocol, groups, backlog)
            if not groups:
                nflog.listen(line)
        except nflog.TakenError:
            raise
        except (OSError, netlink.MissedError) as error:
            say(f"This kernel tells nothing of {what} ({error}): the schedule sees to it")
            return None
        self.poll.register(line.fileno(), select.POLLIN)
        return line

    def run(self, wake: int) -> None:
        """Listen until told to stop.

        Args:
            wake: a descriptor that becomes readable when a signal came.
        """
        self.poll.register(wake, select.POLLIN)
        self.register.load()
        if self.cards:
            self._ask_links()
        # What happened while nobody watched, to the rules and to the cards that they name.
        self.links_due = time.monotonic()
        while not self.stop:
            self._tell()
            pause = self._next() - time.monotonic()
            # A millisecond more: woken too early, it would go round once again.
            ready = self.poll.poll(None if pause == float("inf") else max(pause, 0.0) * 1000 + 1)
            for descriptor, _ in ready:
                if descriptor == wake:
                    os.read(wake, 512)
                elif self.knocks and descriptor == self.knocks.fileno():
                    self._hear_knocks(self.knocks)
                elif self.rules and descriptor == self.rules.fileno():
                    self._hear_rules(self.rules)
                elif self.cards and descriptor == self.cards.fileno():
                    self._hear_cards(self.cards)
            self._act(time.monotonic())
        if self.poller:
            self.poller.end()
        if self.register.next() is not None:
            self._write(time.monotonic())

    def _next(self) -> float:
        """Tell when there is something to do without being told, in monotonic seconds."""
        now = time.monotonic()
        times = [self.register.next(), self.resume, self.poller.next() if self.poller else None]
        # One that does not end when it is killed waits for a device; it is asked for once a second then.
        running = (child for child in (self.repair, self.asking) if child)
        times += [max(child.began + children.LONGEST_S, now) + 1 for child in running]
        if not self.repair:
            times.append(self.healing.next())
        if not self.asking and not self.repair:
            times += [self.links_due, self.lookups.next(now), self.overdue.next()]
        return min((at for at in times if at is not None), default=float("inf"))

    def _hear_knocks(self, line: netlink.Line) -> None:
        now = time.monotonic()
        if now >= self.second + 1:
            self.second, self.count = now, 0
        while self.count < MOST_A_SECOND:
            try:
                data = line.read()
            except netlink.MissedError:
                continue  # a flood; whoever means it knocks again
            if not data:
                break
            self.count += 1
            for kind, payload in netlink.messages(data):
                packet = nflog.parse(payload) if kind == nflog.PACKET else None
                if packet:
                    self._note(packet, now)
        if self.count > CALM:
            self.poll.unregister(line.fileno())
            self.resume = now + FLOOD_PAUSE_S if self.count < MOST_A_SECOND else self.second + 1

    def _note(self, packet: nflog.ShutOut, now: float) -> None:
        try:
            interface = socket.if_indextoname(packet.interface) if packet.interface else ""
        except OSError:
            interface = ""
        self.register.note(packet, interface, time.time())
        source = number(packet.source)
        if packet.public or source is None:
            return
        if not self.networks or any(first <= source <= last for first, last in self.networks):
            self.lookups.knocked(packet.source, now)

    def _hear_rules(self, line: netlink.Line) -> None:
        now = time.monotonic()
        changes = []
        try:
            while data := line.read():
                changes += self.transactions.hear(data)
        except netlink.MissedError:
            self.transactions = rulesets.Transactions()
            changes.append(rulesets.Change(rulesets.MAYBE, ""))
        if not changes:
            return
        # Every droplan holds the lock while it writes, and reads back what it wrote.
        busy = self.repair is not None or self.state.busy()
        for change in changes:
            if change.foreign(busy):
                self.healing.heard(change.level, change.process, now)

    def _hear_cards(self, line: netlink.Line) -> None:
        changed = False
        try:
            while data := line.read():
                changed = self.links.hear(data) or changed
        except netlink.MissedError:
            changed = self._ask_links()
        if changed:
            self.links_due, self.links_tries = time.monotonic() + _LINKS_SETTLE_S, 0

    def _ask_links(self) -> bool:
        """Learn the links anew, on a line of its own: on the other one they would mix with what is told unasked.

        Returns:
            Whether they are others than they were, or may be: the kernel does not tell.
        """
        try:
            return self.links.ask(netlink.Line(netlink.ROUTE))
        except (OSError, netlink.MissedError):
            return True

    def _act(self, now: float) -> None:
        if self.resume is not None and now >= self.resume and self.knocks:
            self.poll.register(self.knocks.fileno(), select.POLLIN)
            self.resume = None
        written = self.register.next()
        if written is not None and now >= written:
            self._write(now)
        if self.poller:
            told = self.poller.look(now)
            if told:
                say(told)
        self.repair, self.asking = self._running(self.repair, now), self._running(self.asking, now)
        if not self.asking and self.overdue.look(self.state.mark(), False, now):
            self.healing.refreshed()
            self._learn()
        self.healing.quiet(now)
        heal = self.healing.next()
        if self.repair:
            return
        if heal is not None and now >= heal:
            self.healing.began()
            self.repair = self._started(children.REPAIR, now)
            return
        if self.asking:
            return
        if self.origin != self._origin(self.program, self.settings):
            self._become_new(now)
        if self.links_due is not None and now >= self.links_due:
            self.links_due = None
            self.asking = self._started(children.LINKS, now)
        elif self.state.installing():  # what is due by then is the schedule's, and no reason to wake for
            self.lookups.forget()
            self.overdue.put_off(now)
        elif self.lookups.due(now, self.state.is_peer) or self.overdue.due(now):
            self.asking = self._started(children.REFRESH, now)

    def _running(self, child: Child | None, now: float) -> Child | None:
        """See to one that was started; return it while it runs."""
        status = child.ended(now) if child else None
        if child is None or status is None:
            return child
        self._ended(child, status, now)
        return None

    def _started(self, verb: tuple[str, ...], now: float) -> Child | None:
        try:
            return Child(self.program, verb, now)
        except OSError as error:
            say(f"{self.program[-1]} cannot be started: {error.strerror}")
            self.healing.ended(False, now)
            self.lookups.ended(now, False)
            return None

    def _ended(self, child: Child, status: int, now: float) -> None:
        if child.verb == children.REFRESH:
            ran = self.overdue.look(self.state.mark(), True, now)
            self.lookups.ended(now, status == 0)
            if ran and status == 0:
                self.healing.refreshed()
        else:
            if child.verb == children.REPAIR or status == children.REPAIRED:
                self.healing.ended(status == children.REPAIRED, now)
            if status not in (0, children.REPAIRED):
                say(f"A repair ended with status {status}: /var/log/droplan.log says why")
                self._again(child, now)
            elif status == children.REPAIRED:
                say(f"Put back in {now - child.began:.2f} s what another program had changed")
            if self.healing.quarrel:
                say(f"{self.healing.quarrel} undoes it each time: no more of that until the next refresh")
        self._learn()

    def _again(self, child: Child, now: float) -> None:
        """Try a repair that failed again, after growing pauses."""
        if child.verb != children.LINKS:
            self.healing.heard(rulesets.MAYBE, "", now)
        elif self.links_tries < _LINKS_TRIES:
            self.links_tries += 1
            self.links_due = now + _LINKS_SETTLE_S * 2**self.links_tries
        else:
            self.healing.heard(rulesets.MAYBE, "", now)  # the rules at least, if nobody tells of the cards

    def _learn(self) -> None:
        """Take up what a run of droplan's wrote for us."""
        self.overdue.every(self.state.stretched() or self.interval)
        names, self.networks = self.state.covered()
        if self.links.covered != frozenset(names):
            self.links.covered = frozenset(names)
            self._ask_links()

    def _become_new(self, now: float) -> None:
        """Give way to what was installed since we started, a new program or new settings, in this process."""
        self.origin = self._origin(self.program, self.settings)
        self._write(now)
        # A signal that came to us is not heard by what we become; one that is held back waits for it, signal(7).
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            if not self.stop:
                if self.poller:
                    self.poller.end()
                os.execve(self.program[0], [*self.program, "watch"], children.ENVIRONMENT)  # noqa: S606 (ourselves)
        except OSError as error:
            say(f"{self.program[-1]} cannot be started: {error.strerror}")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)

    def _write(self, now: float) -> None:
        try:
            self.register.write(now)
        except OSError as error:
            say(f"{self.state.path('blocked.json')} cannot be written: {error.strerror}")

    def _tell(self) -> None:
        """Write down for ``droplan status`` what only we know."""
        told = (self.healing.quarrel, self.overdue.missed)
        if told != self.told:
            self.told = told
            text = json.dumps({"schema": 1, "quarrel": told[0], "missed": told[1], "written": time.time()}) + "\n"
            try:
                shut_out.replace(self.state.path("watch.json"), text.encode())
            except OSError as error:
                say(f"{self.state.path('watch.json')} cannot be written: {error.strerror}")


def say(text: str) -> None:
    """Print a line, for the journal or whoever runs it in the foreground."""
    try:
        sys.stdout.write(f"{time.strftime('%Y/%m/%d %H:%M:%S')} {text}\n")
        sys.stdout.flush()
    except OSError:
        pass


def main(arguments: list[str]) -> int:
    """Watch until a signal ends it.

    Args:
        arguments: state folder, lock file, settings file, interval in seconds, ``shared`` or ``alone``, and how
            droplan is started.
    """
    folder, lock, settings, interval, source, *program = arguments
    waker, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        watcher = Watcher(program, State(folder, lock), float(interval), settings, shared=source == "shared")
    except nflog.TakenError:
        sys.stderr.write("droplan: another watcher is running: `systemctl stop droplan-watch` ends it\n")
        return 1

    def stop(_number: int, _frame: object) -> None:
        watcher.stop = True

    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    for number_ in _ENDING:
        signal.signal(number_, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)  # who became us has held them back
    say("Watching")
    watcher.run(waker)
    return 0
