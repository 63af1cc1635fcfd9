"""The demo: a story of the real droplan on the lab's Droplet, from the first question to the last.

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
INSTALLED = "/opt/droplan/droplan"


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
    """Tell the story; the exit code is 0 when everybody was let in or shut out as it should be."""
    archive = Path(sys.argv[1])
    variant = sys.argv[2] if len(sys.argv) > 2 else "nft"
    start = time.monotonic()
    with Lab(variant) as lab:
        lab.publish_port()
        say(f"A lab in {time.monotonic() - start:.1f} s: DigitalOcean's API and metadata service, a Droplet,")
        say(f"two live peers and a stranger in its VPC. The Droplet publishes a container's port {PUBLISHED_PORT}.")
        right = tell(lab, archive)
    if not right:
        say("\nThis is not as it should be: peers are to reach the Droplet over IPv4, strangers not at all.")
        return 1
    say(f"\nPeers in, strangers out, nothing left behind. The lab is gone; it took {time.monotonic() - start:.0f} s.")
    return 0


def tell(lab: Lab, archive: Path) -> bool:
    """Tell it, chapter by chapter; return whether everybody was let in or shut out as it should be."""
    stranger, newcomer = lab.stranger, lab.peers[1]
    lab.do.set_droplets([lab.own_droplet, lab.peer_droplets[0]])  # the second peer is created later on
    first = {lab.peers[0].name: PEER, newcomer.name: STRANGER, stranger.name: STRANGER}
    everyone = {**first, newcomer.name: PEER}
    before = look(lab)
    install(lab, archive)
    found = [(look(lab), first)]
    chapter("Who reaches the Droplet's private address (tcp, udp, ping, a container's port, IPv6)")
    show(before, found[-1][0])
    chapter("Why not the stranger, and why the peer?")
    droplan(lab, "explain", stranger.address, "tcp/5432")
    droplan(lab, "explain", lab.peers[0].name)
    chapter(f"{newcomer.name} is created. What would the next refresh do?")
    lab.do.set_droplets([lab.own_droplet, *lab.peer_droplets])
    droplan(lab, "refresh", "--dry-run")
    droplan(lab, "refresh")
    droplan(lab, "peers")
    found.append((look(lab), everyone))
    chapter("A reboot: the rules are restored before anybody asks DigitalOcean")
    lab.droplet.reboot()
    lab.publish_port()
    droplan(lab, "restore")
    lab.droplet.run(["service", "cron", "start"])  # as a boot does
    found.append((look(lab), everyone))
    droplan(lab, "status")
    chapter("And off again: what would go, and what is left")
    droplan(lab, "uninstall", "--dry-run")
    lab.droplet.run([INSTALLED, "uninstall"])
    after = look(lab)
    show(found[-1][0], after)
    return after == before and all(seen == wanted for seen, wanted in found)


def install(lab: Lab, archive: Path) -> None:
    """Install droplan as a person would: with the token in a file that only root reads."""
    chapter("droplan.pyz install --token-file token")
    shutil.copy(archive, lab.droplet.path(PROGRAM))
    token = lab.droplet.path("/root/token")
    token.touch(mode=0o600)
    token.write_text(lab.token)
    words = ["/usr/bin/python3", PROGRAM, "install", "--token-file", "/root/token"]
    done = lab.droplet.run(words, check=False, timeout=300)
    say((done.stdout + done.stderr).rstrip())
    if done.returncode:
        raise SystemExit(f"the installation ended with exit code {done.returncode}; its messages are above")


def droplan(lab: Lab, *words: str) -> None:
    """Print a command and what droplan says to it."""
    say(f"$ droplan {' '.join(words)}")
    done = lab.droplet.run([INSTALLED, *words], check=False)
    say((done.stdout + done.stderr).rstrip())


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


def chapter(text: str) -> None:
    """Print a line that begins a part."""
    say(f"\n\033[1m# {text}\033[0m" if sys.stdout.isatty() else f"\n# {text}")


def say(text: str) -> None:
    """Print at once, so that it stays in order with what the Droplet's own commands print."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
