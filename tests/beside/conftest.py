"""Droplets with a program and droplan on them: one for each program and order, shared by its events' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.bed.program
from tests.bed.beside import BesideBed, Program


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--old",
        metavar="PYZ",
        help="judge this file, 1.0.0 as it was built from its tag: what is said to have been open must be open",
    )


class Pool:
    """The bed that was used last; tests of one program come one after the other."""

    def __init__(self) -> None:
        self._key: tuple[str, bool] | None = None
        self._bed: BesideBed | None = None

    def take(self, program: Program, droplan_first: bool) -> BesideBed:
        """Return a bed for a program; the test says `done` when it left it as it was."""
        key = (program.name, droplan_first)
        if self._bed is None or self._key != key:
            self.close()
            self._bed = BesideBed(program, droplan_first=droplan_first).__enter__()
        self._key = None  # who fails leaves nothing to the next
        return self._bed

    def done(self, program: Program, droplan_first: bool) -> None:
        """Keep the bed for the next test."""
        self._key = (program.name, droplan_first)

    def close(self) -> None:
        """End the bed."""
        if self._bed is not None:
            self._bed.__exit__()
        self._bed = None


@pytest.fixture(scope="session")
def pool(pytestconfig: pytest.Config) -> Iterator[Pool]:
    old = pytestconfig.getoption("--old")
    if old:
        tests.bed.program.ARCHIVE = Path(old)
    pool = Pool()
    yield pool
    pool.close()


@pytest.fixture
def old(pytestconfig: pytest.Config) -> bool:
    """Whether 1.0.0 is judged."""
    return bool(pytestconfig.getoption("--old"))
