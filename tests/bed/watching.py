"""The watcher on a lab's Droplet, in the foreground, and what it costs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bed import account
from tests.bed.hosts import Host
from tests.bed.program import PROGRAM, Program
from tests.bed.world import DROPLET_ID

BLOCKED = "/var/lib/droplan/blocked.json"


class Watcher:
    """A watcher that runs.

    Args:
        program: droplan on the same Droplet.
        interval: seconds between refreshes, where the settings' minutes are too long to wait.

    Attributes:
        process: it.
        program: as above.
    """

    def __init__(self, program: Program, interval: int | None = None) -> None:
        self.program = program
        command = [PROGRAM, "watch"]
        if interval:
            # What the verb becomes, with another interval.
            found = program.droplet.run(["sh", "-c", "ls -d /var/lib/droplan/zipapp/*/site-packages"]).stdout.split()[
                0
            ]
            python = ["/usr/bin/python3", "-I", "-S"]
            files = ["/var/lib/droplan", "/run/droplan.writing.lock", "/etc/droplan/droplan.env"]
            command = [*python, f"{found}/droplan_boot/watch/__main__.pyc", *files, str(interval), "alone"]
            command += [*python, PROGRAM]
        # One that an earlier watcher left says nothing about this one, which writes its own when it has begun.
        program.droplet.path("/var/lib/droplan/watch.json").unlink(missing_ok=True)
        self.process = program.droplet.popen(command, stderr=subprocess.STDOUT)
        eventually(lambda: self._exists("watch.json"))
        self.settle()

    def _exists(self, name: str) -> bool:
        return self.program.droplet.path(f"/var/lib/droplan/{name}").exists()

    @property
    def pid(self) -> int:
        """Its process number, as this machine counts."""
        inside = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(inside[0]) if inside else self.process.pid

    def settle(self) -> None:
        """Wait until it has nothing to do."""
        eventually(lambda: not self.children())
        time.sleep(1.5)
        eventually(lambda: not self.children())

    def children(self) -> list[str]:
        """Return what it has started and what has not ended."""
        pid = self.pid  # once: nsenter's, until that has started the watcher
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    def pss(self) -> float:
        """Return its memory in MB: its own, and its share of what it shares."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    def ticks(self) -> int:
        """Return the CPU it has used, in clock ticks, its children's not counted."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return int(words[11]) + int(words[12])

    def worked(self) -> int:
        """Return the CPU that its children have used which ended: none has ended while this stays the same."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return int(words[13]) + int(words[14])

    def stop(self) -> str:
        """End it as systemd does; return what it said."""
        os.kill(self.pid, signal.SIGTERM)
        said, _ = self.process.communicate(timeout=60)
        return said


@contextlib.contextmanager
def watching(program: Program, interval: int | None = None) -> Iterator[Watcher]:
    """Run a watcher for as long as a block."""
    watcher = Watcher(program, interval)
    try:
        yield watcher
    finally:
        if watcher.process.poll() is None:
            watcher.stop()


def newcomer(host: Host, number: int = 50) -> account.ListedDroplet:
    """Return the Droplet that a host is, once the account lists it."""
    return account.ListedDroplet(DROPLET_ID + number, "newcomer", host.address, host.public.ipv4)


def blocked(program: Program) -> dict[str, Any]:
    """Return what ``droplan blocked --json`` says."""
    return dict(json.loads(program.run("blocked", "--json").stdout))


def eventually(holds: Callable[[], object], patience: float = 60.0) -> float:
    """Wait for something to hold; return how long that took.

    Raises:
        AssertionError: it never did.
    """
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < patience, "it never came about"
        time.sleep(0.02)
    return time.monotonic() - began


def flood(source: Host, target: Host, seconds: float, rate: int = 10_000) -> int:
    """Send SYNs from ever other addresses of the private network; return how many.

    Args:
        source: who sends.
        target: to whom.
        seconds: how long.
        rate: how many a second, at most.
    """
    head = b"".join(bytes.fromhex(each.private.mac.replace(":", "")) for each in (target, source)) + b"\x08\x00"
    sent = 0
    with source.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as wire:
        wire.bind(("eth1", 0))
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            for _ in range(200):
                sent += 1
                ends = struct.pack("!BBH", 10, 132, 4096 + sent % 60_000) + socket.inet_aton(target.address)
                ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, sent & 0xFFFF, 0, 64, 6, 0) + ends
                ip = ip[:10] + struct.pack("!H", _checksum(ip)) + ip[12:]
                tcp = struct.pack("!HHIIBBHHH", 40000, 5432, 1, 0, 0x50, 2, 64240, 0, 0)
                part = ends + struct.pack("!BBH", 0, 6, 20) + tcp
                wire.send(head + ip + tcp[:16] + struct.pack("!H", _checksum(part)) + tcp[18:])
            time.sleep(max(0.0, began + sent / rate - time.monotonic()))
    return sent


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
