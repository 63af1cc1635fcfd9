"""The program file: the zipapp that is running, made to start with the right Python."""

from __future__ import annotations

import sys
from pathlib import Path

from droplan_boot.errors import DroplanError
from droplan_boot.host.doors import Host


def image(host: Host) -> bytes:
    """Read the zipapp that is running and have it start with the interpreter that runs it now.

    Raises:
        DroplanError: droplan does not run from a zipapp.
    """
    data = host.files.read(host.program) or b""
    shebang, newline, rest = data.partition(b"\n")
    if not shebang.startswith(b"#!") or not rest.startswith(b"PK"):
        raise DroplanError("install works from the zipapp only: build it with script/build and run dist/droplan.pyz")
    return b"#!" + interpreter().encode() + b" -IS" + newline + rest


def interpreter() -> str:
    """Name the Python that cron is to use: the distribution's python3 if it is the one we run on, else our own path.

    The general name survives an upgrade of the distribution; the particular one may not.
    """
    general = Path("/usr/bin/python3")
    own = Path(sys.executable)
    return str(general if general.exists() and general.resolve() == own.resolve() else own)
