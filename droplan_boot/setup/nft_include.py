"""Have a reload of nftables.service put the guard back in the transaction that flushes it.

``flush ruleset``, with which /etc/nftables.conf usually begins, reaches every program's table. An include at its end
makes the guard part of the same transaction: 0 of 293 knocks got in. It is by pattern, because nft takes a pattern
that fits no file, while a file that is missing would stop all of nftables.conf.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from droplan_boot import paths
from droplan_boot.access.policy import Policy
from droplan_boot.firewall import nft_table
from droplan_boot.firewall.nftables import Nftables
from droplan_boot.host import selinux
from droplan_boot.host.doors import Host

SERVICE: Final = "nftables.service"

INCLUDE: Final = f'include "{paths.RULES.parent}/*.nft"'
_OURS: Final = f"# droplan's guard, removed by `droplan uninstall`\n{INCLUDE}\n"

FILES: Final = {Path("/etc/nftables.conf"): False, Path("/etc/sysconfig/nftables.conf"): True}
"""What nftables.service loads, and whether it flushes before: Debian's file does, Enterprise Linux's unit does."""

_INCLUDED: Final = re.compile(r'^[ \t]*include[ \t]+"(?!/etc/droplan/)([^"\n]+)".*$', re.MULTILINE)
_DEEPEST: Final = 8
"""Files that include each other, and links that lead round, are no file that nft loads."""


def save(host: Host, guard: Nftables | None, policy: Policy) -> None:
    """Write the guard as nft reads it, for the include; or remove the file where there is no guard of nft.

    Raises:
        DroplanError: it could not be written; it is as it was.
    """
    table = guard.wanted(policy) if guard else None
    if table is None:
        host.files.remove(paths.RULES)
        return
    text = nft_table.replace(nft_table.render(table))
    host.files.ensure(paths.RULES, text.encode(), 0o600)


def problem(host: Host) -> str | None:
    """Say what is wrong with the include; None when it is in place where it is needed."""
    return "missing" if any(True for _ in _without(host)) else None


def put(host: Host) -> tuple[Path, ...]:
    """Add the include at the end of each file that flushes the ruleset.

    Returns:
        The files that lacked it.

    Raises:
        DroplanError: it could not be written; it is as it was.
    """
    lacking = tuple(_without(host))
    for path, text in lacking:
        ended = text if text.endswith("\n") or not text else text + "\n"
        _write(host, path, ended + _OURS)
    return tuple(path for path, _ in lacking)


def forget(host: Host) -> Iterator[str]:
    """Take the include out again.

    Yields:
        A line for each file that changed.
    """
    for path in including(host):
        text = (host.files.read(path) or b"").decode(errors="surrogateescape").replace(_OURS, "")
        _write(host, path, "".join(line for line in text.splitlines(True) if line.strip() != INCLUDE))
        yield f"Took our include out of {path}"


def including(host: Host) -> Iterator[Path]:
    """Find the files that hold our include."""
    return (path for path in FILES if INCLUDE.encode() in (host.files.read(path) or b""))


def loaded(host: Host, path: Path, deep: int = 0) -> str | None:
    """Read a file as nft loads it: by a link too, and what it includes in its place.

    Args:
        host: this machine.
        path: the file.
        deep: how many files and links led to it.

    Returns:
        Its text, without what cannot be found; None when there is none.
    """
    if deep > _DEEPEST:
        return None
    target = host.files.target(path)
    if target is not None:
        return loaded(host, path.parent / target, deep + 1)
    data = host.files.read(path)
    if data is None:
        return None

    def included(found: re.Match[str]) -> str:
        # nft looks in /etc for what is named by no absolute path.
        pattern = str(host.files.real(Path("/etc", found[1])))
        places = sorted(glob.glob(pattern))  # noqa: PTH207 (Path.glob refuses patterns that mean something to nft)
        files = (Path("/", Path(place).relative_to(host.files.root)) for place in places)
        return "\n".join(filter(None, (loaded(host, file, deep + 1) for file in files)))

    return _INCLUDED.sub(included, data.decode(errors="surrogateescape"))


def _without(host: Host) -> Iterator[tuple[Path, str]]:
    for path, flushes in FILES.items():
        data = host.files.read(path)  # where a link leads is somebody else's: status says what to add there
        if data is not None and nft_table.forgets_us(loaded(host, path) or "", flushes=flushes):
            yield path, data.decode(errors="surrogateescape")


def _write(host: Host, path: Path, text: str) -> None:
    host.files.write(path, text.encode(errors="surrogateescape"), host.files.mode(path))
    selinux.restore(host, (path,))
