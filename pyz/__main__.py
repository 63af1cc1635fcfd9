"""Start droplan from its zipapp: the first thing that runs, and on most days the only thing besides droplan.

shiv builds the archive; this takes the place of shiv's own start-up code, which costs 40 ms a run, obeys
SHIV_* variables, unpacks where anybody may have been before, and does not survive a power loss. Here:

- Everything is unpacked once for a build and an interpreter to ``/var/lib/droplan/zipapp`` (unpack.py). From
  then on a start reads that tree's manifest, finds every file as it was left, and runs.
- Root runs nothing that others could have written. Others run droplan out of the archive and write nothing.
- Python runs isolated (``-I -S``), or is started again so: no PYTHON* variable, no packages of the host.

This file must parse on Python 3.6, or an old Python could not be told that it is too old.
"""

# No pathlib here: importing it costs 3 ms at every start.
# ruff: noqa: PTH100, PTH120, PTH123

import fcntl
import gc
import os
import sys
from importlib.util import MAGIC_NUMBER

# A run lasts a second and leaves no cycles worth finding; looking for them costs a tenth of its CPU, most of it while
# modules are imported and pages of Droplets decoded.
gc.disable()

STATE = "/var/lib/droplan"
BUILD = "@BUILD@"  # script/build writes a hash of everything in the archive here

held: "list[object]" = []  # the open manifest of the tree that is in use


def state_of(path: str) -> str:
    """Tell of a file or directory what must stay as it is: type, mode, size, time, and that it is root's."""
    found = os.lstat(path)
    if found.st_uid != 0:
        return "not root's"
    return f"{found.st_mode:o} {found.st_size} {found.st_mtime_ns}"


def intact(tree: str) -> bool:
    """Whether all of an unpacked tree is there, unaltered, and root's alone; holds it in use if so.

    A power loss, a full disk or a person may have emptied or removed any of it.

    Args:
        tree: a directory in which ``manifest`` tells the state of all else, and ends with an empty line.
    """
    try:
        for directory in (STATE, os.path.dirname(tree), tree):
            found = os.lstat(directory)
            if found.st_mode & 0o170022 != 0o040000 or found.st_uid != 0:
                return False
        manifest = open(tree + "/manifest", encoding="utf-8")  # noqa: SIM115 (open means in use)
        fcntl.flock(manifest, fcntl.LOCK_SH | fcntl.LOCK_NB)
        lines = manifest.read().split("\n")
        for line in lines[:-2]:
            state, path = line.split("\t")
            if state_of(f"{tree}/{path}") != state:
                return False
    except (OSError, ValueError):
        return False
    held.append(manifest)
    return lines[-2:] == ["", ""]  # not cut short


def site_packages() -> str:
    """Where this build's packages are, unpacked if they were not."""
    archive = os.path.abspath(sys.path[0])
    if os.geteuid() != 0:
        return archive + "/site-packages"
    # Compiled code is for one bytecode, which has changed under the same tag (3.5.2, 3.5.3).
    interpreter = f"{sys.implementation.cache_tag}-{int.from_bytes(MAGIC_NUMBER[:2], 'little')}"
    tree = f"{STATE}/zipapp/{BUILD}-{interpreter}"
    if not intact(tree):
        from unpack import unpack

        unpack(archive, tree, BUILD, intact, state_of)
    return tree + "/site-packages"


if sys.version_info < (3, 9):  # noqa: UP036 (that is what it says)
    version = sys.version.split()[0]
    sys.exit(f"droplan: needs Python 3.9 or newer, and {sys.executable} is {version}: run it with a newer one")
if not (sys.flags.isolated and sys.flags.no_site):
    os.execv(sys.executable, [sys.executable, "-I", "-S", *sys.argv])  # noqa: S606

sys.path[0] = site_packages()

from droplan_boot.cli import main  # noqa: E402

status = main()
# Every file is closed and every child has ended; taking the interpreter apart as well would cost a tenth of a run's
# CPU.
try:
    sys.stdout.flush()
    sys.stderr.flush()
except OSError:  # nobody reads it any more, or the disk is full
    status = status or 1
os._exit(status)
