"""Droplets with droplan installed, shared by all tests here; each test leaves its Droplet in the right state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed.installed import InstalledLab


class Pool:
    """Labs by variant of iptables, made when they are first asked for."""

    def __init__(self) -> None:
        self.made: dict[str, InstalledLab] = {}

    def take(self, iptables: str) -> InstalledLab:
        """Return a lab in the right state; one that a failed test left in another is thrown away."""
        installed = self.made.pop(iptables, None)
        if installed and installed.wrong():
            installed.close()
            installed = None
        self.made[iptables] = installed or InstalledLab(iptables)
        return self.made[iptables]


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    for installed in pool.made.values():
        installed.close()


@pytest.fixture
def nft(pool: Pool) -> InstalledLab:
    """With the nf_tables variant of iptables, for what no variant changes."""
    return pool.take("nft")


@pytest.fixture(params=["nft", "legacy"])
def installed(request: pytest.FixtureRequest, pool: Pool) -> InstalledLab:
    """With each variant of iptables."""
    return pool.take(request.param)


@pytest.fixture(params=[pytest.param(3, id="each third"), pytest.param(1, id="each", marks=pytest.mark.nightly)])
def stride(request: pytest.FixtureRequest) -> int:
    """Which of a run's many steps it is killed at: all of them take minutes."""
    return int(request.param)
