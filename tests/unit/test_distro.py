"""Which distribution this is: by the os-release files that they ship, in tests/bed/os-release."""

from __future__ import annotations

from pathlib import Path

import distro as library
import pytest

from droplan_boot.errors import DroplanError
from droplan_boot.host import distro
from droplan_boot.host.files import Files

FOLDER = Path(__file__).parents[1] / "bed" / "os-release"

KNOWN = {
    "debian-11": "debian",
    "debian-12": "debian",
    "debian-13": "debian",
    "ubuntu-20.04": "debian",
    "ubuntu-22.04": "debian",
    "ubuntu-24.04": "debian",
    "linuxmint-22": "debian",
    "pop-22.04": "debian",
    "raspbian-12": "debian",
    "centos-7": "el",
    "almalinux-8": "el",
    "almalinux-9": "el",
    "almalinux-10": "el",
    "rocky-8": "el",
    "rocky-9": "el",
    "rocky-10": "el",
    "rhel-9": "el",
    "centos-stream-9": "el",
    "centos-stream-10": "el",
    "fedora-42": "el",
    "oracle-9": "el",
    "amazon-2023": "el",
}
UNKNOWN = {
    "opensuse-leap-15.6": "ID=opensuse-leap, ID_LIKE=suse opensuse",
    "arch": "ID=arch, ID_LIKE=none",
    "alpine-3.20": "ID=alpine, ID_LIKE=none",
}


def read(name: str) -> dict[str, str]:
    """Read a file as the machine's own is read."""
    release = library.LinuxDistribution(
        include_lsb=False, include_uname=False, include_oslevel=False, os_release_file=str(FOLDER / name)
    )
    return release.os_release_info()


@pytest.mark.parametrize("name", KNOWN)
def test_the_family_of_a_distribution_is_told(name: str) -> None:
    assert distro.identify(read(name)) == KNOWN[name]


@pytest.mark.parametrize("name", UNKNOWN)
def test_one_of_another_family_is_refused_before_anything_is_changed(name: str) -> None:
    with pytest.raises(DroplanError) as caught:
        distro.identify(read(name))
    assert UNKNOWN[name] in str(caught.value)
    assert "nothing was changed" in str(caught.value)


def test_every_file_at_hand_is_looked_at() -> None:
    assert {path.name for path in FOLDER.iterdir()} == KNOWN.keys() | UNKNOWN.keys()


def test_without_os_release_it_says_so() -> None:
    with pytest.raises(DroplanError, match="ID=none, ID_LIKE=none"):
        distro.identify({})


def test_this_machine_is_told_without_starting_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "check_output", forbidden)
    monkeypatch.setattr(subprocess, "Popen", forbidden)
    assert distro.family(Files())
