"""Samples of one quantity, and how they are told."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Samples:
    """What was measured of one candidate, round after round."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.values)

    def percentile(self, percent: int) -> float:
        """The smallest of the samples that so many percent of them do not exceed."""
        ordered = sorted(self.values)
        return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]

    def told(self, unit: float = 1, digits: int = 0) -> str:
        """Write median (minimum-maximum), each divided by ``unit``."""
        low, middle, high = (f"{one / unit:.{digits}f}" for one in (min(self.values), self.median, max(self.values)))
        return f"{middle} ({low}-{high})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table; the first column to the left, the others to the right."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *rows))
