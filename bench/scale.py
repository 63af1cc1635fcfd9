"""Draw docs/scale.svg and print the arithmetic of docs/scale.md: ``sudo script/bench scale``. Nothing is measured."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

from droplan_boot.publish import pace
from droplan_boot.publish.pace import Pace
from droplan_boot.sources.digitalocean import model

SIZES = (10, 100, 200, 201, 1000, 5000, 10_000, 20_000, 50_000, 100_000)
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 560, 300, 70, 40


def alone(droplets: int) -> float:
    """Requests an hour when each Droplet lists the account every 5 minutes."""
    return droplets * (math.ceil(droplets / model.PAGE) + 1) * 12.0


def shared(droplets: int) -> float:
    """Requests an hour of one publisher, with 10 changes a minute."""
    every = Pace().between_listings(0.0, droplets, actions=True)
    return 3600 / every * pace.pages(droplets) + 3600 / pace.ACTIONS_S + 600


def main() -> None:
    """Draw and print."""
    argparse.ArgumentParser(prog="script/bench scale", description=__doc__).parse_args()
    print("\n".join(rows()))
    (Path("docs") / "scale.svg").write_text(drawn())


def rows() -> Iterator[str]:
    """Write the table's rows, a size each."""
    for size in SIZES:
        every = Pace().between_listings(0.0, size, actions=True)
        interval = pace.members(size)
        yield (
            f"| {size:,} | {alone(size):,.0f} | {shared(size):,.0f} | {every:.0f} s | {interval} s "
            f"| {size / interval:.0f} |"
        )


def drawn() -> str:
    """Draw the requests an hour, alone and shared, as SVG."""

    def place(droplets: float, requests: float) -> str:
        x = _LEFT + (math.log10(droplets) - 1) / 4 * (_WIDTH - _LEFT - 20)
        y = _HEIGHT - _BOTTOM - (math.log10(requests) - 2) / 7 * (_HEIGHT - _BOTTOM - 20)
        return f"{x:.0f},{y:.0f}"

    def line(points: list[str], colour: str, dash: str = "") -> str:
        return f'<polyline fill="none" stroke="{colour}" stroke-dasharray="{dash}" points="{" ".join(points)}"/>'

    def text(at: str, words: str) -> str:
        x, y = at.split(",")
        return f'<text x="{x}" y="{y}" font-size="12" font-family="sans-serif">{words}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}">',
        '<rect width="100%" height="100%" fill="white"/>',
        line([place(10, 100), place(100_000, 100)], "black"),
        line([place(10, 100), place(10, 10**9)], "black"),
        line([place(10, 5000), place(100_000, 5000)], "red", "4"),
        line([place(size, alone(size)) for size in SIZES], "gray"),
        line([place(size, shared(size)) for size in SIZES], "blue"),
        text(place(5500, 3 * 10**7), "each Droplet alone"),
        text(place(12, 6500), "5,000 an hour: the API's limit"),
        text(place(2000, 1500), "one publisher"),
        *(text(place(size, 45), f"{size:,}") for size in (10, 100, 1000, 10_000)),
        text("60,294", "API requests an hour, by the number of Droplets (both axes logarithmic)"),
        *(text(f"5,{place(10, 10**n).split(',')[1]}", f"10^{n}") for n in (2, 4, 6, 8)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
