"""``/var/lib/droplan/backends``: which backends may hold rules of ours, a name a line, whatever failed since.

The report tells what the last refresh used, and nothing when it failed before it knew. Rules that an earlier backend
wrote bind until they are removed, so its name is kept from before the first rule is written until its rules are gone.
"""

from __future__ import annotations

from collections.abc import Iterable

from droplan_boot import paths
from droplan_boot.host.files import Files
from droplan_boot.state import report


def load(files: Files) -> tuple[str, ...]:
    """Read the names; before this file there was the report's alone."""
    text = files.read(paths.BACKENDS)
    if text is not None:
        return tuple(text.decode(errors="replace").split())
    last = report.load(files)
    return (last.backend,) if last and last.backend else ()


def store(files: Files, names: Iterable[str]) -> None:
    """Write the names, if they are others than before.

    Raises:
        DroplanError: they cannot be written.
    """
    data = "".join(f"{name}\n" for name in dict.fromkeys(names)).encode()
    if files.read(paths.BACKENDS) != data:
        files.write(paths.BACKENDS, data, 0o600)
