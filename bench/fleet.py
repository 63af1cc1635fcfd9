"""A fleet of 10,000 against the real radosgw and a real publisher: ``sudo script/bench fleet``. 10 minutes.

Time that would only be waited is skipped; what requests and computing take is real. Members poll at their production
moments: for create → accepted each member's next poll after the head was written is computed, to which the measured
refresh is added. In ``--load`` seconds of real time all of them really poll, by keep-alive connections.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from droplan_boot.flow import polling
from droplan_boot.host.clock import MachineClock
from droplan_boot.host.http import Http
from droplan_boot.publish import pace
from droplan_boot.publish.publisher import Publisher
from droplan_boot.sources.shared.store import HEAD, UNCHANGED, Store
from droplan_boot.state import budget
from tests.bed.account import ListedDroplet
from tests.bed.shared.api import Api
from tests.bed.shared.engine import READER, Engine
from tests.bed.shared.fleet import Keys, TestFleet

_THREADS = 16


@dataclass
class Run:
    """What a run showed.

    Attributes:
        accepted, shut_out: seconds from each change to each of a sample of members, its refresh included.
    """

    droplets: int
    minutes: float
    interval: int = 0
    hourly: float = 0.0
    in_a_minute: int = 0
    listings: int = 0
    versions: int = 0
    head_bytes: list[int] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    shut_out: list[float] = field(default_factory=list)
    written: list[tuple[float, int, str, int]] = field(default_factory=list)
    loaded_an_hour: float = 0.0
    bases: int = 0
    polls_a_second: float = 0.0
    bytes_a_second: float = 0.0
    poll_p99_ms: float = 0.0
    poll_cpu_ms: float = 0.0


def droplet(number: int) -> ListedDroplet:
    """Return a Droplet with addresses of its own."""
    return ListedDroplet(
        id=100_000 + number,
        name=f"web-{number}.example.org",
        private=str(ipaddress.ip_address("10.132.0.2") + number),
        public=str(ipaddress.ip_address("104.236.0.2") + number),
        tags=("web", "env:prod") if number % 2 else ("db", "env:prod"),
    )


def run(engine: Engine, count: int, minutes: float, load: float, refresh_s: float, rate: float, seed: int) -> Run:
    """Measure a fleet of ``count`` Droplets for so many minutes with ``rate`` changes in each."""
    found = Run(count, minutes)
    chance = random.Random(seed)
    name = f"bench-{count}"
    engine.bucket(name)
    with tempfile.TemporaryDirectory() as folder, Api() as api:
        api.create(*(droplet(number) for number in range(count)), acted=False)
        keys = Keys.made(Path(folder) / "key")
        fleet = TestFleet(f"{engine.url}/{name}/prod", api.url, keys, Path(folder))
        asked: list[float] = []
        api.before = lambda _path: asked.append(fleet.clock.monotonic())
        publisher = fleet.publisher()
        publisher.step()
        _changes(found, fleet, publisher, api, chance, asked, refresh_s, rate)
        if load:
            _load(found, fleet, load)
        fleet.close()
    return found


def _changes(
    found: Run,
    fleet: TestFleet,
    publisher: Publisher,
    api: Api,
    chance: random.Random,
    asked: list[float],
    refresh_s: float,
    rate: float,
) -> None:
    """Let Droplets come and go, and note when the head that says so was written."""
    clock = fleet.clock
    began = clock.monotonic()
    del asked[:]
    api.asked.clear()
    pending: dict[tuple[str, int], float] = {}
    number, next_change = found.droplets, began + chance.expovariate(rate / 60)
    version = 0
    while clock.monotonic() < began + found.minutes * 60:
        while clock.monotonic() >= next_change:
            # As of the moment it is due, not of the moment when a listing left time for it.
            if chance.random() < 0.5:
                api.create(droplet(number))
                pending["+", 100_000 + number] = next_change
                number += 1
            else:
                gone = chance.choice(list(api.droplets))
                api.destroy(gone)
                if pending.pop(("+", gone), None) is None:
                    pending["-", gone] = next_change
            next_change += chance.expovariate(rate / 60)
        wait = publisher.step()
        head = publisher.written.head
        if head is not None and head.version != version:
            version = head.version
            found.versions += 1
            found.interval = head.interval
            _noted(found, fleet, publisher, pending, refresh_s, chance)
        clock.sleep(max(0.0, min(wait, next_change - clock.monotonic())))
    hours = (clock.monotonic() - began) / 3600
    found.bases = len({name for _, _, name, _ in found.written})
    found.loaded_an_hour = statistics.mean(_loaded(found, budget.share(n)) for n in range(100_000, 100_100)) / hours
    found.hourly = len(asked) / hours
    found.in_a_minute = max(sum(1 for when in asked if start <= when < start + 60) for start in asked[::20])
    found.listings = sum(1 for path in api.asked if path.endswith("&page=1") and "gpus" not in path)


def _loaded(found: Run, share: float) -> float:
    """Tell the bytes that a member loads from the store in the whole run, headers of answers included."""
    total, version, base, place = 0.0, -1, found.written[0][2], 0
    now, end = found.written[0][0], found.written[-1][0]
    while now < end:
        now += polling.pause(now, found.interval, share)
        while place + 1 < len(found.written) and found.written[place + 1][0] <= now:
            place += 1
        total += 147  # of a 304, or of the headers of a 200
        if place != version:
            version = place
            _, size, name, base_bytes = found.written[place]
            total += 83 + size + (230 + base_bytes if name != base else 0)
            base = name
    return total


def _noted(
    found: Run,
    fleet: TestFleet,
    publisher: Publisher,
    pending: dict[tuple[str, int], float],
    refresh_s: float,
    chance: random.Random,
) -> None:
    """Note when a sample of members acts on what was just written."""
    body = fleet.store().get(HEAD)
    if body:
        found.head_bytes.append(len(body.body))
        head = publisher.written.head
        name = head.base.name if head else ""
        found.written.append((fleet.clock.time(), len(body.body), name, publisher.written._base_bytes))
    known = publisher._published
    now = fleet.clock.time()
    written = fleet.clock.monotonic()
    for (sign, number), since in list(pending.items()):
        if known is None or (number in known.droplets) != (sign == "+"):
            continue
        del pending[sign, number]
        for member in chance.sample(range(100_000, 100_000 + found.droplets), 100):
            pause = polling.pause(now, found.interval, budget.share(member))
            delay = written - since + pause + refresh_s
            (found.accepted if sign == "+" else found.shut_out).append(delay)


def _load(found: Run, fleet: TestFleet, seconds: float) -> None:
    """Have all members really poll, at their moments and in real time, by a few connections."""
    interval = pace.members(found.droplets)
    began = time.time()
    moments = sorted(
        began + polling.pause(began, interval, budget.share(100_000 + member)) + round_ * interval
        for member in range(found.droplets)
        for round_ in range(int(seconds // interval) + 1)
    )
    moments = [moment for moment in moments if moment < began + seconds]
    took: list[float] = []
    sizes: list[int] = []
    lock = threading.Lock()
    places = iter(moments)
    cpu = time.process_time()

    def poll() -> None:
        http = Http(MachineClock(), seconds + 60)
        store = Store(http, fleet.address, ":".join(READER))
        etag = ""
        while True:
            with lock:
                moment = next(places, None)
            if moment is None:
                return
            time.sleep(max(0.0, moment - time.time()))
            started = time.monotonic()
            head = store.get(HEAD, etag)
            took.append(time.monotonic() - started)
            if head is not None and head is not UNCHANGED:
                etag = head.etag
            sizes.append(700 if head is UNCHANGED else 1100 + len(head.body if head else b""))

    threads = [threading.Thread(target=poll) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.time() - began
    found.polls_a_second = len(took) / spent
    found.bytes_a_second = sum(sizes) / spent
    found.poll_p99_ms = _p(took, 99) * 1000
    found.poll_cpu_ms = (time.process_time() - cpu) / len(took) * 1000


def _p(values: Sequence[float], percent: int) -> float:
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=100)[percent - 1]


def report(found: Run) -> dict[str, object]:
    """Sum a run up."""
    return {
        "Droplets": found.droplets,
        "minutes": found.minutes,
        "members look every s": found.interval,
        "API requests an hour": round(found.hourly),
        "API requests in the worst minute": found.in_a_minute,
        "heads written": found.versions,
        "head bytes, median": round(statistics.median(found.head_bytes or [0])),
        "head bytes, most": max(found.head_bytes or [0]),
        "create -> accepted, s, median": round(_p(found.accepted, 50), 1),
        "create -> accepted, s, p99": round(_p(found.accepted, 99), 1),
        "destroy -> shut out, s, median": round(_p(found.shut_out, 50), 1),
        "destroy -> shut out, s, p99": round(_p(found.shut_out, 99), 1),
        "bases written": found.bases,
        "KB that a member loads an hour": round(found.loaded_an_hour / 1000, 1),
        "store polls a second": round(found.polls_a_second, 1),
        "store bytes a second": round(found.bytes_a_second),
        "poll p99, ms": round(found.poll_p99_ms, 1),
        "CPU of a poll, all of bench included, ms": round(found.poll_cpu_ms, 2),
    }


def main() -> None:
    """Measure and print, a JSON object a size."""
    parser = argparse.ArgumentParser(prog="script/bench fleet", description=__doc__)
    parser.add_argument("--droplets", default="1000,10000")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument(
        "--load", type=float, default=60, help="seconds of real time in which all members really poll"
    )
    parser.add_argument("--refresh", type=float, default=3.0, help="seconds that a changed refresh takes a member")
    parser.add_argument("--rate", type=float, default=10, help="changes a minute")
    parser.add_argument("--seed", type=int, default=20261125)
    options = parser.parse_args()
    with Engine() as engine:
        for size in options.droplets.split(","):
            found = run(engine, int(size), options.minutes, options.load, options.refresh, options.rate, options.seed)
            print(json.dumps(report(found), indent=1), flush=True)


if __name__ == "__main__":
    main()
