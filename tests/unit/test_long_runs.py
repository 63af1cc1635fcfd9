"""What goes on until it is stopped collects garbage, which the zipapp turns off for runs of a second."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import NoReturn
from unittest.mock import Mock

import pytest

from droplan_boot.flow.polling import Polling
from droplan_boot.host import openssl
from droplan_boot.host.command import Commands
from droplan_boot.host.files import Files
from droplan_boot.verbs import poll, publish
from tests.bed.memory.doors import Host


@pytest.fixture(autouse=True)
def _as_in_the_zipapp() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def stopped(*_arguments: object) -> NoReturn:
    raise KeyboardInterrupt


def test_the_watchers_child_that_polls(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Polling, "step", stopped)
    trust = openssl.public_key(Commands(), openssl.make_key(Commands()))
    environ = {"DROPLAN_SHARED": "https://store/b", "DROPLAN_SHARED_KEY": "ID:SECRET", "DROPLAN_SHARED_TRUST": trust}
    with pytest.raises(KeyboardInterrupt):
        poll.run(Host(files=files, environ=environ, uid=0))
    assert gc.isenabled()


def test_a_publisher(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("droplan_boot.verbs.publish.signal.signal", Mock())
    monkeypatch.setattr(publish, "_publisher", lambda _host: Mock(step=stopped))
    publish.run(Host(files=files, uid=0))
    assert gc.isenabled()
