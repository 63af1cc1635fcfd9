"""The schedule: what /etc/cron.d/droplan and /opt/droplan/refresh.sh hold. Pure.

A fleet of Droplets must not call the API in the same second, so minute and second are spread by Droplet number.
"""

from __future__ import annotations

import hashlib
import re
import time
from typing import Final

from droplan_boot import paths
from droplan_boot.host.command import SEARCH_PATH

CRONS: Final = ("cron", "crond")
"""How Debian and Enterprise Linux call what runs it."""

REFRESH: Final = f"""\
#!/bin/sh
# What cron runs (see {paths.CRON}). Written by `droplan install`, which undoes changes made here.
# The environment is emptied, so that nothing in it decides what root runs.
exec env -i PATH={SEARCH_PATH} {paths.PROGRAM} refresh --scheduled
"""


def cron(interval: int, droplet_id: int) -> str:
    """Write the cron file.

    Args:
        interval: minutes between refreshes, 1 to 60.
        droplet_id: this Droplet's number.
    """
    minute, second = _spread(interval, droplet_id)
    # A step that does not divide the hour would leave a longer gap at its end, so those minutes are listed.
    steps = range(minute, minute + 60, interval)
    minutes = (
        f"{minute}-59/{interval}"
        if interval < 60 and 60 % interval == 0
        else ",".join(str(at) for at in sorted(at % 60 for at in steps))
    )
    return f"""\
# Keeps the peers up to date, every {interval} min. Written by `droplan install`, which undoes changes made here.
SHELL=/bin/sh
PATH={SEARCH_PATH}
{minutes} * * * * root sleep {second}; {paths.REFRESH}
@reboot root sleep {second}; {paths.REFRESH}
"""


def next_run(text: str, now: float) -> float | None:
    """Find when cron runs it next.

    Args:
        text: the cron file, as :func:`cron` writes it.
        now: seconds since the epoch.

    Returns:
        Seconds since the epoch; None when the file is another.
    """
    found = re.search(
        r"^(?:(\d{1,2})-59/(\d{1,2})|(\d{1,2}(?:,\d{1,2})*)) \* \* \* \* root sleep (\d{1,2});",
        text,
        re.MULTILINE | re.ASCII,
    )
    if not found:
        return None
    minutes = (
        {int(at) for at in found[3].split(",")} if found[3] else set(range(int(found[1]), 60, int(found[2]) or 60))
    )
    start = now - now % 60
    for ahead in range(62):
        at = start + ahead * 60
        if time.localtime(at).tm_min in minutes and at + int(found[4]) > now:
            return at + int(found[4])
    return None


def _spread(interval: int, droplet_id: int) -> tuple[int, int]:
    """Choose minute and second. Numbers of Droplets made together follow each other, so they are hashed."""
    digest = int.from_bytes(hashlib.sha256(str(droplet_id).encode()).digest()[:8], "big")
    return digest % interval, digest // interval % 60
