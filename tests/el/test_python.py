"""Stage-0 has dnf install a Python that is new enough, where the distribution offers one."""

from __future__ import annotations

import pytest

from tests.bed.cache import CHECKOUT
from tests.el.conftest import Make

# bootstrap.py does its work when it is __main__; here its own function is asked for.
ASK = """
import runpy
stage0 = runpy.run_path("/srv/bootstrap.py", run_name="stage0")
stage0["install_packaged_python"]()
print(stage0["which"]("python3.12") or "no python3.12")
"""


@pytest.mark.parametrize(
    ("release", "python", "words"),
    [
        ("centos-7", "no python3.12", "yum offers no Python from 3.9 to 3.14"),
        ("almalinux-8", "/usr/bin/python3.12", "installing python3.12 with dnf"),
        pytest.param(
            *("almalinux-9", "/usr/bin/python3.12", "installing python3.12 with dnf"), marks=pytest.mark.nightly
        ),
    ],
)
def test_the_newest_python_that_the_distribution_offers_is_installed(
    make: Make, release: str, python: str, words: str
) -> None:
    """What runs where there is none is in tests/stage0."""
    el = make(release)
    el.write("/srv/bootstrap.py", (CHECKOUT / "cloud-init/bootstrap.py").read_text())

    done = el.droplet.run(["/usr/bin/python3", "-c", ASK])

    assert done.stdout.strip() == python
    assert words in done.stderr
    assert el.installed("python3.12") == (["python3.12"] if python.startswith("/") else [])
