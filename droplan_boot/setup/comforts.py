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


def _shared(name: str) -> bytes | None:
    path = _SHARE / name
    return path.read_bytes() if path.is_file() else None
