"""Which family of distributions this is, and so which package manager's habits it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from droplan_boot.errors import DroplanError
from droplan_boot.host.files import Files

# By the family's own names in ID and ID_LIKE, os-release(5): derivatives say whom they are like.
_FAMILIES: Final = {"debian": "debian", "ubuntu": "debian", "rhel": "el", "centos": "el", "fedora": "el"}


def family(files: Files) -> str:
    """Tell this machine's family: ``debian`` (apt) or ``el`` (dnf or yum).

    Raises:
        DroplanError: it is none we know; nothing was changed.
    """
    import distro

    # lsb_release and uname are processes, and os-release has been everywhere since 2012.
    release = distro.LinuxDistribution(
        include_lsb=False, include_uname=False, include_oslevel=False, root_dir=str(files.root)
    )
    return identify(release.os_release_info())


def identify(release: Mapping[str, str]) -> str:
    """Tell the family from os-release's fields (lower-case names, as the library ``distro`` returns them).

    Raises:
        DroplanError: neither ID nor ID_LIKE names a family we know.
    """
    own = release.get("id", "")
    for word in (own, *release.get("id_like", "").split()):
        if word in _FAMILIES:
            return _FAMILIES[word]
    raise DroplanError(
        f"this distribution is unknown (ID={own or 'none'}, ID_LIKE={release.get('id_like') or 'none'}), so nothing "
        "was changed: droplan installs on Debian, Ubuntu, CentOS, RHEL, Fedora and what derives from them"
    )
