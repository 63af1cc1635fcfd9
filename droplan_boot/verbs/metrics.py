"""Print the metrics that the last run wrote, or put them where a collector reads them. Needs no root to print."""

from __future__ import annotations

import sys
from pathlib import Path

from droplan_boot.host.doors import Host
from droplan_boot.state import metrics


def run(host: Host, *, file: str | None = None) -> None:
    """Print them, or write them to a file in one step.

    Args:
        host: this machine.
        file: where to write them; None to print them.

    Raises:
        DroplanError: there are none, or they cannot be written.
    """
    data = metrics.load(host.files)
    if file is None:
        sys.stdout.write(data.decode())
    else:
        host.files.write(Path.cwd() / file, data, 0o644)
