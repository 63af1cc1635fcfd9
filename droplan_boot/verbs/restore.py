"""Put the last good answer's rules back at boot, without any network."""

from __future__ import annotations

from dataclasses import replace

from droplan_boot import paths, settings
from droplan_boot.access.policy import Policy
from droplan_boot.errors import DroplanError
from droplan_boot.flow import enforce, refreshing
from droplan_boot.host import dmi, lock
from droplan_boot.host.doors import Host
from droplan_boot.state import snapshot
from droplan_boot.state.snapshot import Snapshot


def run(host: Host) -> None:
    """Restore.

    Raises:
        DroplanError: there is no snapshot, or its rules could not be written.
    """
    host.require_root()
    wanted, mistake = settings.tolerant(host.environ, host.files)
    if mistake:
        host.log.complain(f"Restoring all the same: {mistake}")
    with lock.held(host.files.real(paths.LOCK), wait=refreshing.LOCK_S):
        found = snapshot.load(host.files)
        unknown = snapshot.unknown(host.files)
        if unknown:
            enforce.policy(host, wanted, snapshot.closed(host.files))
            raise DroplanError(f"closed to all until the next refresh: {unknown}")
        if found is None:
            raise DroplanError("there is no snapshot to restore: `droplan refresh` makes one")
        policy = trusted(found, dmi.droplet_id(host.files))
        done = enforce.policy(host, wanted, policy)
    if not found.answered:
        host.log.say("No answer has named the peers yet: closed to all but DROPLAN_ALLOW until the next refresh")
    elif policy != found.policy:
        host.log.say(f"The snapshot is Droplet {found.droplet_id}'s, not ours: closed to all until the next refresh")
    elif done.changed:
        host.log.say(f"Restored {len(policy.segments[0].peers)} peers from the snapshot")
    else:
        host.log.say("The rules are those of the snapshot already: nothing was added")


def trusted(found: Snapshot, droplet_id: int | None) -> Policy:
    """Decide what of a snapshot to believe.

    Args:
        found: the snapshot.
        droplet_id: who this Droplet is, None when that cannot be told.

    Returns:
        Its policy; without its peers when another Droplet made it: an image of a Droplet may have been booted in
        another account, whose Droplets are strangers to those.
    """
    if droplet_id in (None, found.droplet_id):
        return found.policy
    return replace(found.policy, segments=tuple(replace(segment, peers=()) for segment in found.policy.segments))
