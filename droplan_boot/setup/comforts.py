"""What makes droplan easy to call: a link on the search path, a manual page, and completions for shells.

They are made from the parser when the zipapp is built, and lie in it. An installation holds without them: where one
cannot be put, that is said, and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from droplan_boot import paths
from droplan_boot.host.doors import Host

_SHARE: Final = Path(__file__).parent.parent / "share"
_LOCAL: Final = Path("/usr/local/share")

COMPLETIONS: Final = {
    "droplan.bash": _LOCAL / "bash-completion/completions/droplan",
    "droplan.zsh": _LOCAL / "zsh/site-functions/_droplan",
    "droplan.fish": _LOCAL / "fish/vendor_completions.d/droplan.fish",
}
MANUALS: Final = (_LOCAL / "man/man8/droplan.8", Path("/usr/local/man/man8/droplan.8"))
"""On some releases of Debian the former's directory is a link to the latter's, on others it is the other way."""

_RECORD: Final = paths.STATE / "folders"
"""A line for each folder above those files that was not there before us: an uninstall removes no other."""

# The Filesystem Hierarchy Standard (3.0, 4.9.2 and 4.11) wants these on every system: they came with it.
_STANDARD: Final = (_LOCAL, _LOCAL / "man", _LOCAL.parent, _LOCAL.parent / "man", Path("/usr"), Path("/"))


def files(host: Host) -> Iterator[tuple[Path, bytes]]:
    """List the manual page and the completions, with where they belong; none from a checkout."""
    manual = _shared("droplan.8")
    if manual is not None:
        yield MANUALS[0 if host.files.target(_LOCAL / "man") is None else 1], manual
    for name, path in COMPLETIONS.items():
        data = _shared(name)
        if data is not None:
            yield path, data


def link_problem(host: Host) -> str | None:
    """Say what is wrong with the link on the search path; None when it leads to the program."""
    target = host.files.target(paths.LINK)
    if target == str(paths.PROGRAM):
        return None
    return "missing" if not host.files.exists(paths.LINK) else f"leads to {target}" if target else "not a link"


def everything() -> tuple[Path, ...]:
    """List all that may have been put."""
    return (*MANUALS, *COMPLETIONS.values())


def folders_problem(host: Host) -> str | None:
    """Say what is wrong with the folders of these files, and with our record of them; None when nothing is."""
    if not all(host.files.exists(path.parent) for path, _ in files(host)):
        return "missing"
    return None if host.files.read(_RECORD) is not None else "not recorded"


def make_folders(host: Host) -> None:
    """Make the folders that are missing; which ones those are is written down first, whenever we may be killed."""
    missing = {folder for path, _ in files(host) for folder in path.parents if not host.files.exists(folder)}
    lines = (f"{folder}\n" for folder in sorted({*made_folders(host), *missing}))
    host.files.write(_RECORD, "".join(lines).encode(), 0o600)
    for path, _ in files(host):
        host.files.directory(path.parent)


def made_folders(host: Host) -> list[Path]:
    """List the folders that we made, each after what is in it; without a record, those that hold only our files."""
    record = host.files.read(_RECORD)
    known = None if record is None else record.decode(errors="replace").splitlines()
    found: list[Path] = []
    for folder in sorted({parent for path in everything() for parent in path.parents}, reverse=True):
        if known is not None:
            ours = str(folder) in known
        else:
            ours = folder not in _STANDARD and _holds_only(host, folder, {*everything(), *found})
        if ours:
            found.append(folder)
    return found


def _holds_only(host: Host, folder: Path, ours: set[Path]) -> bool:
    """Whether there is something in a folder, and all of it is ours. By a link it is another folder's other name."""
    if any(host.files.target(each) is not None for each in (folder, *folder.parents)):
        return False
    place = host.files.real(folder)
    there = [folder / each.name for each in place.iterdir()] if place.is_dir() else []
    return bool(there) and ours.issuperset(there)


def _shared(name: str) -> bytes | None:
    path = _SHARE / name
    return path.read_bytes() if path.is_file() else None
