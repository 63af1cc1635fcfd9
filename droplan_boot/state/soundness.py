"""Whether what droplan does would go on: now, at the next run, after the next boot. Pure: facts in, problems out.

``setup.sound`` gathers the facts. Each function decides one reason; docs/problems.md lists them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from droplan_boot.firewall import nft_table
from droplan_boot.host.services import ENABLED
from droplan_boot.state.problems import Problem, problem

INTERVALS: Final = 3
"""An answer older than so many intervals is stale: two runs in a row may fail without anybody being woken."""

_DAY_S: Final = 86400.0


@dataclass(frozen=True)
class Unit:
    """A service.

    Args:
        name: as systemctl calls it.
        state: how it is enabled, in systemctl's words; "enabled" where no systemd says so.
        active: whether it runs.
    """

    name: str
    state: str
    active: bool


def stale(age: float | None, interval: int, told: str) -> Iterator[Problem]:
    """See whether the last answer is too old.

    Args:
        age: of the last good answer, seconds; None when there was none.
        interval: minutes between two runs.
        told: the age in words.
    """
    if age is not None and age > INTERVALS * interval * 60:
        yield problem("stale", age=told)


def schedule(wrong: Mapping[str, str | None]) -> Iterator[Problem]:
    """See whether what cron is to run is there, as we wrote it.

    Args:
        wrong: for each file of the schedule, in a word or two what is wrong with it; None for nothing.
    """
    for path, word in wrong.items():
        if word:
            yield problem("unscheduled", what=f"{path} is {word}")
            return  # one is enough: the remedy is the same


def daemon(found: Unit | None) -> Iterator[Problem]:
    """See whether cron runs, and will after the next boot; None when none is installed."""
    if found is None:
        yield problem("cron-missing")
        return
    if found.state not in ENABLED:
        yield problem("cron-disabled", name=found.name, state=found.state)
    if not found.active:
        yield problem("cron-stopped", name=found.name)


def password(shadow: str, now: float) -> Iterator[Problem]:
    """See whether PAM refuses root's jobs, as pam_unix's account management does: shadow(5), pam_unix(8).

    Args:
        shadow: the text of /etc/shadow.
        now: seconds since the epoch.
    """
    line = re.search(r"^root:.*$", shadow, re.MULTILINE)
    fields = (line.group() if line else "").split(":")
    if len(fields) < 8:
        return
    last, _, longest, _, _, expires = (int(one) if re.fullmatch(r"\d{1,9}", one) else None for one in fields[2:8])
    today = int(now // _DAY_S)
    if expires is not None and today >= expires:
        yield problem("root-expired", what="account has expired")
    elif last == 0:
        yield problem("root-expired", what="password has to be changed before anything else")
    elif last is not None and longest is not None and last <= today and today - last > longest:
        yield problem("root-expired", what="password has expired")


def boot(units: Sequence[Unit], wrong: Mapping[str, str | None], *, systemd: bool, loader: bool) -> Iterator[Problem]:
    """See whether the rules would be there after the next boot.

    Args:
        units: what is to load or restore them.
        wrong: for each of our own unit files that is needed, what is wrong with it; None for nothing.
        systemd: whether systemd runs this machine; where it does not, an installed loader counts as sound.
        loader: whether a loader of saved rules is installed.
    """
    if not systemd:
        if not loader:
            yield problem("no-loader", what="no systemd runs here, and no loader of saved rules is installed")
        return
    for path, word in wrong.items():
        if word:
            yield problem("no-loader", what=f"{path} is {word}")
            return
    for unit in units:
        if unit.state not in ENABLED:
            yield problem("no-loader", what=f"{unit.name} is {unit.state or 'missing'}")
            return


def saved(path: str, text: str | None, *, ours: bool) -> Iterator[Problem]:
    """See whether a file of saved rules would load ours.

    Args:
        path: its path.
        text: what it holds; None when it is missing.
        ours: whether that is our rules, before everybody else's.
    """
    if text is None:
        yield problem("saved-other", path=path, what="it is missing")
    elif not ours:
        what = "its rules are older or altered" if "droplan-" in text else "it holds no rules of ours"
        yield problem("saved-other", path=path, what=what)


def cards(guarded: Sequence[str], there: Mapping[str, bool]) -> Iterator[Problem]:
    """See whether the cards that the rules name are this machine's.

    Args:
        guarded: names of the cards in our rules.
        there: the machine's, by name: whether each belongs to a bridge or bond.
    """
    for name in guarded:
        if name not in there:
            yield problem("cards", card=name, why="there is no such card")
        elif there[name]:
            yield problem("cards", card=name, why="it is part of a bridge or bond, whose name its packets bear")


def nftables_conf(path: str, text: str, service: Unit, *, flushes: bool = False) -> Iterator[Problem]:
    """See whether a service would flush our rules and not put them back.

    Args:
        path: what it loads.
        text: what that holds, files that it includes in their place.
        service: the service.
        flushes: whether the service flushes by itself.
    """
    loads = service.active or service.state in ("enabled", "enabled-runtime")
    if loads and nft_table.forgets_us(text, flushes=flushes):
        yield problem("nftables-flush", path=path, service=service.name)


def refused(table: str, chain: str, card: str, where: str) -> Iterator[Problem]:
    """Say that another program's table refuses peers.

    Args:
        table: its family and name.
        chain: which of its chains.
        card: by which card they come.
        where: the file it is from, as far as that is known.
    """
    if table.endswith(" firewalld"):
        yield problem("firewalld-refuses", table=table, card=card)
    else:
        yield problem("table-refuses", table=table, chain=chain, card=card, where=where)
