"""The demo of a fleet: what test_fleet.py checks, told to a person on one screen.

Run as ``python3 -m tests.bed.booted.demo droplan.pyz``; ``script/demo --fleet`` sets up first what that takes.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bed.booted.container import poll
from tests.bed.booted.droplet import BootedDroplet
from tests.bed.booted.fleet import ONE_INTERVAL, Fleet, knock_all
from tests.bed.booted.probe import CLOSED, PEERS_ONLY, Knocking
from tests.bed.booted.region import Region
from tests.bed.hosts import Host


class UnexpectedError(Exception):
    """Something is not as it should be; the message says what."""


def main() -> int:
    """Show it; the exit code is 0 when everything was as it should be."""
    pyz = Path(sys.argv[1]).read_bytes()
    start = time.monotonic()
    say("Everything is real but DigitalOcean: terraform, cloud-init, apt, systemd, cron. All of it is in namespaces;")
    say("this machine's network is not touched. The Droplets refresh every minute, so it takes about three.")
    try:
        with Region() as region, Fleet(region, pyz) as fleet:
            show(region, fleet)
    except (UnexpectedError, TimeoutError) as error:
        say(f"\nThis is not as it should be: {error}")
        return 1
    say(f"\nDroplets in, everybody else out. The lab is gone; it took {time.monotonic() - start:.0f} s.")
    return 0


def show(region: Region, fleet: Fleet) -> None:
    """Show a fleet's life: it is made, grows, shrinks, and one of it reboots."""
    heading("terraform apply")
    one, two = apply(fleet, 2)
    await_answers([one, two], [one, two], region.stranger, "they reach each other")

    heading("terraform apply -var droplet_count=3")
    (three,) = apply(fleet, 3)
    await_answers([one, two, three], [one, two, three], region.stranger, f"{three.name} is one of them")

    heading("terraform apply -var droplet_count=2")
    apply(fleet, 2)
    say(f"{three.name} is destroyed. Here it runs on, as whoever is given its address next.")
    await_answers([one, two], [one, two], region.stranger, f"{three.name} is shut out", removed=three)

    heading(f"reboot of {one.name}, while three knock at it without pause")
    reboot(one, two, [three, region.stranger])


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show life signs while something takes its time: a line every ten seconds."""
    over = threading.Event()
    start = time.monotonic()

    def beat() -> None:
        while not over.wait(10):
            say(f"  ... {time.monotonic() - start:.0f} s: {what}")

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join()


def apply(fleet: Fleet, count: int) -> list[BootedDroplet]:
    """Apply, and wait for cloud-init on the Droplets that are new.

    Raises:
        UnexpectedError: it reports an error.
    """
    start = time.monotonic()
    with waiting("terraform makes the Droplets, and they boot"):
        new = fleet.apply(count)
    say(f"Terraform took {time.monotonic() - start:.0f} s.")
    for droplet in new:
        with waiting(f"{droplet.name} boots; cloud-init installs packages and droplan"):
            report = droplet.wait_cloud_init()
        say(f"{droplet.name} has booted; cloud-init: {report['status']}, {len(report['errors'])} errors.")
        if report["errors"]:
            raise UnexpectedError(f"cloud-init reports {report['errors']}")
    return new


def await_answers(
    members: Sequence[Host], targets: Sequence[Host], stranger: Host, what: str, removed: Host | None = None
) -> None:
    """Wait until members, and nobody else, reach the targets; show who does.

    Raises:
        TimeoutError: that does not come about within an interval.
    """
    start = time.monotonic()
    others = [removed, stranger] if removed else [stranger]
    sources = [*members, *others]

    def table() -> str:
        found = knock_all(sources, targets)
        rows = [f"{'':12}" + "".join(f"{target.name:10}" for target in targets)]
        for source in sources:
            seen = (found.get((source.name, target.name)) for target in targets)
            words = ("." if one is None else {PEERS_ONLY: "yes", CLOSED: "-"}.get(one, str(one)) for one in seen)
            rows.append(f"{source.name:12}" + "".join(f"{word:10}" for word in words))
        return "\n".join(row.rstrip() for row in rows)

    def settled() -> bool:
        return set(knock_all(members, targets).values()) == {PEERS_ONLY} and set(
            knock_all(others, targets).values()
        ) == {CLOSED}

    with waiting("each Droplet's cron runs droplan once a minute, at a second of its own"):
        poll(settled, ONE_INTERVAL, lambda: f"within an interval it should be that {what}.\n{table()}")
    say(f"{time.monotonic() - start:.0f} s later {what}. Rows knock, columns are knocked at, by SSH and ping:")
    say(f"{table()}\n(yes: answered, -: shut out, .: itself)")


def reboot(droplet: BootedDroplet, peer: Host, others: Sequence[Host]) -> None:
    """Reboot a Droplet while its peer and others knock; show who was answered.

    Raises:
        TimeoutError: the peer was not answered.
        UnexpectedError: somebody else was.
    """
    knockers = [Knocking(each, droplet) for each in (peer, *others)]
    with knockers[0] as friend, knockers[1], knockers[2]:
        with waiting(f"{droplet.name} reboots, and its rules come before its network"):
            droplet.reboot()
            droplet.wait_cloud_init()
        poll(lambda: friend.answered > 20, 60, lambda: f"{peer.name} is not answered after the reboot")
    say("A peer is not answered while the machine is down; an answer to anybody else would be a hole:")
    for source, knocking in zip((peer, *others), knockers):
        answered = knocking.answered + knocking.answered6
        say(f"{source.name:10}{knocking.sent:6} knocks, {answered:5} answered")
        if answered and source is not peer:
            raise UnexpectedError(f"{source.name} was answered")


def heading(text: str) -> None:
    """Print a line that begins a part."""
    say(f"\n\033[1m# {text}\033[0m" if sys.stdout.isatty() else f"\n# {text}")


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
