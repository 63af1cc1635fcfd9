"""What is enforced, on disk: what is restored at boot without any network, and what ``status`` compares with.

That is the last good answer, or, where there was none yet and DROPLAN_FAIL_CLOSED is set, that nobody may come in.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from droplan_boot import paths
from droplan_boot.access import policy as policies
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.errors import DroplanError
from droplan_boot.host.files import Files
from droplan_boot.sources.listing import Droplet

NOBODY: Final = 0
"""No Droplet's number: nobody learned who the peers are, and the interface is closed until somebody does."""

VERSION: Final = 2
"""Of the file's format. 1 is droplan 1.0.0's, which names none and knows no Droplets, only their addresses."""


_WRITTEN: Final = b'"written": '
"""Before it, :func:`store` puts nothing that anybody chose."""

# What reading something else than a snapshot may raise.
_NONSENSE: Final = (ValueError, TypeError, KeyError, OverflowError, RecursionError)


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
        backend: the setting DROPLAN_BACKEND that it was enforced with, so that a boot needs no settings.
        named: the Droplets that names in DROPLAN_ALLOW stand for and that are no peers; none in a snapshot of before.
    """

    droplet_id: int
    written: float
    policy: Policy
    peers: tuple[Droplet, ...] = ()
    settings: str = ""
    backend: str = "auto"
    named: tuple[Droplet, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether an answer named the peers."""
        return self.droplet_id != NOBODY


def load(files: Files) -> Snapshot | None:
    """Read the snapshot; None when there is none, or none that makes sense."""
    value = _read(files)
    try:
        return None if value is None else _from_json(value)
    except _NONSENSE:
        return None


def enforced(files: Files) -> Policy | None:
    """Read who may come in, and not which Droplets they are: ten thousand of those take longer than their rules."""
    value = _read(files)
    try:
        return None if value is None else _policy(value)
    except _NONSENSE:
        return None


def unknown(files: Files) -> int | None:
    """Tell the version of a snapshot that a later droplan wrote, and that :func:`load` therefore does not read."""
    value = _read(files)
    version = value.get("version") if isinstance(value, dict) else None
    return version if isinstance(version, int) and version > VERSION else None


def closed(files: Files) -> Policy:
    """Decide what to enforce in place of a snapshot that cannot be read: that nobody comes in.

    The interfaces are those that it names where every version so far names them, else the one that DigitalOcean's
    images call the private one. What only observed goes on observing.
    """
    observe = False
    try:
        value = _read(files)["policy"]
        segments = [
            Segment(bool(one["public"]), tuple(str(name) for name in one["interfaces"]), ())
            for one in value["segments"]
        ]
        observe = value.get("observe") is True
    except (TypeError, KeyError, AttributeError):
        segments = []
    return Policy(tuple(segments) or (Segment(False, ("eth1",), ()),), observe=observe)


def store(files: Files, snapshot: Snapshot) -> str:
    """Write the snapshot, and its outline for the watcher.

    Returns:
        A fingerprint of its policy: another for whatever is to be enforced otherwise.

    Raises:
        DroplanError: it cannot be written; the one before is still there.
    """
    policy = policies.to_json(snapshot.policy)
    value = {
        "version": VERSION,
        "droplet_id": snapshot.droplet_id,
        "written": snapshot.written,
        "policy": policy,
        "peers": [droplet.to_json() for droplet in snapshot.peers],
        "settings": snapshot.settings,
        "backend": snapshot.backend,
        "named": [droplet.to_json() for droplet in snapshot.named],
    }
    files.write(paths.SNAPSHOT, json.dumps(value).encode() + b"\n", 0o600)
    files.ensure(paths.OUTLINE, json.dumps(_outline(snapshot.policy)).encode() + b"\n", 0o600)
    return hashlib.sha256(json.dumps(policy).encode()).hexdigest()


def renew(files: Files, written: float) -> None:
    """Say of the snapshot that it was learned again: for ten thousand Droplets cheaper than to write it anew.

    Args:
        files: the file system.
        written: when, seconds since the epoch.

    Raises:
        DroplanError: it cannot be written; the one before is still there.
    """
    head, name, rest = (files.read(paths.SNAPSHOT) or b"").partition(_WRITTEN)
    if not name:
        raise DroplanError(f"{paths.SNAPSHOT} went away during this run: the next one writes it anew")
    _, comma, rest = rest.partition(b",")
    files.write(paths.SNAPSHOT, head + name + json.dumps(written).encode() + comma + rest, 0o600)


def _outline(policy: Policy) -> dict[str, list[str]]:
    """Tell the interfaces, and of the private ones the networks (none: not known, the watcher then takes any)."""
    return {
        "interfaces": [name for segment in policy.segments for name in segment.interfaces],
        "networks": [
            str(network) for segment in policy.segments if not segment.public for network in segment.networks
        ],
    }


def _read(files: Files) -> Any:
    data = files.read(paths.SNAPSHOT)
    try:
        return None if data is None else json.loads(data)
    except (ValueError, RecursionError):
        return None


def _from_json(value: Any) -> Snapshot:
    policy = _policy(value)
    return Snapshot(
        droplet_id=int(value["droplet_id"]),
        written=float(value["written"]),
        policy=policy,
        peers=tuple(Droplet.from_json(droplet) for droplet in value["peers"]) if "version" in value else (),
        settings=str(value.get("settings", "")),
        # Whatever else stands there: a boot is to be closed all the same.
        backend=str(value["backend"]) if value.get("backend") in ("iptables", "nftables") else "auto",
        named=tuple(Droplet.from_json(droplet) for droplet in value.get("named", ())),
    )


def _policy(value: Any) -> Policy:
    if not isinstance(value, dict):
        raise TypeError("no object")
    version = value.get("version", 1)
    if version not in (1, VERSION):
        raise ValueError(f"snapshot version {version}")
    return policies.from_json(value["policy"])
