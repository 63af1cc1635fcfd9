"""What the watcher starts as its child where DROPLAN_SHARED is set; it is no verb for people."""

from __future__ import annotations

import gc

from droplan_boot import settings
from droplan_boot.errors import UsageError
from droplan_boot.flow.polling import Polling
from droplan_boot.host.doors import Host


def run(host: Host) -> None:
    """Poll until stopped.

    Raises:
        UsageError: there is no shared source to poll.
    """
    host.require_root()
    wanted = settings.load(host.environ, host.files)
    if not wanted.shared:
        raise UsageError("there is nothing to poll: set DROPLAN_SHARED")
    gc.enable()  # the zipapp turns it off, for runs of a second
    polling = Polling(host, wanted)
    while True:
        polling.step()
