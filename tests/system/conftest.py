"""What the tests with booted Droplets need: Debian roots, the zipapp, and user data as a person pastes it."""

from __future__ import annotations

import hashlib
import subprocess
from typing import Any

import pytest

from tests.bed.booted.droplet import RELEASES
from tests.bed.cache import CHECKOUT

EACH_RELEASE = [
    pytest.param(release, marks=[pytest.mark.nightly] if release in RELEASES[1:-1] else []) for release in RELEASES
]
"""Where the oldest and the newest tell what there is to tell, and those between them the same at night.

That all of them are closed from the first boot on is test_booted_releases.py's.
"""


def asked(request: pytest.FixtureRequest, name: str) -> set[Any]:
    """What a parameter is in the tests of this file that are to run: no story is told that nobody asks about."""
    return {
        item.callspec.params[name]
        for item in request.session.items
        if hasattr(item, "callspec") and name in item.callspec.params and item.path == request.path
    }


@pytest.fixture(scope="session")
def roots() -> None:
    """The Debian roots, made on the first run (two minutes) and cached."""
    subprocess.run([CHECKOUT / "script/roots"], check=True)


@pytest.fixture(scope="session")
def kernel_root() -> None:
    """The root with Debian's own kernel, and qemu to boot it, made on the first run (two minutes) and cached."""
    subprocess.run([CHECKOUT / "script/roots", "kernel"], check=True)


@pytest.fixture(scope="session")
def pyz() -> bytes:
    """The zipapp, built from this checkout."""
    subprocess.run([CHECKOUT / "script/build"], check=True, stdout=subprocess.DEVNULL)
    return (CHECKOUT / "dist/droplan.pyz").read_bytes()


def user_data(pyz: bytes, *, url: str, token: str, settings: str = "") -> str:
    """Fill in cloud-init/user-data.yaml as a person does.

    Args:
        pyz: the zipapp that is published.
        url: where.
        token: the account's.
        settings: more lines for the settings file, as "DROPLAN_INTERVAL=1".
    """
    filled_in = {
        "DO_KEY=FILL-IN": "\n      ".join([f"DO_KEY={token}", *settings.split()]),
        "https://FILL-IN/droplan.pyz": url,
        "SHA256='FILL-IN'": f"SHA256='{hashlib.sha256(pyz).hexdigest()}'",
    }
    text = (CHECKOUT / "cloud-init/user-data.yaml").read_text()
    for placeholder, value in filled_in.items():
        assert text.count(placeholder) == 1, f"{placeholder} is not there, or not once"
        text = text.replace(placeholder, value)
    return text
