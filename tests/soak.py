"""Refresh thousands of times while Droplets come and go and things go wrong; after each, compare with a model.

    python3 -m tests.soak [ROUNDS [SEED]]

The model is a set of addresses. Who may come in is read off the kernel's own listings, not with droplan's code: of
the door by following its chains packet by packet, of the guard by its set; both must say the same. Every so often all
that could pile up is counted: memory, files, processes, chains, the log. Now and then the watcher runs, rules are
flushed and the private card changes: it must come to what the model says by itself, without the API.
"""

from __future__ import annotations

import ipaddress
import random
import re
import sys
import time
from dataclasses import dataclass, field

from tests.bed import Fault, Lab, connects, fleet
from tests.bed.account import ListedDroplet
from tests.bed.program import LOG, PROTECTED_INPUT, REFRESH, Program
from tests.bed.reach import ECHO_PORT
from tests.bed.watching import eventually, watching

ROUNDS = 2000
LOOK_EVERY = 50
WATCH_EVERY = 100
POOL = fleet(400)
FAULTS = (
    Fault(status=401),
    Fault(status=404),
    Fault(status=429),
    Fault(status=503, times=1),
    Fault(reset=True, times=1),
    Fault(cut=500, times=1),
    Fault(body="<html>"),
    Fault(body="[]"),
    Fault(patch={"/meta/total": 1}),
    Fault(path="per_page=200$", patch={"/droplets/0/networks/v4": None}),
    Fault(path="type=gpus", status=404),
    Fault(service="metadata", status=404),
    Fault(service="metadata", body="{}"),
    Fault(service="metadata", status=500, times=1),
)
DAMAGE = (
    ("-F",),
    ("-D INPUT 1",),
    ("-I INPUT 1 -s 192.0.2.1/32 -j ACCEPT", "-D INPUT 2"),
    ("-F droplan-peers",),
    ("-A droplan-peers -s 192.0.2.9/32 -j ACCEPT",),
    ("-I FORWARD 1 -j ACCEPT",),
)
# What the damage may leave above the door: it stays where it is, for it is the guard that shuts out.
ABOVE = {"-A INPUT -s 192.0.2.1/32 -j ACCEPT"}
GUARD_DAMAGE = (
    "flush ruleset",
    "flush set inet droplan droplan-addresses4",
    "add element inet droplan droplan-addresses4 { 192.0.2.9 }",
    "insert rule inet droplan droplan-private accept",
    "flush chain inet droplan droplan-private",
    "delete table inet droplan",
)
# What the watcher hears of, two at a time: five repairs in a minute are taken for a quarrel.
FLUSHES = ("nft flush ruleset", "iptables -F", "iptables -F INPUT", "nft delete table inet droplan")
# The card that has the private address from then on, how it comes to it, and how it was before.
LINKS = (
    (
        "vpc0",
        "ip link set eth1 down; ip link set eth1 name vpc0; ip link set vpc0 up; ip address replace {} dev vpc0",
        "ip link set vpc0 down; ip link set vpc0 name eth1; ip link set eth1 up; ip address replace {} dev eth1",
    ),
    (
        "br0",
        (
            "ip link add br0 type bridge; ip link set br0 address $(cat /sys/class/net/eth1/address); "
            "ip link set eth1 master br0; ip address del {0} dev eth1; ip link set br0 up; ip address add {0} dev br0"
        ),
        "ip link delete br0; ip address add {} dev eth1",
    ),
)
# Where droplan or what it calls might leave something behind.
PLACES = "/etc /opt/droplan /run /tmp /var/lib/droplan /var/log /var/tmp"


class WrongError(Exception):
    """The Droplet is not what the model says."""


@dataclass
class Soak:
    """One soak.

    Args:
        program: droplan on the lab's Droplet.
        chance: makes the choices; its seed repeats a soak.
    """

    program: Program
    chance: random.Random
    listed: list[ListedDroplet] = field(default_factory=list)
    known: frozenset[str] = frozenset()
    ended: dict[str, int] = field(default_factory=dict)
    chains: list[str] = field(default_factory=list)
    fewest: int = 0

    def once(self) -> None:
        """Let something change, perhaps something go wrong, refresh, and compare.

        Raises:
            WrongError: the rules are not what the model says.
        """
        self._churn()
        kind = self.chance.choices(("well", "fault", "damage", "killed"), (6, 2, 1, 1))[0]
        fault = self.chance.choice(FAULTS)
        if kind == "fault":
            self.program.lab.do.fault(fault)
        elif kind == "damage":
            self._damage()
        self.ended[kind] = self.ended.get(kind, 0) + 1
        wanted = frozenset(str(droplet.private) for droplet in self.listed)
        guard, door = self._refresh(killed=kind == "killed")
        after = guard & door
        allowed = {wanted}
        if kind == "fault":
            self.program.lab.do.clear_faults()
            allowed = {wanted} if fault.times else {self.known}
        elif kind == "killed":
            # Between the guard's transaction and the door's, only who passes both comes in.
            allowed = {wanted, self.known, wanted & self.known}
        elif guard != door:
            raise WrongError(f"{len(guard)} pass the guard and {len(door)} the door: {sorted(guard ^ door)[:9]}")
        if after not in allowed:
            raise WrongError(f"{kind} ({fault if kind == 'fault' else ''}): {len(after)} come in, not {len(wanted)}")
        self.known = after

    def watched(self) -> None:
        """Let others flush rules and change the private card while the watcher runs, and compare after each.

        Raises:
            WrongError: it did not come to what the model says, asked the API, or a stranger got in.
        """
        lab = self.program.lab
        address = f"{lab.droplet.address}/16"
        card, changed, back = self.chance.choice(LINKS)
        with watching(self.program) as watcher:
            lab.do.forget_requests()
            for flush in self.chance.sample(FLUSHES, 2):
                self._healed(flush, "eth1")
            self._healed(changed.format(address), card)
            self._healed(back.format(address), "eth1")
            if lab.do.requests("api"):
                raise WrongError("the watcher asked the API to put rules right")
            # A source that it does not know, which it does look up.
            if connects(lab.stranger, lab.droplet, ECHO_PORT, patience=0.3):
                raise WrongError("a stranger got in while the watcher ran")
            watcher.settle()
        self.ended["watched"] = self.ended.get("watched", 0) + 1

    def _healed(self, damage: str, card: str) -> None:
        wrong = ""

        def right() -> bool:
            nonlocal wrong
            try:
                guard, door = self._look(card=card)
            except WrongError as error:
                wrong = str(error)
                return False
            wrong = f"{len(guard)} pass the guard and {len(door)} the door, not {len(self.known)}"
            return guard == door == self.known

        self.program.droplet.run(["sh", "-ec", damage])
        try:
            eventually(right)
        except AssertionError:
            raise WrongError(f"the watcher did not put right: {damage}\n{wrong}") from None

    def _damage(self) -> None:
        if self.chance.random() < 0.5:
            self.program.edit(*self.chance.choice(DAMAGE))
        else:
            self.program.droplet.run(["nft", self.chance.choice(GUARD_DAMAGE)])

    def _churn(self) -> None:
        spread = self.chance.choice((3, 3, 3, 3, 3, 60, 300))
        for _ in range(self.chance.randrange(spread)):
            if self.listed and self.chance.random() < 0.5:
                self.listed.pop(self.chance.randrange(len(self.listed)))
        free = [droplet for droplet in POOL if droplet not in self.listed]
        self.listed += self.chance.sample(free, min(len(free), self.chance.randrange(spread)))
        self.program.list_droplets(*self.listed)

    def _refresh(self, *, killed: bool) -> tuple[frozenset[str], frozenset[str]]:
        limit = ["timeout", "-s", "KILL", f"{self.chance.uniform(0.05, 0.6):.3f}"] if killed else []
        self.program.droplet.run([*limit, REFRESH], check=False)
        return self._look(whole=not killed)

    def _look(self, *, whole: bool = True, card: str = "eth1") -> tuple[frozenset[str], frozenset[str]]:
        """Read off the kernel's listings who passes the guard and who the door.

        Args:
            whole: whether our rules must be complete.
            card: which has the private address.
        """
        saved = self.program.droplet.run(["iptables-save", "-t", "filter"]).stdout
        chains = parse(saved)
        rules = [f"-A INPUT {rule}" for rule in chains.get("INPUT", ())]
        wanted = [rule.replace("eth1", card) for rule in PROTECTED_INPUT]
        if whole and [rule for rule in rules if rule not in ABOVE] != wanted:
            raise WrongError(f"our rules are not in INPUT, each once and in order:\n{saved[:2000]}")
        candidates = [*(str(droplet.private) for droplet in POOL), "10.132.0.5", "192.0.2.9", "10.133.0.1"]
        door = frozenset(each for each in candidates if admits(chains, "droplan-peers", each) == "ACCEPT")
        return self._guard(whole, card), door

    def _guard(self, whole: bool, card: str) -> frozenset[str]:
        """Read off nft's own listing who passes the guard.

        Args:
            whole: whether its chains must be those that the installation made; droplan says what they are for.
            card: which has the private address.
        """
        listed = self.program.droplet.run(["nft", "list", "table", "inet", "droplan"], check=False).stdout
        chains = re.findall(r"chain \S+ {[^{}]*(?:{[^{}]*}[^{}]*)*}", listed)
        self.chains = self.chains or chains
        if whole and (chains != [chain.replace('"eth1"', f'"{card}"') for chain in self.chains] or not chains):
            raise WrongError(f"the guard is not what it was:\n{listed[-4000:]}")
        found = re.search(r"set droplan-addresses4 {[^}]*?elements = {([^}]*)}", listed)
        return frozenset(re.findall(r"[0-9.]+", found[1]) if found else ())

    def count(self) -> dict[str, int]:
        """Count what could pile up."""
        droplet = self.program.droplet
        self.program.list_droplets(*POOL[:20])
        self.listed = list(POOL[:20])
        measure = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        memory = droplet.run(["/usr/bin/python3", "-c", measure, REFRESH]).stdout
        guard, door = self._refresh(killed=False)
        self.known = guard & door
        return {
            "KiB of memory": int(memory),
            "files": len(droplet.run(["sh", "-c", f"find {PLACES} -xdev"]).stdout.splitlines()),
            "processes": len(self._staying()),
            "chains": droplet.run(["sh", "-c", "iptables-save; ip6tables-save"]).stdout.count("\n:"),
            "bytes of log": droplet.path(LOG).stat().st_size,
        }

    def _staying(self) -> list[str]:
        """List the processes that stay: a run that the watcher began and that waits for the lock ends by itself."""
        found: list[str] = []

        def settled() -> bool:
            found[:] = self.program.droplet.run(["ps", "-e", "-o", "pid=,args="]).stdout.splitlines()
            self.fewest = self.fewest or len(found)
            return len(found) <= self.fewest

        try:
            eventually(settled)
        except AssertionError:
            print("\n".join(found), flush=True)
        return found


def parse(saved: str) -> dict[str, list[str]]:
    """Read chains and their rules off what iptables-save prints."""
    chains: dict[str, list[str]] = {name: [] for name in re.findall(r"^:(\S+)", saved, re.MULTILINE)}
    for chain, rule in re.findall(r"^-A (\S+) (.*)$", saved, re.MULTILINE):
        chains[chain].append(rule)
    return chains


def admits(chains: dict[str, list[str]], chain: str, address: str) -> str:
    """Follow a packet of a new connection through a chain, as ip_tables does; return how it ends there."""
    for rule in chains.get(chain, ()):
        found = re.fullmatch(r"(?:-s (\S+) )?-([jg]) (\S+)", rule)
        if found and (not found[1] or ipaddress.ip_address(address) in ipaddress.ip_network(found[1])):
            verdict = found[3] if found[3] in ("ACCEPT", "DROP", "RETURN") else admits(chains, found[3], address)
            if verdict != "RETURN" or found[2] == "g" or found[3] == "RETURN":
                return verdict
    return "RETURN"


def grew(first: dict[str, int], last: dict[str, int]) -> list[str]:
    """Name what is more than it was; memory may differ by a tenth, the log grows to its limit."""
    room = {"KiB of memory": first["KiB of memory"] // 10, "bytes of log": (1 << 20) - first["bytes of log"]}
    return [
        f"{last[name]} {name}, {first[name]} at first"
        for name in first
        if last[name] > first[name] + room.get(name, 0)
    ]


def main() -> int:
    """Soak; return 1 when the Droplet is not what the model says, or something piles up."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    print(f"{rounds} refreshes, seed {seed}", flush=True)
    started = time.monotonic()
    with Lab("nft") as lab:
        program = Program(lab)
        # At five minutes so many Droplets would use up the token, and runs would be left out.
        program.install(DROPLAN_INTERVAL="60")
        soak = Soak(program, random.Random(seed))
        soak.count()  # for what the model says
        soak.watched()  # for the files that it keeps
        first = last = soak.count()
        for number in range(1, rounds + 1):
            try:
                soak.once()
                if number % WATCH_EVERY == 0:
                    soak.count()  # after a run that failed or was killed, rules may be neither old nor new
                    soak.watched()
            except WrongError as error:
                print(f"round {number}, seed {seed}: {error}\n{program.read(LOG)[-2000:]}")
                return 1
            if number % LOOK_EVERY == 0 or number == rounds:
                last = soak.count()
                told = ", ".join(f"{value} {name}" for name, value in last.items())
                print(f"{number:5} {time.monotonic() - started:6.0f} s  {told}", flush=True)
                piled = grew(first, last)
                if piled:
                    print(f"piles up: {'; '.join(piled)}")
                    return 1
        print("; ".join(f"{count} {kind}" for kind, count in sorted(soak.ended.items())), "- all as the model says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
