"""Write the fixtures beside this file: what a real kernel tells, in a network namespace that this makes for itself.

    sudo unshare --net python3 -m tests.unit.netlink.capture

Each file holds what the reads returned while a command ran, a line of hex each.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from droplan_boot.firewall import nflog as agreed
from droplan_boot.host import netlink
from droplan_boot.watch import links, nflog, rulesets

FOLDER = Path(__file__).parent

OURS = """
add table inet droplan
add set inet droplan shut { type ipv4_addr; size 64; flags dynamic,timeout; timeout 60s; }
add chain inet droplan guard { type filter hook prerouting priority -170; }
add rule inet droplan guard iifname "eth1" drop
"""
PEERS = """*filter
:droplan-peers - [0:0]
-A droplan-peers -s 10.132.0.3/32 -j ACCEPT
-I INPUT 1 -i eth1 -j droplan-peers
-I INPUT 2 -i eth1 -j DROP
COMMIT
"""
DOCKER = """*filter
:DOCKER - [0:0]
-A DOCKER -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j ACCEPT
COMMIT
*nat
:DOCKER - [0:0]
-A DOCKER -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
"""
KNOCKS = f"""
add table inet knocks
add chain inet knocks in {{ type filter hook input priority 0; }}
add rule inet knocks in log prefix "{agreed.prefix(public=False)}" group {agreed.GROUP}
"""


def sh(command: str, text: str = "") -> None:
    """Run a shell line, which must succeed."""
    subprocess.run(["sh", "-c", command], input=text, text=True, check=True)


def capture(name: str, line: netlink.Line, act: Callable[[], None]) -> None:
    """Write down what is heard while something is done."""
    while line.read():
        pass
    act()
    time.sleep(0.3)
    heard = []
    while data := line.read():
        heard.append(data.hex())
    (FOLDER / f"{name}.hex").write_text("".join(f"{each}\n" for each in heard))


def main() -> None:
    """Capture all."""
    sh("ip link set lo up; ip link add eth1 type veth peer name far; ip link set far up; ip link set eth1 up")
    sh("ip address add 10.132.0.2/16 dev eth1")
    sh("iptables-nft -A INPUT -s 192.0.2.1 -j DROP; iptables-nft -t nat -A PREROUTING -j RETURN")
    rules = netlink.Line(netlink.NETFILTER, (rulesets.GROUP,))
    capture("nft-own-table", rules, lambda: sh("nft -f -", OURS))
    capture("iptables-peers", rules, lambda: sh("iptables-nft-restore --noflush", PEERS))
    capture("iptables-docker", rules, lambda: sh("iptables-nft-restore --noflush", DOCKER))
    capture("iptables-append-input", rules, lambda: sh("iptables-nft -A INPUT -s 192.0.2.7 -j DROP"))
    capture("iptables-delete-input", rules, lambda: sh("iptables-nft -D INPUT -s 192.0.2.7 -j DROP"))
    capture("nft-element-of-others", rules, lambda: sh("nft add table ip other"))
    capture("iptables-flush", rules, lambda: sh("iptables-nft -F"))
    capture("nft-flush-ruleset", rules, lambda: sh("nft flush ruleset"))

    cards = netlink.Line(netlink.ROUTE, links.GROUPS)
    capture("link-of-a-container", cards, lambda: sh("ip link add veth0 type veth peer name veth1"))
    capture(
        "link-renamed", cards, lambda: sh("ip link set eth1 down; ip link set eth1 name vpc0; ip link set vpc0 up")
    )
    capture("link-enslaved", cards, lambda: sh("ip link add br0 type bridge; ip link set vpc0 master br0"))
    capture("address-added", cards, lambda: sh("ip address add 10.133.0.2/16 dev br0"))
    capture("link-gone", cards, lambda: sh("ip link delete vpc0"))

    sh("nft -f -", KNOCKS)
    knocks = netlink.Line(netlink.NETFILTER)
    nflog.listen(knocks)
    connect = "import socket; s = socket.socket({0}, {1}); s.connect(('{2}', {3})); s.send(b'x')"
    for name, words in (
        ("packet-tcp", ("socket.AF_INET", "socket.SOCK_STREAM", "127.0.0.1", 5432)),
        ("packet-udp6", ("socket.AF_INET6", "socket.SOCK_DGRAM", "::1", 53)),
    ):
        run = connect.format(*words)
        capture(name, knocks, lambda run=run: sh(f'python3 -c "{run}" 2>/dev/null || true'))  # type: ignore[misc]


if __name__ == "__main__":
    main()
