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
import zipfile
from collections.abc import Iterator
from importlib.util import cache_from_source
from typing import Callable, NoReturn

PREFIX = "site-packages/"
UNFINISHED = ".unfinished"


def unpack(
    archive: str, tree: str, build: str, intact: Callable[[str], bool], state_of: Callable[[str], str]
) -> None:
    """Unpack ``archive`` to ``tree``, and remove trees of other builds that nobody runs from.

    Args:
        archive: the zipapp.
        tree: ``STATE/zipapp/BUILD-INTERPRETER``.
        build: what the archive must say it is, for the file may have been replaced since it was started.
        intact: tells whether a tree needs nothing done; holds it in use.
        state_of: what the manifest says of a path.

    Raises:
        SystemExit: it cannot be done; the message says why and what to do.
    """
    store = os.path.dirname(tree)
    umask = os.umask(0o022)
    try:
        safe_directory(os.path.dirname(store))
        safe_directory(store)
        with locked(store):
            if not intact(tree):
                remove_others(store, build, tree)
                unfinished = os.path.join(store, UNFINISHED)
                try:
                    fill(unfinished, tree, archive, build)
                    write_manifest(unfinished, state_of)
                    os.rename(unfinished, tree)
                except BaseException:
                    shutil.rmtree(unfinished, ignore_errors=True)
                    raise
                sync(store)
                sync(os.path.dirname(store))
                if not intact(tree):
                    fail(f"{tree} changes while it is made: see what else writes there, then run this again")
    except OSError as error:
        explain(error, store)
    finally:
        os.umask(umask)
    if os.statvfs(store).f_flag & os.ST_NOEXEC:
        print(
            f"droplan: {store} is on a file system mounted noexec, so python-iptables cannot load there and"
            " iptables-legacy-restore serves legacy iptables: mount it exec if that is missing",
            file=sys.stderr,
        )


def fail(sentence: str) -> NoReturn:
    """End with a sentence on stderr and exit code 1: the rules are as they were."""
    sys.exit(f"droplan: {sentence}")


def explain(error: OSError, store: str) -> NoReturn:
    """Say what an error of the file system means to the person who started droplan."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fail(f"the disk is full and droplan cannot be unpacked to {store}: free 10 MB there, then run this again")
    if error.errno == errno.EROFS:
        fail(f"{store} is on a read-only file system: mount it writable, then run this again")
    fail(f"droplan cannot be unpacked to {store}: {error.filename or store}: {error.strerror}; mend that, then run this again")


def safe_directory(path: str) -> None:
    """Make a directory, or see that the one there is root's and writable by nobody else.

    What is below it gets executed by root, so whoever can write here is root.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o755)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        fail(f"{path} is not a directory: see who put it there, remove it, then run this again")
    if found.st_uid != 0 or found.st_mode & 0o022:
        fail(
            f"{path} can be written by others than root (owner {found.st_uid}, mode {found.st_mode & 0o7777:04o}):"
            " see what is in it, remove it, then run this again"
        )


@contextlib.contextmanager
def locked(store: str) -> Iterator[None]:
    """Be the only one that changes ``store``; the kernel lets go of the lock of a process that dies."""
    lock = os.open(os.path.join(store, "lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def remove_others(store: str, build: str, tree: str) -> None:
    """Remove what is neither a tree of this build nor in use, and ``tree`` itself, which is damaged."""
    for name in os.listdir(store):
        path = os.path.join(store, name)
        if name == "lock" or (name.startswith(build) and path != tree):
            continue
        if path != tree and in_use(path):
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def in_use(tree: str) -> bool:
    """Whether a running droplan holds the tree's manifest."""
    try:
        with open(os.path.join(tree, "manifest"), "rb") as manifest:
            fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no manifest: nobody started from it
    return False


def fill(unfinished: str, tree: str, archive: str, build: str) -> None:
    """Write the packages, and their code compiled for this interpreter, to a new directory."""
    os.mkdir(unfinished, 0o755)
    with zipfile.ZipFile(archive) as packed:
        if json.loads(packed.read("environment.json"))["build_id"] != build:
            fail(f"{archive} was replaced while it was started: run this again")
        for name in packed.namelist():
            if name.startswith(PREFIX):
                path = os.path.join(unfinished, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as file:
                    file.write(packed.read(name))
                if name.endswith(".py"):
                    compiled(path, os.path.join(tree, name))


def compiled(path: str, final: str) -> None:
    """Compile a source file now, for what Python writes by itself later is not written through to the disk.

    Args:
        path: where the source is.
        final: where it will be, for tracebacks.
    """
    mode = py_compile.PycInvalidationMode.TIMESTAMP  # by default the environment decides
    py_compile.compile(path, cache_from_source(path), final, doraise=True, invalidation_mode=mode)


def write_manifest(tree: str, state_of: Callable[[str], str]) -> None:
    """Write everything in ``tree`` through to the disk, then the list of it."""
    lines = []
    for directory, _, names in os.walk(tree):
        for path in (directory, *(os.path.join(directory, name) for name in names)):
            sync(path)
            if path != tree:
                lines.append(f"{state_of(path)} {os.path.relpath(path, tree)}\n")
    manifest = os.path.join(tree, "manifest")
    with open(manifest, "w", encoding="utf-8") as file:
        file.writelines([*lines, "\n"])
    sync(manifest)
    sync(tree)


def sync(path: str) -> None:
    """Have the kernel write a file or directory to the disk, and hear of it if that fails."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
