"""Which distribution this is, and which package manager's habits it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from droplan_boot.errors import DroplanError
from droplan_boot.host.files import Files

# By the family's own names in ID and ID_LIKE, os-release(5): derivatives say whom they are like.
_FAMILIES: Final = {"debian": "debian", "ubuntu": "debian", "rhel": "el", "centos": "el", "fedora": "el"}


@dataclass(frozen=True)
class Distribution:
    """A distribution we know how to install on.

    Args:
        name: as people call it, with its version.
        id: ``ID`` of os-release.
        version: ``VERSION_ID``; "" for a rolling one.
        family: ``debian`` (apt) or ``el`` (dnf or yum).
    """

    name: str
    id: str
    version: str
    family: str


def detect(files: Files) -> Distribution:
    """Read this machine's os-release.

    Raises:
        DroplanError: it is none we know; nothing was changed.
    """
    import distro

    # lsb_release and uname are processes, and os-release has been everywhere since 2012.
    release = distro.LinuxDistribution(
        include_lsb=False, include_uname=False, include_oslevel=False, root_dir=str(files.root)
    )
    return identify(release.os_release_info())


def identify(release: Mapping[str, str]) -> Distribution:
    """Tell the family from os-release's fields (lower-case names, as the library ``distro`` returns them).

    Raises:
        DroplanError: neither ID nor ID_LIKE names a family we know.
    """
    own = release.get("id", "")
    for word in (own, *release.get("id_like", "").split()):
        if word in _FAMILIES:
            name = release.get("pretty_name") or f"{release.get('name', own)} {release.get('version_id', '')}".strip()
            return Distribution(name, own, release.get("version_id", ""), _FAMILIES[word])
    raise DroplanError(
        f"this distribution is unknown (ID={own or 'none'}, ID_LIKE={release.get('id_like') or 'none'}), so nothing "
        "was changed: droplan installs on Debian, Ubuntu, CentOS, RHEL, Fedora and what derives from them"
    )
