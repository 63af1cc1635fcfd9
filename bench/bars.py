"""The bars that a release is held to, and whether this run met them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.control import BACKENDS, BASELINES, START, Costs
from bench.data import RATIO, Rates
from bench.sample import Samples, table
from bench.traffic import Passage

BARE, REQUESTS, VERSION, REFRESH = START


@dataclass(frozen=True)
class Bar:
    """One of them.

    Args:
        measure: what was measured.
        wanted: the bar, in words.
        measured: what came out, in words.
        met: whether that is good enough.
    """

    measure: str
    wanted: str
    measured: str
    met: bool


def page(costs: Costs, rates: Rates, passages: dict[str, Passage]) -> str:
    """Write them as Markdown, those that this run measured."""
    rows = [
        [bar.measure, bar.wanted, bar.measured, "met" if bar.met else "**missed**"]
        for bar in (*_control(costs), *_data(rates), _traffic(passages))
    ]
    return f"## Bars\nOf three backends the worst is told.\n\n{table(['measure', 'bar', 'measured', ''], rows)}"


def _control(costs: Costs) -> Iterator[Bar]:
    def cpu(name: str, size: int, case: str) -> float:
        return Samples([one.cpu for one in costs[name, size, case]]).median

    sizes = {size for _, size, _ in costs}
    if 10_000 in sizes:
        for case, most in (("first", 1.5), ("unchanged", 1.0)):
            found = max(cpu(name, 10_000, case) for name in BACKENDS)
            yield Bar(f"refresh, 10,000 peers, {case}", f"≤ {most} s CPU", f"{found:.2f} s", found <= most)
    if 1_000 in sizes:
        ours = cpu("iptables-nft", 1_000, "first")
        for name in BASELINES:
            found = cpu(name, 1_000, "first") / ours
            measure = f"refresh, 1,000 peers, first, against {name}"
            yield Bar(measure, "≥ 10 times less CPU", f"{found:.1f} times", found >= 10)
    for name, most, base in ((REFRESH, 1.6, REQUESTS), (VERSION, 6.0, BARE)):
        found = cpu(name, 0, "start") / cpu(base, 0, "start")
        yield Bar(name, f"≤ {most} times the CPU of `{base}`", f"{found:.2f} times", found <= most)
    if 10_000 in sizes:
        most = max(one.memory for (name, size, _), runs in costs.items() if name in BACKENDS and size for one in runs)
        yield Bar("peak memory at 10,000 peers", "≤ 70 MB", f"{most:.0f} MB", most <= 70)


def _data(rates: Rates) -> Iterator[Bar]:
    for shape in ("sparse", "dense"):
        name = f"our tree, 10,000 {shape}"
        if (name, RATIO) in rates:
            found = rates[name, RATIO].median
            measure = f"new-flow packet rate, tree of 10,000 {shape}, against conntrack only"
            yield Bar(measure, "≥ 0.90", f"{found:.2f}", found >= 0.9)


def _traffic(passages: dict[str, Passage]) -> Bar:
    lost, passed = (sum(counts) for counts in zip(*((one.lost, one.passed) for one in passages.values())))
    refreshes = min(one.refreshes for one in passages.values())
    measure = f"lost by peers / passed by strangers during {refreshes} refreshes with churn"
    return Bar(measure, "0 / 0", f"{lost} / {passed}", lost == passed == 0)
