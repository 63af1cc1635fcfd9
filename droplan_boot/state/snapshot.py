"""What is enforced, on disk: what is restored at boot without any network, and what ``status`` compares with.

That is the last good answer, or, where there was none yet and DROPLAN_FAIL_CLOSED is set, that nobody may come in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from droplan_boot import paths
from droplan_boot.access import policy as policies
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.host.files import Files
from droplan_boot.sources.listing import Droplet

NOBODY: Final = 0
"""No Droplet's number: nobody learned who the peers are, and the interface is closed until somebody does."""

VERSION: Final = 2
"""Of the file's format. 1 is droplan 1.0.0's, which names none and knows no Droplets, only their addresses."""


@dataclass(frozen=True)
class Snapshot:
    """What was learned and when.

    Args:
        droplet_id: the Droplet that learned it, or NOBODY.
        written: seconds since the epoch.
        policy: who may come in.
        peers: the Droplets that may; none in a snapshot of droplan 1.0.0's.
        settings: which settings file it was learned with, as :func:`droplan_boot.settings.fingerprint` tells; "" when
            not told.
    """

    droplet_id: int
    written: float
    policy: Policy
    peers: tuple[Droplet, ...] = ()
    settings: str = ""

    @property
    def answered(self) -> bool:
        """Whether an answer named the peers."""
        return self.droplet_id != NOBODY


def load(files: Files) -> Snapshot | None:
    """Read the snapshot; None when there is none, or none that makes sense."""
    value = _read(files)
    try:
        return None if value is None else _from_json(value)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def unknown(files: Files) -> str:
    """Say in a sentence why a snapshot that a later droplan wrote is not read; "" when that is not so."""
    value = _read(files)
    version = value.get("version") if isinstance(value, dict) else None
    if not isinstance(version, int) or version <= VERSION:
        return ""
    return (
        f"{paths.SNAPSHOT} is of version {version}, which a later droplan wrote and this one cannot read: "
        "run `droplan refresh`, or install the later droplan again"
    )


def closed(files: Files) -> Policy:
    """Decide what to enforce in place of a snapshot that cannot be read: that nobody comes in.

    The interfaces are those that it names where every version so far names them, else the one that DigitalOcean's
    images call the private one.
    """
    try:
        segments = [
            Segment(bool(one["public"]), tuple(str(name) for name in one["interfaces"]), ())
            for one in _read(files)["policy"]["segments"]
        ]
    except (TypeError, KeyError):
        segments = []
    return Policy(tuple(segments) or (Segment(False, ("eth1",), ()),))


def store(files: Files, snapshot: Snapshot) -> None:
    """Write the snapshot.

    Raises:
        DroplanError: it cannot be written; the one before is still there.
    """
    value = {
        "version": VERSION,
        "droplet_id": snapshot.droplet_id,
        "written": snapshot.written,
        "policy": policies.to_json(snapshot.policy),
        "peers": [droplet.to_json() for droplet in snapshot.peers],
        "settings": snapshot.settings,
    }
    files.write(paths.SNAPSHOT, json.dumps(value).encode() + b"\n", 0o600)


def _read(files: Files) -> Any:
    data = files.read(paths.SNAPSHOT)
    try:
        return None if data is None else json.loads(data)
    except (ValueError, RecursionError):
        return None


def _from_json(value: Any) -> Snapshot:
    if not isinstance(value, dict):
        raise TypeError("no object")
    version = value.get("version", 1)
    if version not in (1, VERSION):
        raise ValueError(f"snapshot version {version}")
    return Snapshot(
        droplet_id=int(value["droplet_id"]),
        written=float(value["written"]),
        policy=policies.from_json(value["policy"]),
        peers=tuple(Droplet.from_json(droplet) for droplet in value["peers"]) if version == VERSION else (),
        settings=str(value.get("settings", "")),
    )
