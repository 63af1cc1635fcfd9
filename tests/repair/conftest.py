"""Droplets with droplan installed, shared by all tests here; each test leaves its Droplet in the right state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed.installed import Machine


class Pool:
    """Machines by variant of iptables, made when they are first asked for."""

    def __init__(self) -> None:
        self.made: dict[str, Machine] = {}

    def take(self, iptables: str) -> Machine:
        """Return a machine in the right state; one that a failed test left in another is thrown away."""
        machine = self.made.pop(iptables, None)
        if machine and machine.wrong():
            machine.close()
            machine = None
        self.made[iptables] = machine or Machine(iptables)
        return self.made[iptables]


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    for machine in pool.made.values():
        machine.close()


@pytest.fixture
def nft(pool: Pool) -> Machine:
    """With the nf_tables variant of iptables, for what no variant changes."""
    return pool.take("nft")


@pytest.fixture(params=["nft", "legacy"])
def machine(request: pytest.FixtureRequest, pool: Pool) -> Machine:
    """With each variant of iptables."""
    return pool.take(request.param)
