"""Draw what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

from bench.control import BASELINES, Costs
from bench.data import CONNTRACK, NONE, RATIO, Rates
from bench.sample import Samples
from bench.watcher import Costs as WatcherCosts

mpl.use("svg")
# The same text every time, so that a picture changes only where a number does.
mpl.rcParams["svg.hashsalt"] = "droplan"

from matplotlib import pyplot as plt  # noqa: E402


def control(costs: Costs, path: Path) -> None:
    """Draw CPU of an unchanged and a first refresh over the number of peers."""
    figure, axes = plt.subplots(figsize=(7, 4))
    for name in dict.fromkeys(name for name, _, case in costs if case != "start"):
        for case, style in (("first", "-"), ("unchanged", "--")):
            points = sorted(
                (size, Samples([one.cpu for one in runs]).median)
                for (other, size, which), runs in costs.items()
                if other == name and which == case
            )
            if points:
                label = name if name in BASELINES else f"{name}, {case}"
                axes.loglog(*zip(*points), style, marker="o", markersize=3, label=label)
    axes.set(xlabel="peers", ylabel="CPU seconds of a refresh")
    _save(figure, axes, path)


def data(rates: Rates, path: Path) -> None:
    """Draw the new-flow packet rate of each candidate."""
    names = list(dict.fromkeys(name for name, _ in rates))[::-1]
    figure, axes = plt.subplots(figsize=(7, 0.35 * len(names) + 1))
    colours = ["#999" if name in (NONE, CONNTRACK) else "#0069ff" if "our" in name else "#d9822b" for name in names]
    axes.barh(names, [rates[name, RATIO].median for name in names], color=colours)
    axes.set(xlabel="packet rate of new flows, to conntrack only")
    _save(figure, axes, path, legend=False)


def watcher(found: Mapping[str, WatcherCosts], path: Path) -> None:
    """Draw how many of the new Droplets were connected after how many seconds."""
    figure, axes = plt.subplots(figsize=(7, 4))
    for name, one in found.items():
        for how, delayed, style in (("watched", one.connected, "-"), ("cron alone", one.polled, ":")):
            for answer, samples in delayed.items():
                label = f"{name}, {how}, API {answer} s"
                share = [100 * (n + 1) / len(samples.values) for n in range(len(samples.values))]
                axes.step(sorted(samples.values), share, style, where="post", label=label)
    axes.set(xscale="log", xlabel="seconds from the first SYN", ylabel="% of new Droplets connected")
    _save(figure, axes, path)


def _save(figure: plt.Figure, axes: plt.Axes, path: Path, *, legend: bool = True) -> None:
    axes.grid(alpha=0.3)
    if legend:
        axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
