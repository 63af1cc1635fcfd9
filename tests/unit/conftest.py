"""What all unit tests share: a file system and a machine of their own, and how long properties are tried."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from droplan_boot.host import openssl
from droplan_boot.host.files import Files
from tests.bed.memory.doors import FakeCommands, Host, Lines
from tests.bed.memory.heads import RUNNER

hypothesis.settings.register_profile(
    "unit",
    deadline=None,  # no test depends on how fast the machine is
    database=None,
    derandomize=True,  # a red test is red again; the fuzz targets look for what is new
    max_examples=25,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("unit")

# Thousands of short tests: to look for circles in what they leave takes some of their time, and frees little.
gc.disable()

# Where python-iptables is at hand, and who tests is root, a made-up Droplet's rules would be written to this machine.
sys.modules["iptc"] = None  # type: ignore[assignment]


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """Wait for no disk: whether something is synced, tests see by the call; what is no open file fails as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return a file system that holds nothing but the usual directories, and is ours."""
    for name in ("etc/cron.d", "var/lib", "var/log", "opt", "run", "usr"):
        (tmp_path / name).mkdir(parents=True, mode=0o755)
    for place in (tmp_path, *tmp_path.rglob("*")):
        place.chmod(0o755)
    return Files(tmp_path, os.getuid())


@pytest.fixture
def commands() -> FakeCommands:
    """Return a machine that knows no command yet."""
    return FakeCommands()


@pytest.fixture
def host(files: Files, commands: FakeCommands) -> Host:
    """Return a host whose every door is shut."""
    return Host(runner=commands, files=files, log=Lines())


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend to be root; what is written still goes to a directory of the test's."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the clock's zone."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a private key's file, and the public key."""
    path = tmp_path_factory.mktemp("key") / "key"
    private = openssl.make_key(RUNNER)
    path.write_text(private)
    return path, openssl.public_key(RUNNER, private)
