"""Which distribution this is: by the os-release files that they ship, in os-release/."""

from __future__ import annotations

from pathlib import Path

import distro as library
import pytest

from droplan_boot.errors import DroplanError
from droplan_boot.host import distro
from droplan_boot.host.files import Files

FOLDER = Path(__file__).parent / "os-release"

KNOWN = {
    "debian-11": ("Debian GNU/Linux 11 (bullseye)", "debian", "11", "debian"),
    "debian-12": ("Debian GNU/Linux 12 (bookworm)", "debian", "12", "debian"),
    "debian-13": ("Debian GNU/Linux 13 (trixie)", "debian", "13", "debian"),
    "ubuntu-20.04": ("Ubuntu 20.04.6 LTS", "ubuntu", "20.04", "debian"),
    "ubuntu-22.04": ("Ubuntu 22.04.5 LTS", "ubuntu", "22.04", "debian"),
    "ubuntu-24.04": ("Ubuntu 24.04.3 LTS", "ubuntu", "24.04", "debian"),
    "linuxmint-22": ("Linux Mint 22.1", "linuxmint", "22.1", "debian"),
    "pop-22.04": ("Pop!_OS 22.04 LTS", "pop", "22.04", "debian"),
    "raspbian-12": ("Raspbian GNU/Linux 12 (bookworm)", "raspbian", "12", "debian"),
    "centos-7": ("CentOS Linux 7 (Core)", "centos", "7", "el"),
    "almalinux-8": ("AlmaLinux 8.10 (Cerulean Leopard)", "almalinux", "8.10", "el"),
    "almalinux-9": ("AlmaLinux 9.6 (Sage Margay)", "almalinux", "9.6", "el"),
    "almalinux-10": ("AlmaLinux 10.0 (Purple Lion)", "almalinux", "10.0", "el"),
    "rocky-8": ("Rocky Linux 8.10 (Green Obsidian)", "rocky", "8.10", "el"),
    "rocky-9": ("Rocky Linux 9.6 (Blue Onyx)", "rocky", "9.6", "el"),
    "rocky-10": ("Rocky Linux 10.0 (Red Quartz)", "rocky", "10.0", "el"),
    "rhel-9": ("Red Hat Enterprise Linux 9.6 (Plow)", "rhel", "9.6", "el"),
    "centos-stream-9": ("CentOS Stream 9", "centos", "9", "el"),
    "centos-stream-10": ("CentOS Stream 10 (Coughlan)", "centos", "10", "el"),
    "fedora-42": ("Fedora Linux 42 (Cloud Edition)", "fedora", "42", "el"),
    "amazon-2023": ("Amazon Linux 2023.8.20250721", "amzn", "2023", "el"),
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
def test_a_distribution_is_told_with_its_family(name: str) -> None:
    assert distro.identify(read(name)) == distro.Distribution(*KNOWN[name])


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


def test_one_that_names_itself_only_is_called_by_name_and_version() -> None:
    found = distro.identify({"id": "debian", "name": "Debian", "version_id": "12"})
    assert found.name == "Debian 12"
    assert distro.identify({"id": "debian"}).name == "debian"


def test_this_machine_is_told_without_starting_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "check_output", forbidden)
    monkeypatch.setattr(subprocess, "Popen", forbidden)
    assert distro.detect(Files()).id
