"""Put the last good answer's rules back, without the API: at boot, and when the watcher sees that they changed.

No network, cron or settings are needed: a typo must not open a boot.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from droplan_boot import paths
from droplan_boot.access.policy import Policy
from droplan_boot.errors import EXIT_DONE, DroplanError
from droplan_boot.flow import enforce, refreshing, repairing
from droplan_boot.host import dmi, lock
from droplan_boot.host.doors import Host
from droplan_boot.plural import counted
from droplan_boot.state import snapshot
from droplan_boot.state.snapshot import Snapshot
from droplan_boot.watch.children import REPAIRED


def run(host: Host, *, repair: bool = False, links: bool = False) -> int:
    """Restore.

    Args:
        host: this machine.
        repair: say nothing when nothing was wrong; the watcher asks for that.
        links: ask the metadata service first how the interfaces are called now; only with ``repair``.

    Returns:
        The exit code: 10 when a repair found something wrong.

    Raises:
        DroplanError: there is no snapshot, or its rules could not be written.
    """
    host.require_root()
    where = repairing.here(host) if links and host.files.exists(paths.SNAPSHOT) else None
    with ExitStack() as locks:
        if links:  # not between a refresh's questions and its rules, which would name the interfaces as they were
            locks.enter_context(lock.held(host.files.real(paths.LOCK), wait=refreshing.LOCK_S))
        locks.enter_context(lock.held(host.files.real(paths.WRITING), wait=enforce.WRITING_S))
        if repair and not host.files.exists(paths.SNAPSHOT):
            return EXIT_DONE  # nothing has been enforced yet
        found = snapshot.load(host.files)
        unknown = snapshot.unknown(host.files)
        if unknown is not None:
            enforce.policy(host, "auto", snapshot.closed(host.files))
            raise DroplanError(
                f"closed to all until the next refresh: {paths.SNAPSHOT} is of version {unknown}, which a later "
                "droplan wrote and this one cannot read; run `droplan refresh`, or install the later droplan again"
            )
        if found is None:
            raise DroplanError("there is no snapshot to restore: `droplan refresh` makes one")
        policy = trusted(found, dmi.droplet_id(host.files))
        if repair:
            return REPAIRED if repairing.now(host, found, policy, where) else EXIT_DONE
        done = enforce.policy(host, found.backend, policy, known=((), found.peers))
    if policy.observe:
        host.log.say("Restored: droplan only observes (DROPLAN_MODE=observe), and nobody is shut out")
    elif not found.answered:
        host.log.say("No answer has named the peers yet: closed to all but DROPLAN_ALLOW until the next refresh")
    elif policy != found.policy:
        host.log.say(f"The snapshot is Droplet {found.droplet_id}'s, not ours: closed to all until the next refresh")
    elif done.changed:
        host.log.say(f"Restored {counted(len(policy.segments[0].peers), 'peer')} from the snapshot")
    else:
        host.log.say("The rules are those of the snapshot already: nothing was added")
    return EXIT_DONE


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
    return replace(
        found.policy, segments=tuple(replace(segment, peers=(), known=()) for segment in found.policy.segments)
    )
