"""Restore the SELinux labels of files we wrote: one that is moved into place keeps the label of where it was made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from droplan_boot.host.doors import Host

_ENFORCE: Final = Path("/sys/fs/selinux/enforce")


def in_use(host: Host) -> bool:
    """Whether this kernel labels files, and there is a command to restore labels with."""
    return host.files.exists(_ENFORCE) and host.runner.which("restorecon") is not None


def wrong(host: Host, paths: Iterable[Path]) -> bool:
    """Whether one of ``paths``, or what is below it, has another label than the policy says."""
    return bool(host.runner.run(["restorecon", "-R", "-n", "-v", *_there(host, paths)], check=False).stdout.strip())


def restore(host: Host, paths: Iterable[Path]) -> None:
    """Give ``paths``, and what is below them, the labels that the policy says, where there is one.

    Raises:
        CommandError: that did not work.
    """
    there = _there(host, paths)
    if there and in_use(host):
        host.runner.run(["restorecon", "-R", *there])


def _there(host: Host, paths: Iterable[Path]) -> list[str]:
    return [str(path) for path in paths if host.files.exists(path)]
