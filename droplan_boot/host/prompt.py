"""Ask the person at the terminal for a secret, and show nothing of it."""

from __future__ import annotations

import sys


def secret(question: str) -> str | None:
    """Ask on the terminal without echo, also where stdin is a pipe, as in ``curl ... | sudo python3 -``.

    Args:
        question: what is shown.

    Returns:
        What was typed; None when nobody is at a terminal.
    """
    if not sys.stderr.isatty():
        return None
    try:
        with open("/dev/tty", "rb"):
            pass
    except OSError:
        return None  # no terminal controls this process: cron, cloud-init, a CI job
    import getpass

    try:
        return getpass.getpass(question).strip()
    except EOFError:
        return None
