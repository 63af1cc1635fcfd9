"""Whether the rules still are what a refresh read and found right; the kernel tells, without their being read.

It counts the transactions of nf_tables, of whoever writes. When the number is what it was, and so is all else that
the rules and the saved files depend on, there is nothing to find. Whatever differs, or whatever the kernel does not
tell, has everything read again: the legacy tables always, which nobody counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from droplan_boot import paths
from droplan_boot.errors import DroplanError
from droplan_boot.firewall import look
from droplan_boot.host.doors import Host
from droplan_boot.setup import loaders

if TYPE_CHECKING:
    from droplan_boot.firewall.enforcement import Enforcement
    from droplan_boot.host.nfnetlink import Generation

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class Standing(NamedTuple):
    """What stands.

    Args:
        backend: how the door is written, as :class:`Enforcement` names it.
        guard: where the guard is.
    """

    backend: str
    guard: str


class Claim(NamedTuple):
    """What it takes for the rules to be right.

    Args:
        generation: of nf_tables.
        rest: all else: which boot, which droplan, which policy, what is there to write rules with.
    """

    generation: Generation
    rest: dict[str, object]


def claim(host: Host, wanted: str, fingerprint: str) -> Claim | None:
    """Tell what it takes now; None where the kernel does not count, or not all.

    Args:
        host: this machine.
        wanted: the setting DROPLAN_BACKEND.
        fingerprint: of the policy.
    """
    generation, boot = host.generation(), host.files.read(_BOOT, limit=100)  # a sysctl is read in one piece
    if generation is None or not boot or look.legacy_in_use(host):
        return None
    return Claim(
        generation,
        {
            "boot": boot.decode(errors="replace").strip(),
            "droplan": __file__,  # below a folder that is named after all that the zipapp holds
            "backend": wanted,
            "policy": fingerprint,
            "rules": look.found(host),
        },
    )


def stands(host: Host, claimed: Claim) -> Standing | None:
    """Tell what stands if all that is claimed was so when the rules were read last; else None.

    Args:
        host: this machine.
        claimed: what it takes now.
    """
    try:
        known = json.loads(host.files.read(paths.VERIFIED) or b"null")
        if known["claim"] == _written(host, claimed.generation, claimed.rest):
            return Standing(str(known["backend"]), str(known["guard"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return None


def store(host: Host, claimed: Claim, how: Enforcement, writes: int) -> None:
    """Keep that the rules are right, if nobody else wrote while they were read and written.

    Each of our own transactions makes the generation one more at least. If it is what ours alone make of it, there
    was none but ours. The second best is not kept: the next run asks again for what was refused.

    Args:
        host: this machine.
        claimed: what it took when that began.
        how: what has read and written them.
        writes: how many transactions of ours there were since.
    """
    before, after = claimed.generation, host.generation()
    settled = how.in_nf_tables and how.asked_for(str(claimed.rest["backend"]))
    if not settled or after is None or after != before._replace(number=before.number + writes):
        return
    value = {"claim": _written(host, after, claimed.rest), "backend": how.name, "guard": how.guarded_by}
    try:
        host.files.write(paths.VERIFIED, json.dumps(value).encode() + b"\n", 0o600, lasting=False)
    except DroplanError as error:
        host.log.complain(str(error))


def _written(host: Host, generation: Generation, rest: dict[str, object]) -> dict[str, object]:
    """Write a claim as JSON, with the state of the files that keep the rules for a reboot."""
    files = {"loaders": loaders.found(host), "include": host.files.mark(paths.RULES)}
    return {"generation": list(generation), "files": files, **rest}
