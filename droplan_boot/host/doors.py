"""The doors through which droplan reaches the machine, together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from droplan_boot.errors import DroplanError
from droplan_boot.host.command import Commands, Runner
from droplan_boot.host.files import Files
from droplan_boot.host.log import Log, Terminal

_SYSTEMD: Final = Path("/run/systemd/system")


@dataclass(frozen=True)
class Host:
    """This machine.

    Args:
        runner: runs commands.
        files: reads and writes files.
        log: says what happened.
        environ: the environment droplan was started with.
        scheduled: whether the schedule started it, not a person.
        force: whether a person said to go on although their SSH session will be cut.
    """

    runner: Runner = field(default_factory=Commands)
    files: Files = field(default_factory=Files)
    log: Log = field(default_factory=Terminal)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)  # the token may be in it
    scheduled: bool = False
    force: bool = False

    def has_systemd(self) -> bool:
        """Whether systemd runs this machine, sd_booted(3); it does not in a container."""
        return self.files.real(_SYSTEMD).is_dir()


def require_root() -> None:
    """See that we may do this at all.

    Raises:
        DroplanError: we are not root.
    """
    if os.geteuid() != 0:
        raise DroplanError("droplan must run as root: put `sudo` in front")
