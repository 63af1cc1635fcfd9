"""Where a new API token comes from, and how it gets into the settings file: never by way of argv or a log."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from droplan_boot.errors import UsageError
from droplan_boot.host.doors import Host
from droplan_boot.settings import TOKEN_NAMES

_LIMIT: Final = 4096
_QUESTION: Final = "API token (scope droplet:read; it is not shown): "


def from_file(host: Host, name: str) -> str:
    """Read a token from a file, or from stdin.

    Args:
        host: this machine.
        name: the file; ``-`` for stdin.

    Raises:
        UsageError: there is none in it.
    """
    if name == "-":
        text = host.stdin.read(_LIMIT)
        where = "stdin"
    else:
        where = name
        try:
            with host.files.real(_absolute(name)).open(encoding="utf-8", errors="replace") as file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    host.log.say(f"{name} can be read by others than its owner: `chmod 600 {name}`, or remove it now")
                text = file.read(_LIMIT)
        except OSError as error:
            raise UsageError(f"--token-file {name} cannot be read: {error.strerror}") from None
    found = text.strip()
    # A line of an environment file will do as well: DO_KEY=dop_v1_...
    name_of, equals, value = found.partition("=")
    token = value.strip("'\"") if equals and name_of.removeprefix("export ") in TOKEN_NAMES else found
    if not token or len(token.split()) != 1:
        raise UsageError(f"{where} holds no API token: put the token there, alone on one line")
    return token


def ask(host: Host) -> str | None:
    """Ask the person at the terminal for it; None when there is nobody to ask."""
    if host.scheduled or host.unattended:
        return None
    return host.prompt(_QUESTION) or None


def replaced(data: bytes, token: str) -> bytes:
    """Put a token into a settings file; every other line stays as it is.

    Args:
        data: the file.
        token: the new one.
    """
    ours = re.compile(rf"\s*(?:export )?(?:{'|'.join(TOKEN_NAMES)})=")
    lines = data.decode(errors="surrogateescape").splitlines()
    first = next((number for number, line in enumerate(lines) if ours.match(line)), None)
    kept = [line for line in lines if not ours.match(line)]
    kept.insert(len(kept) if first is None else min(first, len(kept)), f"DO_KEY={token}")
    return ("\n".join(kept) + "\n").encode(errors="surrogateescape")


def _absolute(name: str) -> Path:
    return Path(os.path.abspath(name))  # noqa: PTH100 (a link's target is not what was named)
