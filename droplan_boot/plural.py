"""Count things in words."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Say how many: ``1 peer``, ``2 peers``, ``1 address``, ``0 addresses``."""
    return f"{number} {noun if number == 1 else noun + ('es' if noun.endswith('s') else 's')}"
