"""Whom os-release names is whom we install for; whom we do not know is told so before anything is changed."""

from __future__ import annotations

import pytest

from tests.bed.el.droplet import UNPACKED, changed
from tests.bed.program import LOG, sentence, succeeded
from tests.el.conftest import Make


def test_derivatives_are_known_by_whom_they_are_like(make: Make) -> None:
    """The steps are those of the family: the loader that its repositories have, and crond."""
    el = make("almalinux-8")
    for derivative in ("rocky-8", "oracle-9", "amazon-2023"):
        el.identify(derivative)
        done = succeeded(el.download("install", "--dry-run", DO_KEY=el.lab.token))
        assert "packages iptables-services, nftables, cronie: would be installed" in done.stdout, derivative


@pytest.mark.parametrize(
    ("distribution", "seen"),
    [
        ("opensuse-leap-15.6", "ID=opensuse-leap, ID_LIKE=suse opensuse"),
        ("arch", "ID=arch, ID_LIKE=none"),
        ("alpine-3.20", "ID=alpine, ID_LIKE=none"),
    ],
)
def test_an_unknown_distribution_is_refused_before_anything_is_changed(
    make: Make, distribution: str, seen: str
) -> None:
    """Although a package manager that we know is there."""
    el = make("almalinux-9")
    el.identify(distribution)
    tree, rules = el.tree(), el.rules()

    done = el.download("install", DO_KEY=el.lab.token)

    assert done.returncode == 1
    assert f"this distribution is unknown ({seen}), so nothing was changed" in sentence(done)
    assert changed(tree, el.tree()) == [UNPACKED, LOG]
    assert "this distribution is unknown" in el.read(LOG)
    assert el.rules() == rules
    assert el.calls() == ["boot"]
