"""What is enforced, on disk: what is restored at boot without any network, and what ``status`` compares with.

That is the last good answer, or, where there was none yet and DROPLAN_FAIL_CLOSED is set, that nobody may come in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from droplan_boot import paths
from droplan_boot.access import policy as policies
from droplan_boot.access.policy import Policy
from droplan_boot.host.files import Files

NOBODY: Final = 0
"""No Droplet's number: nobody learned who the peers are, and the interface is closed until somebody does."""


@dataclass(frozen=True)
class Snapshot:
    """What was learned and when.

    Args:
        droplet_id: the Droplet that learned it, or NOBODY.
        written: seconds since the epoch.
        policy: who may come in.
    """

    droplet_id: int
    written: float
    policy: Policy

    @property
    def answered(self) -> bool:
        """Whether an answer named the peers."""
        return self.droplet_id != NOBODY


def load(files: Files) -> Snapshot | None:
    """Read the snapshot; None when there is none, or none that makes sense."""
    data = files.read(paths.SNAPSHOT)
    if data is None:
        return None
    try:
        value = json.loads(data)
        return Snapshot(int(value["droplet_id"]), float(value["written"]), policies.from_json(value["policy"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def store(files: Files, snapshot: Snapshot) -> None:
    """Write the snapshot.

    Raises:
        DroplanError: it cannot be written; the one before is still there.
    """
    value = {
        "droplet_id": snapshot.droplet_id,
        "written": snapshot.written,
        "policy": policies.to_json(snapshot.policy),
    }
    files.write(paths.SNAPSHOT, json.dumps(value).encode() + b"\n", 0o600)
