"""Fixtures of the tests on Enterprise Linux. They need root, and write only in namespaces of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

import pytest

from tests.bed import Lab
from tests.bed.el.droplet import RELEASES, ElDroplet, variant


class Make(Protocol):
    """Makes a Droplet that looks like a release."""

    def __call__(
        self, release: str, *, repository: str = "", systemd: bool = True, has_service: bool = True
    ) -> ElDroplet:
        """Make it; it is gone when the test is over. See ElDroplet for the arguments."""


@contextlib.contextmanager
def making() -> Iterator[Make]:
    """Make Droplets that look like Enterprise Linux or Fedora, until the block ends."""
    with contextlib.ExitStack() as undo:

        def one(release: str, *, repository: str = "", systemd: bool = True, has_service: bool = True) -> ElDroplet:
            lab = undo.enter_context(Lab(variant(RELEASES[release])))
            return ElDroplet(lab, RELEASES[release], repository=repository, systemd=systemd, has_service=has_service)

        yield one


@pytest.fixture
def make() -> Iterator[Make]:
    """Make Droplets for a test."""
    with making() as one:
        yield one


@pytest.fixture(scope="module")
def make_for_many() -> Iterator[Make]:
    """Make Droplets for the tests of a module."""
    with making() as one:
        yield one
