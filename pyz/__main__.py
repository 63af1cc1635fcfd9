"""Start droplan from its zipapp: the first thing that runs, and on most days the only thing besides droplan.

shiv builds the archive; this takes the place of shiv's own start-up code, which costs 40 ms a run, obeys
SHIV_* variables, unpacks where anybody may have been before, and does not survive a power loss. Here:

- Everything is unpacked once a build and interpreter into ``/var/lib/droplan/zipapp``, see unpack.py. From
  then on a start reads that tree's manifest, finds every file as it was left, and runs.
- Root runs nothing that others could have written. Others run droplan from the archive and write nothing.
- Python runs isolated (``-I -S``), or is started again so: no PYTHON* variable, no site-packages of the host.

This file must parse on every Python 3, or an old one cannot be told that it is too old.
"""

import fcntl
import os
import sys

STATE = "/var/lib/droplan"
BUILD = "@BUILD@"  # script/build writes a hash of everything in the archive here
MANIFEST = "manifest"

held = []  # open manifests: a shared lock on it says that this tree is in use


def state_of(path: str) -> str:
    """What is compared to know that a file or directory is as it was: its type, mode, size and time."""
    found = os.lstat(path)
    if found.st_uid != 0:
        return "not root's"
    return "%o %d %d" % (found.st_mode, found.st_size, found.st_mtime_ns)


def intact(tree: str) -> bool:
    """Whether all of an unpacked tree is there, unaltered, and root's alone.

    A power loss, a full disk or a person may have emptied or removed any of it.

    Args:
        tree: the directory whose file ``manifest`` lists what is below it, and ends with an empty line.
    """
    try:
        for directory in (STATE, os.path.dirname(tree), tree):
            found = os.lstat(directory)
            if found.st_mode & 0o170022 != 0o040000 or found.st_uid != 0:
                return False
        manifest = open(os.path.join(tree, MANIFEST), encoding="utf-8")  # noqa: SIM115
        fcntl.flock(manifest, fcntl.LOCK_SH | fcntl.LOCK_NB)
        lines = manifest.read().split("\n")
        for line in lines[:-2]:
            mode, size, time, path = line.split(" ", 3)
            if state_of(os.path.join(tree, path)) != " ".join((mode, size, time)):
                return False
    except (OSError, ValueError):
        return False
    held.append(manifest)
    return lines[-2:] == ["", ""]


def site_packages() -> str:
    """Where this build's packages are, unpacked if they were not."""
    archive = os.path.abspath(sys.path[0])
    if os.geteuid() != 0:
        return archive + "/site-packages"
    tree = "%s/zipapp/%s-%s" % (STATE, BUILD, sys.implementation.cache_tag)
    if not intact(tree):
        import unpack

        unpack.unpack(archive, tree, BUILD, intact, state_of)
    return tree + "/site-packages"


if sys.version_info < (3, 9):
    sys.exit("droplan: needs Python 3.9 or newer, and %s is %s: run it with a newer one" % (
        sys.executable, sys.version.split()[0]))
if not (sys.flags.isolated and sys.flags.no_site):
    os.execv(sys.executable, [sys.executable, "-I", "-S", *sys.argv])

sys.path[0] = site_packages()
# The tree is complete, compiled code included; a stray __pycache__ would make it differ from its manifest.
sys.dont_write_bytecode = True

from droplan_boot.cli import main  # noqa: E402

sys.exit(main())
