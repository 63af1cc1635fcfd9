"""Measure, and write docs/benchmarks.md with its plots. ``script/bench`` calls this; see there for arguments."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
from pathlib import Path

from bench import bars, control, data, plots, traffic, watcher


def main() -> None:
    """Measure and write."""
    large = "What large fleets cost is measured apart: script/bench fleet, script/bench member, script/bench scale."
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__, epilog=large)
    parser.add_argument("--peers", default="10,100,1000,10000", help="numbers of peers, by comma")
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often each is measured; packet rates eight times as often"
    )
    parser.add_argument("--refreshes", type=int, default=100, help="refreshes under traffic")
    parser.add_argument("--packets", type=int, default=30000, help="datagrams a measurement")
    parser.add_argument("--tries", type=int, default=20, help="Droplets created, and flushes, for the watcher")
    parser.add_argument("--seconds", type=float, default=20, help="how long the watcher is flooded")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="where benchmarks.md goes")
    options = parser.parse_args()
    sizes = [int(size) for size in options.peers.split(",")]

    # A packet rate jumps about far more than the cost of a process does: a median of twelve was off by 0.07 at times.
    rates = data.run([size for size in sizes if size >= 100] or sizes, 8 * options.rounds, options.packets)
    passages = traffic.run(min(1000, max(sizes)), options.refreshes)
    watched = watcher.run(options.tries, options.seconds)
    costs = control.run(sizes, options.rounds)

    options.out.mkdir(parents=True, exist_ok=True)
    plots.control(costs, options.out / "benchmarks-control.svg")
    plots.data(rates, options.out / "benchmarks-data.svg")
    plots.watcher(watched, options.out / "benchmarks-watcher.svg")
    parts = [
        _head(),
        bars.page(costs, rates, passages, watched),
        control.page(costs),
        "![CPU of a refresh](benchmarks-control.svg)\n",
        data.page(rates),
        "![Packet rate](benchmarks-data.svg)\n",
        traffic.page(passages, min(1000, max(sizes))),
        watcher.page(watched),
        "![New Droplets connected](benchmarks-watcher.svg)\n",
    ]
    (options.out / "benchmarks.md").write_text("\n".join(parts))


def _head() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    iptables = subprocess.run(["iptables", "-V"], capture_output=True, text=True, check=True).stdout.strip()
    return (
        "# Benchmarks\nWritten by `sudo script/bench`; do not edit. All of it was measured in one run, interleaved. "
        "The machine is a noisy one: read ratios, not numbers.\n\n"
        f"{os.cpu_count()} cores ({model}), Linux {platform.release()}, {iptables}, "
        f"Python {platform.python_version()}, commit {commit.stdout.strip() or 'unknown'}.\n"
    )


if __name__ == "__main__":
    main()
