"""The demo: install the real droplan on the lab's Droplet and show who reaches it before and after.

Run as ``python3 -m tests.bed.demo droplan.pyz [nft|legacy]``; script/demo builds the zipapp first.
"""

from __future__ import annotations

import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.bed import PUBLISHED_PORT, Host, Lab, connects, probe

PROGRAM = "/root/droplan.pyz"


@dataclass(frozen=True)
class Row:
    """What one host gets an answer from on the Droplet's private address."""

    tcp: bool
    udp: bool
    ping: bool
    published: bool
    ipv6: bool

    def cells(self) -> list[str]:
        """Return the row's words."""
        values = (self.tcp, self.udp, self.ping, self.published, self.ipv6)
        return ["yes" if value else "-" for value in values]


# IPv6 is link-local, which nothing in a VPC needs: it is closed to peers too.
PEER = Row(tcp=True, udp=True, ping=True, published=True, ipv6=False)
STRANGER = Row(tcp=False, udp=False, ping=False, published=False, ipv6=False)


def main() -> int:
    """Show it; the exit code is 0 when the Droplet ends up open to its peers and closed to the stranger."""
    archive = Path(sys.argv[1])
    variant = sys.argv[2] if len(sys.argv) > 2 else "nft"
    start = time.monotonic()
    with Lab(variant) as lab:
        lab.publish_port()
        say(f"A lab in {time.monotonic() - start:.1f} s: DigitalOcean's API and metadata service, a Droplet,")
        say(f"two live peers and a stranger in its VPC. The Droplet publishes a container's port {PUBLISHED_PORT}.")
        before = look(lab)
        install(lab, archive)
        after = look(lab)
        heading("Who reaches the Droplet's private address")
        show(before, after)
        show_output(lab, ["iptables", "-L", "-v"])
        show_output(lab, ["/opt/droplan/droplan", "status"])
    wanted = {**{peer.name: PEER for peer in lab.peers}, lab.stranger.name: STRANGER}
    if after != wanted:
        say("\nThis is not as it should be: peers are to reach the Droplet over IPv4, the stranger not at all.")
        return 1
    say(f"\nPeers in, stranger out. The lab is gone; it took {time.monotonic() - start:.0f} s.")
    return 0


def install(lab: Lab, archive: Path) -> None:
    """Install droplan as a person would."""
    heading("droplan.pyz install")
    shutil.copy(archive, lab.droplet.path(PROGRAM))
    command = lab.droplet.popen(
        ["/usr/bin/python3", PROGRAM, "install"], env={"DO_KEY": lab.token}, stdout=None, stderr=None
    )
    if command.wait(timeout=300):
        raise SystemExit(f"the installation ended with exit code {command.returncode}; its messages are above")


def look(lab: Lab) -> dict[str, Row]:
    """Probe the Droplet from everywhere at once."""
    sources = [*lab.peers, lab.stranger]
    with ThreadPoolExecutor(len(sources)) as pool:
        rows = pool.map(lambda source: row(lab, source), sources)
        return {source.name: found for source, found in zip(sources, rows)}


def row(lab: Lab, source: Host) -> Row:
    """Probe the Droplet from one host."""
    found = probe(source, lab.droplet)
    published = connects(source, lab.droplet, PUBLISHED_PORT)
    return Row(found.tcp, found.udp, found.icmp, published, found.tcp6 or found.udp6 or found.icmp6)


def show(before: dict[str, Row], after: dict[str, Row]) -> None:
    """Print both states side by side."""
    head = ["tcp", "udp", "ping", f":{PUBLISHED_PORT}", "ipv6"]
    say(f"{'':10}{'before':32}after")
    for name, left, right in [("", head, head), *((n, before[n].cells(), after[n].cells()) for n in before)]:
        say(f"{name:10}" + "".join(f"{cell:6}" for cell in left) + "  " + "".join(f"{cell:6}" for cell in right))


def show_output(lab: Lab, command: list[str]) -> None:
    """Print a command and what it says on the Droplet."""
    heading(" ".join(command))
    done = lab.droplet.run(command, check=False)
    say((done.stdout + done.stderr).rstrip())


def heading(text: str) -> None:
    """Print a line that begins a part."""
    say(f"\n\033[1m# {text}\033[0m" if sys.stdout.isatty() else f"\n# {text}")


def say(text: str) -> None:
    """Print at once, so that it stays in order with what the Droplet's own commands print."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
