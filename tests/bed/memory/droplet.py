"""A Droplet in memory: Debian with apt, systemd and iptables, as far as an installation touches them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from droplan_boot.access.policy import Policy
from droplan_boot.errors import DroplanError
from droplan_boot.firewall import choose
from droplan_boot.flow import learn
from droplan_boot.host import distro
from droplan_boot.host.command import Completed
from droplan_boot.host.files import Files
from droplan_boot.settings import Settings
from droplan_boot.setup import program
from droplan_boot.sources.digitalocean.model import Interface, Machine
from tests.bed.memory.doors import Host, Lines, ended
from tests.bed.memory.netfilter import Kernel
from tests.golden.scenarios import segment

TOKEN = "dop_v1_" + "0" * 64
PYZ = b"#!/usr/bin/python3 -IS\nPK\x03\x04 and so on"
TWO = Policy((segment("10.132.0.2", "10.132.0.3"),))
PLUGIN = Path("/usr/share/netfilter-persistent/plugins.d/15-ip4tables")
CHANGING = ("install", "enable", "disable", "start", "mask", "unmask", "update")


@dataclass
class Droplet(Kernel):
    """A machine that knows what is installed, enabled and running.

    Args:
        files: its file system.
        packages: what is installed.
        enabled: services.
        active: services.
        answer: what DigitalOcean says; an error for no answer.
    """

    files: Files = field(default_factory=Files)
    packages: set[str] = field(default_factory=lambda: {"iptables"})
    enabled: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    answer: Policy | DroplanError | None = None
    lines: Lines = field(default_factory=Lines)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.files.real(Path("/run/systemd/system")).mkdir(parents=True)
        self.knows("dpkg-query", lambda argv, stdin: "".join(f"{name} installed\n" for name in sorted(self.packages)))
        self.knows("debconf-set-selections")
        self.knows("apt-get", self._apt)
        self.knows("systemctl", self._systemctl)

    def _apt(self, argv: Sequence[str], stdin: str) -> str:
        if "install" in argv and "--simulate" not in argv:
            names = argv[argv.index("install") + 1 :]
            self.packages.update(name for name in names if not name.startswith("-"))
            if "iptables-persistent" in names:
                place = self.files.real(PLUGIN)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
        return ""

    def _systemctl(self, argv: Sequence[str], stdin: str) -> str | Completed:
        verb, name = argv[1], argv[-1]
        if verb == "is-enabled":
            return "enabled\n" if name in self.enabled else ended(argv, 1, "disabled\n")
        if verb == "is-active":
            return ended(argv, 0 if name in self.active else 3)
        if verb == "enable":
            self.enabled.add(name)
            self.active.update([name] if "--now" in argv else [])
        return ""

    def host(self, *, scheduled: bool = True, token: str = TOKEN, **environ: str) -> Host:
        """Return it as the verbs see it."""
        return Host(
            runner=self,
            files=self.files,
            log=self.lines,
            environ={"DO_KEY": token, **environ},
            scheduled=scheduled,
        )

    def changed(self) -> list[tuple[str, ...]]:
        """List the commands that were run and change a machine, the probe of the kernel's matches not counted."""
        written = [("restore", script) for _, script in self.scripts if ":droplan-probe - [0:0]" not in script]
        return written + [argv for argv in self.ran if set(argv[1:]) & set(CHANGING) and "--simulate" not in argv]

    def everything(self) -> dict[str, tuple[int, int, bytes]]:
        """List all files: inode, mode, bytes."""
        root = self.files.root
        return {
            str(place.relative_to(root)): (place.stat().st_ino, place.stat().st_mode, place.read_bytes())
            for place in sorted(root.rglob("*"))
            if place.is_file()
        }


HERE = learn.Here(
    Machine(7, "nyc3", (Interface("04:01:2a:0f:2a:02", (ipaddress.ip_address("10.132.0.1"),)),), ()), ("eth1",), ()
)


def made(files: Files, monkeypatch: pytest.MonkeyPatch) -> Droplet:
    """Make a fresh Droplet; who it is and who its peers are is not asked over HTTP."""
    droplet = Droplet(files=files, answer=TWO)

    def who(http: object, wanted: Settings, here: learn.Here) -> Policy:
        if not wanted.token:
            raise learn.no_token()
        if isinstance(droplet.answer, Policy):
            return droplet.answer
        assert droplet.answer
        raise droplet.answer

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(choose, "has_ipv6", lambda: True)
    monkeypatch.setattr(choose, "legacy_in_use", lambda: False)
    monkeypatch.setattr(learn, "where", lambda http, wanted, runner: HERE)
    monkeypatch.setattr(learn, "who", who)
    monkeypatch.setattr(program, "image", lambda: PYZ)
    found = distro.Distribution("Debian GNU/Linux 12 (bookworm)", "debian", "12", "debian")
    monkeypatch.setattr(distro, "detect", lambda: found)
    return droplet
