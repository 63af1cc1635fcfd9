"""A picture of all that a lab's Droplet differs in from a fresh one: its files, byte by byte, and its rules."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Callable

from tests.bed import Lab
from tests.bed.program import ANSWER, LOG, METRICS, SNAPSHOT, STATUS, VERIFIED

Picture = dict[str, str]
"""By path: type, permissions, owner and content in a line; ``gone`` for what a fresh Droplet has. And the rules."""

_IN_MEMORY = ("/run", "/tmp")
_BUDGET = "/var/lib/droplan/budget.json"
_OF_THE_MOMENT = (SNAPSHOT, STATUS, VERIFIED, ANSWER, _BUDGET, METRICS, LOG, "/var/lib/droplan")
# Shown by iptables-save; that ruleset is printed with them, and without when they hold nothing.
_IPTABLES = re.compile(r"^table ip6? (?:filter|nat|mangle|raw) \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
# Whom the kernel heard of in the last seconds.
_HEARD = re.compile(r"(\tset droplan-heard\S+ \{.*\n(?:\t\t(?!elements).*\n)*)\t\telements = \{[^}]*\}\n")
_NOTHING = re.compile(r"^\*\w+\n(?::\w+ ACCEPT \[0:0\]\n)*COMMIT\n", re.MULTILINE)


def picture(lab: Lab, *, exact: bool = False) -> Picture:
    """Look at a Droplet.

    Args:
        lab: its lab.
        exact: tell inode numbers and times of change too, except of what each refresh writes, and rules' handles.
    """
    droplet, written = lab.droplet, lab.droplet.written
    found: Picture = {}
    for path in _walk(written):
        shown = "/" + str(path.relative_to(written))
        now = _entry(path, shown)
        if now != _entry(Path(shown), shown):
            found[shown] = (now or "gone") + (_exactly(path, shown) if exact else "")
    for folder in _IN_MEMORY:
        top = droplet.path(folder)
        found.update({f"{folder}/{path.relative_to(top)}": _entry(path, str(path)) or "" for path in _walk(top)})
    for tool in ("iptables", "ip6tables"):
        saved = droplet.run([f"{tool}-save"]).stdout
        text = re.sub(r"\[\d+:\d+\]$", "[0:0]", re.sub(r"^#.*\n", "", saved, flags=re.MULTILINE), flags=re.MULTILINE)
        found[tool] = _NOTHING.sub("", text)
    listed = droplet.run(["nft", "--stateless", *(["--handle"] if exact else []), "list", "ruleset"]).stdout
    listed = _HEARD.sub(r"\1", listed)
    found["nft"] = listed if exact else _IPTABLES.sub("", listed)
    return found


def difference(before: Picture, after: Picture) -> dict[str, tuple[str | None, str | None]]:
    """Return what changed: by path, what was there and what is."""
    paths = sorted({*before, *after})
    return {path: (before.get(path), after.get(path)) for path in paths if before.get(path) != after.get(path)}


def _walk(top: Path) -> list[Path]:
    """List everything below a directory; what an overlay's opaque directory hides of the machine's is listed too."""
    found = []
    for folder, folders, names in os.walk(top):
        here = Path(folder)
        found += [here / name for name in (*folders, *names)]
        if _is_opaque(here):
            below = Path("/") / here.relative_to(top)
            hidden = {each.name for each in below.iterdir()} if below.is_dir() else set()
            found += [here / name for name in hidden - {*folders, *names}]
    return found


def _is_opaque(folder: Path) -> bool:
    try:
        return os.getxattr(folder, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def _entry(path: Path, shown: str) -> str | None:
    """Tell a file in a line; None when there is none."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
        return None  # how overlayfs says that it was removed
    content = ""
    if stat.S_ISLNK(found.st_mode):
        content = f"-> {path.readlink()}"
    elif stat.S_ISREG(found.st_mode):
        data = _timeless(shown)(path.read_bytes())
        content = data.decode(errors="replace") if len(data) < 4096 else hashlib.sha256(data).hexdigest()
    return f"{stat.filemode(found.st_mode)} {found.st_uid}:{found.st_gid} {content}"


def _exactly(path: Path, shown: str) -> str:
    if shown in _OF_THE_MOMENT or not os.path.lexists(path):
        return ""
    found = path.lstat()
    return f" inode {found.st_ino} changed {found.st_mtime_ns}"


def _timeless(shown: str) -> Callable[[bytes], bytes]:
    """Return what takes the time of day out of a file's bytes."""
    if shown == SNAPSHOT:
        return lambda data: _without(data, "written")
    if shown == STATUS:
        moment = ("time", "epoch", "duration", "changed", "succeeded", "repaired", "change", "api_remaining")
        return lambda data: _without(data, *moment)
    if shown == VERIFIED:
        return lambda data: _without(data, "claim")  # at which transaction, and the times of files
    if shown == ANSWER:
        return lambda data: _without(data, "rest")  # the snapshot's time
    if shown in (METRICS, LOG, _BUDGET):
        return lambda data: b""  # the last run's numbers, and what everybody did so far
    if shown.endswith(".pyc"):
        return lambda data: data[:8] + data[12:]  # the source's time of change, PEP 552
    if shown.endswith("/manifest"):
        return lambda data: re.sub(rb" \d{15,}\t", b"\t", data)
    return lambda data: data


def _without(data: bytes, *names: str) -> bytes:
    try:
        return json.dumps({name: value for name, value in json.loads(data).items() if name not in names}).encode()
    except (ValueError, AttributeError):
        return data  # not what droplan writes
