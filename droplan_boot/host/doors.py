"""The doors through which droplan reaches the machine, together. Verbs build none of them themselves."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Final, TextIO

from droplan_boot.errors import DroplanError
from droplan_boot.host.clock import Clock, MachineClock
from droplan_boot.host.command import Commands, Runner
from droplan_boot.host.files import Files
from droplan_boot.host.log import Log, Terminal
from droplan_boot.host.prompt import secret

if TYPE_CHECKING:
    from droplan_boot.host.http import Http
    from droplan_boot.host.nfnetlink import Generation

_SYSTEMD: Final = Path("/run/systemd/system")


def _session(clock: Clock) -> Http:
    from droplan_boot.host.http import Http  # requests is half of a start, and status and restore need none

    return Http(clock)


def _table_stands(table: str) -> bool:
    from droplan_boot.host import nfnetlink  # the day that nft does not answer

    return nfnetlink.table_stands(table)


def _generation() -> Generation | None:
    from droplan_boot.host import nfnetlink  # status asks nothing of it, and the watcher has its own lines

    return nfnetlink.generation()


@dataclass(frozen=True)
class Host:
    """This machine.

    Args:
        runner: runs commands.
        files: reads and writes files, those of /proc and /sys among them.
        log: says what happened.
        clock: tells the time.
        session: opens a session that speaks HTTP.
        table_stands: asks the kernel itself whether a table of nf_tables is there, ``inet droplan`` say.
        generation: tells how far nf_tables has come; None where the kernel does not tell.
        environ: the environment droplan was started with.
        prompt: asks the person at the terminal for a secret; returns None when nobody is there.
        stdin: what is piped in.
        uid: who runs it.
        program: the file that runs: the zipapp.
        scheduled: whether the schedule started it, not a person.
        unattended: whether user data started it: no person is there to be asked.
        force: whether a person said to go on where droplan refuses for safety.
    """

    runner: Runner = field(default_factory=Commands)
    files: Files = field(default_factory=Files)
    log: Log = field(default_factory=Terminal)
    clock: Clock = field(default_factory=MachineClock)
    session: Callable[[Clock], Http] = _session
    table_stands: Callable[[str], bool] = _table_stands
    generation: Callable[[], Generation | None] = _generation
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)  # the token may be in it
    prompt: Callable[[str], str | None] = secret
    stdin: TextIO = field(default_factory=lambda: sys.stdin, repr=False)
    uid: int = field(default_factory=lambda: os.geteuid())
    program: Path = field(default_factory=lambda: Path(sys.argv[0]).resolve())
    scheduled: bool = False
    unattended: bool = False
    force: bool = False

    def has_systemd(self) -> bool:
        """Whether systemd runs this machine, sd_booted(3); it does not in a container."""
        return self.files.real(_SYSTEMD).is_dir()

    def hint(self, text: str) -> str:
        """Name droplan's own commands in a text as they are found here; whatever a verb prints goes through this."""
        from droplan_boot.host import hints  # a refresh prints nothing, and starts lean

        return hints.named(text, self.files)

    def require_root(self) -> None:
        """See that we may do this at all.

        Raises:
            DroplanError: we are not root.
        """
        if self.uid != 0:
            raise DroplanError("droplan must run as root: put `sudo` in front")
