"""Watch, in the foreground: what the unit runs."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from droplan_boot import paths, settings
from droplan_boot.errors import UsageError
from droplan_boot.host.command import SEARCH_PATH
from droplan_boot.host.doors import Host
from droplan_boot.watch import __main__ as start


def run(host: Host) -> NoReturn:
    """Become the watcher: a Python that has nothing of ours loaded yet, in this process's place.

    Raises:
        DroplanError: we are not root, or the state's directory is unsafe.
    """
    host.require_root()
    try:
        wanted = settings.load(host.environ, host.files)
    except UsageError as error:
        host.log.complain(f"watch: {error}")  # what it starts says so each time; it is no reason to stop listening
        wanted = settings.Settings()
    host.files.directory(paths.STATE)
    isolated = [sys.executable, "-I", "-S"]
    os.execve(  # noqa: S606 (no shell, no command of others)
        sys.executable,
        [
            *isolated,
            start.__file__,
            *(str(host.files.real(path)) for path in (paths.STATE, paths.WRITING, paths.SETTINGS)),
            str(wanted.interval * 60),
            "shared" if wanted.shared else "alone",
            *isolated,
            str(host.program.absolute()),
        ],
        {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8"},
    )
