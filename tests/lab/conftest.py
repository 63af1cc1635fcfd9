"""Fixtures of all lab tests. They need root, and write only in namespaces of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed import Lab
from tests.bed.program import Program


@pytest.fixture(params=["nft", "legacy"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A fresh lab, once with each variant of iptables."""
    with Lab(request.param) as made:
        yield made


@pytest.fixture
def nft_lab() -> Iterator[Lab]:
    """A fresh lab with the nf_tables variant only, for what no variant changes."""
    with Lab("nft") as made:
        yield made


@pytest.fixture(scope="module", params=["nft", "legacy"])
def shared_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab that the tests of a module share; each leaves it as it found it."""
    with Lab(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def installed() -> Iterator[Program]:
    """droplan on a Droplet of nf_tables, for what is the same whichever iptables writes the rules."""
    with Lab() as made:
        program = Program(made)
        program.install_for_many()
        yield program


@pytest.fixture
def program(installed: Program) -> Program:
    """Return the module's Droplet as install left it; a module may have ``installed`` of its own."""
    installed.reset()
    return installed
