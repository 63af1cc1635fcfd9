"""One refresh, from the question to the report: what the verb of that name, and an install at its end, do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from droplan_boot.errors import DroplanError
from droplan_boot.flow import enforce, learn
from droplan_boot.flow.learn import Learned
from droplan_boot.host.doors import Host
from droplan_boot.settings import Settings

LOCK_S: Final = 10.0
"""How long a second droplan waits for the first."""


def now(host: Host, wanted: Settings, known: Learned | None = None) -> None:
    """Refresh, with the lock held, and write the report whatever comes of it.

    Args:
        host: this machine.
        wanted: the settings.
        known: what was learned a moment ago; None to learn it now.

    Raises:
        DroplanError: the rules are as they were.
    """
    started = host.clock.monotonic()
    try:
        answer = known or _ask(host, wanted)
        changed, how = enforce.learned(host, wanted, answer)
    except DroplanError as error:
        enforce.failed(host, error, host.clock.monotonic() - started)
        raise
    enforce.succeeded(host, started, answer, changed, how)


def spare_session(host: Host, answer: Learned) -> None:
    """Refuse to cut the SSH session of the person who started this, unless they said so.

    Raises:
        RefusedError: it would be cut.
    """
    if not host.scheduled and not host.force:
        from droplan_boot.access import lockout  # the schedule has no session to spare, and starts lean
        from droplan_boot.host.sessions import ssh_sessions

        lockout.check(answer.policy, answer.here, ssh_sessions(host.environ, host.files.real(Path("/proc"))))


def _ask(host: Host, wanted: Settings) -> Learned:
    """Learn who the peers are, and see that a person's own SSH session goes on with them.

    Raises:
        NoAnswerError: there was no complete answer.
        RefusedError: the session would be cut.
    """
    http = host.session(host.clock)
    answer = learn.who(host, http, wanted, learn.where(host, http, wanted))
    spare_session(host, answer)
    return answer
