"""Put right what another program changed: from the snapshot, without the API."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from droplan_boot import settings
from droplan_boot.access.here import Here
from droplan_boot.access.policy import Policy
from droplan_boot.errors import DroplanError
from droplan_boot.flow import enforce, learn
from droplan_boot.host.doors import Host
from droplan_boot.host.log import Log
from droplan_boot.state import snapshot
from droplan_boot.state.snapshot import Snapshot


@dataclass
class _Later:
    """Keeps what would be said until it is known whether that is worth a line: most looks find nothing wrong."""

    lines: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.lines.append(text)

    def show(self, text: str) -> None:
        pass

    def complain(self, text: str) -> None:
        self.lines.append(text)

    def detail(self, text: str) -> None:
        self.lines.append(text)


def now(host: Host, found: Snapshot, policy: Policy, where: Here | None = None) -> bool:
    """Make the kernel's rules what the snapshot says, with the lock of writers held.

    Args:
        host: this machine.
        found: the snapshot.
        policy: what of it is to be believed.
        where: which interfaces are this Droplet's, as :func:`here` told; None where those of the snapshot are.

    Returns:
        Whether anything was wrong.

    Raises:
        DroplanError: the rules could not be put right.
    """
    moved = _moved(policy, where) if where else policy
    later = _Later()
    changed = enforce.policy(replace(host, log=later), found.backend, moved, found.policy).changed
    if moved != policy:
        snapshot.store(host.files, replace(found, policy=moved))
        names = ", ".join(name for segment in moved.segments for name in segment.interfaces)
        host.log.say(f"The interfaces are now {names}")
    if changed:
        _tell(host.log, later.lines)
    return changed or moved != policy


def _tell(log: Log, lines: list[str]) -> None:
    for line in ("Another program had changed our rules", *lines):
        log.say(line)


def here(host: Host) -> Here | None:
    """Ask the metadata service which interfaces are this Droplet's, with no lock held: it may not answer for long.

    Returns:
        None when nobody tells, and those of the snapshot it is.
    """
    try:
        wanted, _ = settings.tolerant(host.environ, host.files)
        return learn.where(host, host.session(host.clock), wanted)
    except DroplanError as error:
        host.log.complain(f"repair: {error}")
        return None


def _moved(policy: Policy, where: Here) -> Policy:
    """Name the interfaces as they are called now."""
    return replace(
        policy,
        segments=tuple(
            replace(
                segment,
                interfaces=(where.public if segment.public else where.private) or segment.interfaces,
                outside=segment.outside if segment.public else where.outside,
            )
            for segment in policy.segments
        ),
    )
