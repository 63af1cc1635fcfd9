"""Harm a Droplet on which droplan is at work, run the schedule's refresh, and see what came of it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.bed import Fault, Lab, fleet
from tests.bed.account import ListedDroplet
from tests.bed.control import Request
from tests.bed.program import DOWNLOADED, LOG, Program, commits

NEW = ListedDroplet(700_000_001, "new", "10.132.200.1", "104.236.60.1")
"""A peer that joins while things go wrong, or leaves if it is there: a run that sees everything must notice it."""

TOKEN = re.compile(r"dop_v1_[0-9a-f]{8}")
OTHER_TOKEN = "dop_v1_" + "fedcba9876543210" * 4


@dataclass(frozen=True)
class Case:
    """One way in which DigitalOcean fails a Droplet.

    Args:
        name: what happens, in words.
        says: what the log's line must contain.
        faults: given to the stand-in.
        environment: settings of the run that meets the fault.
        droplets: how many more the account lists, from before the fault until after it.
        own: whether the account lists this Droplet, which its owner's does.
    """

    name: str
    says: str
    faults: tuple[Fault, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    droplets: int = 0
    own: bool = True


@dataclass(frozen=True)
class Aftermath:
    """What a refresh left behind.

    Args:
        status: its exit code.
        printed: what it wrote on stdout and stderr.
        log: the lines it added to the log, without their time.
        report: status.json.
        rules: all tables of both families before and after.
        commits: transactions that the kernel saw.
        seconds: how long it took.
        requests: what the stand-in was asked.
        healed: what the log of the next run says, when all is well again; "" when it failed.
        learned: whether the next run let in all who should be, and nobody else.
    """

    status: int
    printed: str
    log: tuple[str, ...]
    report: Mapping[str, Any]
    rules: tuple[str, str]
    commits: int
    seconds: float
    requests: tuple[Request, ...]
    healed: str
    learned: bool


_LINE = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (?P<text>.*) \[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}\]")


class Patient(Program):
    """A Droplet that refreshes by the zipapp, with three peers known."""

    def __init__(self, lab: Lab, **settings: str) -> None:
        super().__init__(lab)
        self.joined = False
        self.sound(**settings)

    def recover(self) -> None:
        """Take every fault away, and what a test before that failed left behind."""
        self.lab.do.clear_faults()
        self.lab.do.set_metadata(self.droplet.public.ipv4, self.lab.metadata())
        self.come()  # many Droplets of a case before would have the schedule ask later
        if self.report()["result"] != "ok":
            self.sound()
        self.lab.do.forget_requests()

    def sound(self, **settings: str) -> None:
        """Refresh as cron does; it must succeed."""
        done = self.schedule(**settings)
        assert done.returncode == 0, self.read(LOG)
        self.lab.do.forget_requests()

    def learns(self, peers: int) -> None:
        """Refresh as cron does; it must succeed and find so many peers."""
        self.sound()
        assert self.report()["peers"] == peers

    def schedule(self, **environment: str) -> Any:
        """Refresh as cron does, told the settings by the environment."""
        told = {"DO_KEY": self.lab.token, **environment}
        return self.droplet.run(
            ["/usr/bin/python3", DOWNLOADED, "refresh", "--scheduled"], env=told, check=False, timeout=120
        )

    def log(self) -> list[str]:
        """Return the log's lines without their time, which each has in front and, with its zone, at the end.

        Raises:
            AssertionError: a line has another form.
        """
        found = [_LINE.fullmatch(line) for line in self.read(LOG).splitlines()]
        assert all(found), self.read(LOG)
        return [line["text"] for line in found if line]

    def meet(self, case: Case) -> Aftermath:
        """Let a refresh meet a fault, take the fault away, and refresh once more."""
        self.joined = not self.joined
        others = [*self.lab.peer_droplets, *([NEW] if self.joined else []), *fleet(case.droplets)]
        self.lab.do.set_droplets([self.lab.own_droplet, *others] if case.own else others)
        self.lab.do.set_droplets([ListedDroplet(1, "elsewhere", "10.132.0.99")], token=OTHER_TOKEN)
        self.lab.do.fault(*case.faults)
        before, generation, lines = self.rules(), commits(self.droplet), len(self.log())
        started = time.monotonic()
        done = self.schedule(**case.environment)
        seconds = time.monotonic() - started
        after, transactions = self.rules(), commits(self.droplet) - generation
        log, report = self.log()[lines:], self.report()
        requests = tuple(self.lab.do.requests())
        self.lab.do.clear_faults()
        self.lab.do.set_droplets([self.lab.own_droplet, *others])
        healed = self.schedule().returncode == 0
        return Aftermath(
            status=done.returncode,
            printed=done.stdout + done.stderr,
            log=tuple(log),
            report=report,
            rules=(before, after),
            commits=transactions,
            seconds=seconds,
            requests=requests,
            healed=self.log()[-1] if healed else "",
            learned=self.report()["peers"] == len(others),
        )


def harmless(outcome: Aftermath, case: Case, *, limit: float = 60) -> None:
    """See that a fault did no harm, was told of, and is over.

    Raises:
        AssertionError: it is not so.
    """
    assert outcome.status == 1, (outcome.printed, outcome.log)
    assert outcome.rules[0] == outcome.rules[1], "the rules are as they were, to the byte"
    assert outcome.commits == 0, "nothing was even written"
    assert outcome.printed == "", "cron has nothing to mail"
    assert len(outcome.log) == 1, "one line says it"
    assert case.says in outcome.log[0]
    assert outcome.log[0].isprintable()
    assert outcome.report["result"] == "failed"
    assert outcome.log[0] == f"refresh: {outcome.report['error']}", "status.json says the same"
    assert outcome.seconds < limit
    assert not secret([*outcome.log, str(outcome.report)])
    assert outcome.healed, "the next run heals it"
    assert outcome.learned, "and sees what changed meanwhile"


def secret(texts: Iterable[str]) -> list[str]:
    """Return those texts that hold a token, or as much of one as would be too much."""
    return [text for text in texts if TOKEN.search(text)]
