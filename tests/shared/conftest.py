"""One object store for all tests of this part, a bucket for each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed.account import fleet
from tests.bed.shared.api import Api
from tests.bed.shared.engine import Engine
from tests.bed.shared.fleet import Keys, TestFleet
from tests.bed.shared.proxy import Proxy

_numbers = itertools.count()


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Debian's radosgw."""
    with Engine() as running:
        yield running


@pytest.fixture
def bucket(engine: Engine) -> str:
    """Name a bucket that is this test's own."""
    name = f"bucket-{next(_numbers)}"
    engine.bucket(name)
    return name


@pytest.fixture
def proxy(engine: Engine) -> Iterator[Proxy]:
    """What stands between the store and everybody."""
    with Proxy(engine.url) as running:
        yield running


@pytest.fixture
def api() -> Iterator[Api]:
    """An account of three Droplets."""
    with Api() as running:
        running.create(*fleet(3))
        yield running


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """The keys of the fleet."""
    return Keys.made(tmp_path_factory.mktemp("keys") / "fleet.key")


@pytest.fixture
def fleet_of_three(bucket: str, proxy: Proxy, api: Api, keys: Keys, tmp_path: Path) -> Iterator[TestFleet]:
    """A fleet that nobody has published yet."""
    made = TestFleet(f"http://127.0.0.1:{proxy.port}/{bucket}/prod", api.url, keys, tmp_path)
    yield made
    made.close()
