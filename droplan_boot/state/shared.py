"""``/var/lib/droplan/shared.json`` and ``shared.base``: what a member of a fleet believed last."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from droplan_boot import paths
from droplan_boot.host.files import Files
from droplan_boot.sources.shared.member import Seen


@dataclass(frozen=True)
class Kept:
    """On disk: a :class:`Memory`.

    Args:
        files: the file system.
    """

    files: Files

    def seen(self, fleet: str) -> Seen | None:
        """Tell what was believed last of this fleet; None when nothing was, or the file makes no sense."""
        found = load(self.files)
        return found if found and found.fleet == fleet else None

    def keep(self, seen: Seen) -> None:
        """Keep what is believed now, if it is anything new.

        Raises:
            DroplanError: it cannot be written.
        """
        if load(self.files) != seen:
            self.files.write(paths.SHARED, json.dumps(asdict(seen), indent=1).encode() + b"\n", 0o600)

    def base(self) -> bytes | None:
        """Return the base that was kept."""
        return self.files.read(paths.SHARED_BASE)

    def keep_base(self, data: bytes) -> None:
        """Keep a base.

        Raises:
            DroplanError: it cannot be written.
        """
        self.files.write(paths.SHARED_BASE, data, 0o600)


def load(files: Files) -> Seen | None:
    """Read what was believed last; None when nothing was, or the file makes no sense."""
    try:
        value = json.loads(files.read(paths.SHARED) or b"")
        return Seen(
            fleet=str(value["fleet"]),
            version=int(value["version"]),
            issued=int(value["issued"]),
            expires=int(value["expires"]),
            interval=int(value["interval"]),
            publisher=str(value["publisher"]),
            sha256=str(value["sha256"]),
            droplet=int(value["droplet"]),
            listed=bool(value["listed"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def blind(files: Files, fleet: str, now: float, *, failed: bool = False) -> Iterator[str]:
    """Say why a member does not know who the peers are now: for ``status``, which then exits 5.

    Args:
        files: the file system.
        fleet: the value of DROPLAN_SHARED.
        now: seconds since the epoch.
        failed: whether the last refresh failed.
    """
    seen = Kept(files).seen(fleet)
    if seen is None:
        yield f"nothing of the fleet at {fleet} was believed yet: `droplan refresh` says why"
    elif seen.expires <= now:
        yield (
            f"the fleet's list is of version {seen.version} and {(now - seen.issued) / 60:.0f} min old, and no newer "
            "one is believed: `droplan refresh` says why, `droplan fleet` whether a publisher runs"
        )
    elif failed:
        yield (
            f"the last refresh read no list that can be believed: the rules are those of version {seen.version}, "
            f"{(now - seen.issued) / 60:.0f} min old"
        )
    elif not seen.listed:
        yield "this Droplet is not in the fleet's list yet: its peers close it out until it is"
