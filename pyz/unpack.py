"""Unpack the zipapp for one interpreter: complete and on the disk, or not at all.

A tree is made under another name, compiled, written through to the disk, described by a manifest and only
then renamed to its own name. So whatever stops this (a kill, a power loss, a full disk) leaves no tree that
looks right, and the next start begins again. Starts at the same time wait for each other on a lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import py_compile
import shutil
import stat
import sys
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, NoReturn

SITE_PACKAGES = "site-packages/"
MANIFEST = "manifest"
LOCK = "lock"
UNFINISHED = ".unfinished"


def unpack(
    archive: str, tree: str, build: str, intact: Callable[[str], bool], state_of: Callable[[str], str]
) -> None:
    """Unpack ``archive`` to ``tree``, and remove trees of other builds that nobody runs from.

    Args:
        archive: the zipapp.
        tree: ``STATE/zipapp/BUILD-INTERPRETER``.
        build: what the archive must say it is, for the file may have been replaced since it was started.
        intact: whether a tree needs nothing done; holds it in use if so.
        state_of: what the manifest says of a path.

    Raises:
        SystemExit: it cannot be done; the message says why and what to do.
    """
    store = Path(tree).parent
    umask = os.umask(0o022)
    try:
        safe_directory(store.parent)
        safe_directory(store)
        with locked(store):
            if not intact(tree):
                remove_others(store, build, Path(tree))
                make(store / UNFINISHED, Path(tree), Path(archive), build, state_of)
                if not intact(tree):
                    fail(f"{tree} changes while it is made: see what else writes there, then run this again")
    except OSError as error:
        explain(error, store)
    except (zipfile.BadZipFile, zlib.error, EOFError):
        fail(f"{archive} is damaged: download it again")
    finally:
        os.umask(umask)
    warn_of_noexec(store)


def fail(sentence: str) -> NoReturn:
    """End with a sentence on stderr and exit code 1: the rules are as they were."""
    sys.exit(f"droplan: {sentence}")


def explain(error: OSError, store: Path) -> NoReturn:
    """Say what an error of the file system means to the person who started droplan."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fail(f"the disk is full, droplan cannot be unpacked to {store}: free 10 MB there, then run this again")
    if error.errno == errno.EROFS:
        fail(f"{store} is on a read-only file system: mount it writable, then run this again")
    where = error.filename or store
    fail(f"droplan cannot be unpacked to {store} ({where}: {error.strerror}): mend that, then run this again")


def warn_of_noexec(store: Path) -> None:
    """Say once, at the first start, what a mount option takes away."""
    if os.statvfs(store).f_flag & os.ST_NOEXEC:
        sys.stderr.write(
            f"droplan: {store} is mounted noexec, so python-iptables cannot load from it and legacy iptables is"
            " written with iptables-legacy-restore: mount it with exec to have both\n"
        )


def safe_directory(path: Path) -> None:
    """Make a directory, or see that the one there is root's and writable by nobody else.

    What is below it gets executed by root, so whoever can write here is root.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o755)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        fail(f"{path} is not a directory: see who put it there, remove it, then run this again")
    if found.st_uid != 0 or found.st_mode & 0o022:
        fail(
            f"{path} can be written by others than root (owner {found.st_uid}, mode {found.st_mode & 0o7777:04o}):"
            " see what is in it, remove it, then run this again"
        )


@contextlib.contextmanager
def locked(store: Path) -> Iterator[None]:
    """Be the only one that changes ``store``; the kernel lets go of the lock of a process that dies."""
    lock = os.open(store / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def remove_others(store: Path, build: str, tree: Path) -> None:
    """Remove trees of other builds unless in use, what a killed start left, and ``tree``, which is damaged."""
    for path in store.iterdir():
        if path != tree and (path.name == LOCK or path.name.startswith(build) or in_use(path)):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def in_use(tree: Path) -> bool:
    """Whether a running droplan holds the tree's manifest."""
    try:
        with (tree / MANIFEST).open("rb") as manifest:
            fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no manifest: nobody can have started from it
    return False


def make(unfinished: Path, tree: Path, archive: Path, build: str, state_of: Callable[[str], str]) -> None:
    """Make the tree under another name, and give it its own once all of it is on the disk."""
    try:
        fill(unfinished, tree, archive, build)
        write_manifest(unfinished, state_of)
        unfinished.rename(tree)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)  # or it would fill the disk that was just found full
        raise
    sync(tree.parent)
    sync(tree.parent.parent)


def fill(unfinished: Path, tree: Path, archive: Path, build: str) -> None:
    """Write the packages, their code compiled for this interpreter, to a new directory."""
    unfinished.mkdir(mode=0o755)
    with zipfile.ZipFile(archive) as packed:
        if json.loads(packed.read("environment.json"))["build_id"] != build:
            fail(f"{archive} was replaced while it was started: run this again")
        for name in packed.namelist():
            if name.startswith(SITE_PACKAGES):
                path = unfinished / name
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                path.write_bytes(packed.read(name))
                if path.suffix == ".py":
                    compile_now(path, tree / name)


def compile_now(path: Path, final: Path) -> None:
    """Put a source file's code, compiled, in its place.

    The sources are in the archive. Here they would be twice as many files to look at and to find at each start.

    Args:
        path: where the source is.
        final: where it would be, for tracebacks.
    """
    mode = py_compile.PycInvalidationMode.TIMESTAMP  # by default the environment decides
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of python-iptables' escapes newer Pythons warn each time
        py_compile.compile(str(path), f"{path}c", str(final), doraise=True, invalidation_mode=mode)
    path.unlink()


def write_manifest(tree: Path, state_of: Callable[[str], str]) -> None:
    """Write everything in ``tree`` through to the disk, and then the list of it."""
    lines = []
    for path in sorted(tree.rglob("*")):
        sync(path)
        lines.append(f"{state_of(str(path))}\t{path.relative_to(tree)}\n")
    (tree / MANIFEST).write_text("".join([*lines, "\n"]), encoding="utf-8")
    sync(tree / MANIFEST)
    sync(tree)


def sync(path: Path) -> None:
    """Have the kernel write a file or directory to the disk, and hear of it if that fails."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
