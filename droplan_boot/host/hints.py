"""Name droplan's own commands in what people read so that typing them works.

``sudo`` has a search path of its own (sudoers(5), "secure_path"): Enterprise Linux leaves /usr/local/sbin out of it,
where the link to the program is. And before an installation there is only the file that was downloaded.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from droplan_boot import paths
from droplan_boot.errors import DroplanError
from droplan_boot.host.files import Files

_DOWNLOADED: Final = "python3 droplan.pyz"
_SUDOERS: Final = Path("/etc/sudoers")
_SUDOERS_D: Final = Path("/etc/sudoers.d")
_INCLUDED: Final = re.compile(rb"^\s*[#@]includedir\s+/etc/sudoers\.d/?\s*$", re.MULTILINE)
_RED_HAT: Final = Path("/etc/redhat-release")
"""There on Enterprise Linux and Fedora, and for everybody to read; the former is not."""

_SECURE_PATH: Final = re.compile(rb'^\s*Defaults\S*\s(?:.*[\s,])?secure_path\s*(\+?)=\s*"?([^"\s,]+)', re.MULTILINE)
COMMAND: Final = re.compile(r"(`(?:sudo )?(?:[A-Z_]+=\S+ )?)droplan(?=[ `])")
"""A command of droplan's in a sentence, in backquotes."""


def named(text: str, files: Files, *, schedule: bool = False) -> str:
    """Have the commands of droplan's in a text name the program by its full path, where sudo would not find it.

    Where it is not installed they name the file that was downloaded.

    Args:
        text: what is to be shown, with commands in backquotes.
        files: where sudo's settings are.
        schedule: whether it is said by what the schedule runs, which is there, and never by that file.
    """
    if not COMMAND.search(text):
        return text
    if not schedule and not files.exists(paths.PROGRAM):
        return COMMAND.sub(rf"\g<1>{_DOWNLOADED}", text)
    return text if _found_by_sudo(files) else COMMAND.sub(rf"\g<1>{paths.LINK}", text)


def _found_by_sudo(files: Files) -> bool:
    try:
        settings = _settings(files)
    except DroplanError:  # who is not root may not read it
        return not files.exists(_RED_HAT)
    folders: list[bytes] = []
    for more, value in _SECURE_PATH.findall(settings):
        folders = [*(folders if more else ()), *value.split(b":")]
    # Without that setting, or without sudo, it is the search path of whoever logs in.
    return not folders or bytes(paths.LINK.parent) in folders


def _settings(files: Files) -> bytes:
    """Read what sudo reads; of the folder, which comes last on all that we run on, what sudoers(5) does not skip."""
    settings = files.read(_SUDOERS) or b""
    if _INCLUDED.search(settings):
        for path in sorted(files.real(_SUDOERS_D).glob("*")):
            if "." not in path.name and not path.name.endswith("~"):
                settings += b"\n" + (files.read(_SUDOERS_D / path.name) or b"")
    return settings
