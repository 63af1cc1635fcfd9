"""Find the SSH session that this process was started from.

``sudo`` drops SSH_CONNECTION, so the way is: up through the parents to sshd, and from its sockets to the kernel's
table of connections, proc(5). The variable is believed as well where it is left.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from droplan_boot.host import sockets
from droplan_boot.networks import Address

_MULTIPLEXER: Final = re.compile(r"tmux|screen", re.IGNORECASE)
"""Their servers and clients: ``tmux: server``, ``tmux: client``, ``SCREEN``, ``screen``."""


@dataclass(frozen=True)
class Session:
    """An established TCP connection to this machine.

    Args:
        local: our address.
        port: our port.
        remote: the other side's address.
    """

    local: Address
    port: int
    remote: Address


def ssh_sessions(environ: Mapping[str, str], proc: Path, pid: int | None = None) -> tuple[Session, ...]:
    """Find the connections of the SSH session that a process belongs to.

    Args:
        environ: its environment.
        proc: where procfs is.
        pid: the process; our own by default.

    Returns:
        The connections, each once; none when it was not started over SSH.
    """
    daemons = set(_ancestors(proc, pid or os.getpid()))
    if not daemons and _below_multiplexer(proc, pid or os.getpid()):
        # tmux's and screen's servers are children of init: who is attached to one came by a client of theirs.
        daemons = {daemon for client in _multiplexers(proc) for daemon in _ancestors(proc, client)}
    inodes = {inode for daemon in daemons for inode in _sockets(proc, daemon)}
    found = [session for inode, session in _connections(proc) if inode in inodes] if inodes else []
    words = environ.get("SSH_CONNECTION", "").split()
    if len(words) == 4 and re.fullmatch(r"[0-9]{1,5}", words[3]) and int(words[3]) <= 0xFFFF:
        try:
            found.append(Session(sockets.plain(words[2]), int(words[3]), sockets.plain(words[0])))
        except ValueError:
            pass  # not what sshd writes, so not from sshd
    return tuple(dict.fromkeys(found))


def _ancestors(proc: Path, pid: int) -> Iterator[int]:
    """Walk up through the parents; yield those that are sshd (sshd-session since OpenSSH 9.8)."""
    return (parent for parent, name in _parents(proc, pid) if name.startswith("sshd"))


def _below_multiplexer(proc: Path, pid: int) -> bool:
    return any(_MULTIPLEXER.match(name) for _, name in _parents(proc, pid))


def _multiplexers(proc: Path) -> Iterator[int]:
    for place in proc.glob("[0-9]*"):
        for pid, name in _parents(proc, int(place.name)):
            if _MULTIPLEXER.match(name):
                yield pid
            break


def _parents(proc: Path, pid: int) -> Iterator[tuple[int, str]]:
    """Walk up from a process, itself first; yield number and name of each."""
    while pid > 1:
        try:
            text = (proc / str(pid) / "stat").read_text()
        except OSError:
            return
        yield pid, text[text.index("(") + 1 : text.rindex(")")]
        pid = int(text[text.rindex(")") + 1 :].split()[1])


def _sockets(proc: Path, pid: int) -> Iterator[str]:
    try:
        descriptors = list((proc / str(pid) / "fd").iterdir())
    except OSError:
        return
    for descriptor in descriptors:
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
        except OSError:
            continue
        if found:
            yield found[1]


def _connections(proc: Path) -> Iterator[tuple[str, Session]]:
    for name in ("tcp", "tcp6"):
        try:
            text = (proc / "net" / name).read_text()
        except OSError:
            continue
        for one in sockets.tcp(text):
            if one.state == sockets.ESTABLISHED:
                yield one.inode, Session(one.local, one.port, one.remote)
