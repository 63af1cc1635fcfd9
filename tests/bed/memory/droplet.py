"""A Droplet in memory: Debian with apt, systemd and iptables, as far as an installation touches them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from droplan_boot.access.policy import Policy
from droplan_boot.host.command import Completed
from droplan_boot.host.files import Files
from tests.bed.memory.doors import Answer, Host, Lines, Script, ended, session
from tests.bed.memory.netfilter import Kernel
from tests.golden.scenarios import segment

RELEASES = Path(__file__).parents[1] / "os-release"
TOKEN = "dop_v1_" + "0" * 64
PYZ = b"#!/usr/bin/python3 -IS\nPK\x03\x04 and so on"
BOOT = "7b0f9d52-6f4b-4a0e-9a53-0f8c6d2c4c11"
MAC, ADDRESS, OWN_ID = "04:01:2a:0f:2a:02", "10.132.0.1", 7
PROGRAM = Path("/root/droplan.pyz")
TWO = Policy((segment("10.132.0.2", "10.132.0.3"),))
PLUGIN = Path("/usr/share/netfilter-persistent/plugins.d/15-ip4tables")
CHANGING = ("install", "enable", "disable", "start", "mask", "unmask", "update")


@dataclass
class MemoryDroplet(Kernel):
    """A machine that knows what is installed, enabled and running.

    Args:
        files: its file system.
        packages: what is installed.
        enabled: services.
        active: services.
        peers: private addresses of the account's other Droplets.
        off: those of them that are switched off.
        tags: the tag of each that carries another than ``web``, by its address.
        refusal: what the API answers instead of listing them; None where it lists them.
    """

    files: Files = field(default_factory=Files)
    packages: set[str] = field(default_factory=lambda: {"iptables"})
    enabled: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    peers: tuple[str, ...] = ("10.132.0.2", "10.132.0.3")
    off: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    refusal: Script | None = None
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
        if verb in ("start", "restart"):
            self.active.add(name)
        if verb == "enable":
            self.enabled.add(name)
            self.active.update([name] if "--now" in argv else [])
        return ""

    def _answer(self, url: str) -> Script:
        """Answer as the metadata service and the API do."""
        if url.endswith("/metadata/v1.json"):
            private = [{"mac": MAC, "ipv4": {"ip_address": ADDRESS}}]
            return Answer({"droplet_id": OWN_ID, "region": "nyc3", "interfaces": {"private": private}})
        if self.refusal is not None:
            return self.refusal
        listed = [] if "type=gpus" in url else [ADDRESS, *self.peers]
        droplets = [
            {
                "id": OWN_ID + number,
                "name": f"droplet-{number}",
                "status": "off" if address in self.off else "active",
                "region": {"slug": "nyc3"},
                "tags": [self.tags.get(address, "web")],
                "networks": {"v4": [{"type": "private", "ip_address": address}]},
            }
            for number, address in enumerate(listed)
        ]
        return Answer({"droplets": droplets, "meta": {"total": len(droplets)}})

    def host(self, *, scheduled: bool = True, token: str = TOKEN, **environ: str) -> Host:
        """Return it as the verbs see it."""
        return Host(
            runner=self,
            files=self.files,
            log=self.lines,
            session=lambda clock: session(self._answer)[0],
            table_stands=self.table_stands,
            generation=self.generation,
            environ={"DO_KEY": token, **environ},
            uid=0,
            program=PROGRAM,
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


def made(files: Files) -> MemoryDroplet:
    """Make a fresh one: Debian 12, its metadata and its account as DigitalOcean shows them."""
    return MemoryDroplet(files=furnished(files))


def furnished(files: Files) -> Files:
    """Write what a fresh one finds on its disk, and in /proc and /sys."""
    files.write(Path("/proc/net/if_inet6"), b"", 0o644)
    files.write(Path("/proc/sys/kernel/random/boot_id"), BOOT.encode() + b"\n", 0o444)
    files.write(Path("/sys/class/net/eth1/address"), f"{MAC}\n".encode(), 0o644)
    files.write(Path("/etc/os-release"), (RELEASES / "debian-12").read_bytes(), 0o644)
    files.write(PROGRAM, PYZ, 0o755)
    return files
