"""The way of the Go droplan: 20 Droplets a request, flush the chain, then one iptables process for each peer.

In Python and with requests, as droplan is, so that what differs is the way and not the language. Runs on the Droplet:
``python3 -I -S per_rule.py SITE_PACKAGES INTERFACE``, with the token in DO_KEY.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

sys.path.insert(0, sys.argv[1])

import requests


def peers() -> list[str]:
    """List the private addresses of the account's Droplets."""
    session = requests.Session()
    session.verify = "/etc/ssl/certs"
    session.headers["Authorization"] = f"Bearer {os.environ['DO_KEY']}"
    found: list[str] = []
    url: Any = "https://api.digitalocean.com/v2/droplets?per_page=20"
    while url:
        page = session.get(url, timeout=30).json()
        networks = [network for droplet in page["droplets"] for network in droplet["networks"]["v4"]]
        found += [network["ip_address"] for network in networks if network["type"] == "private"]
        url = page.get("links", {}).get("pages", {}).get("next")
    return found


def iptables(*words: str) -> int:
    """Run iptables once."""
    return subprocess.run(["iptables", *words], check=False, stderr=subprocess.DEVNULL).returncode


def main() -> None:
    """Refresh as the Go droplan does."""
    addresses = peers()
    interface = sys.argv[2]
    iptables("-N", "droplan-peers")
    iptables("-F", "droplan-peers")
    for address in addresses:
        iptables("-A", "droplan-peers", "-s", f"{address}/32", "-j", "ACCEPT")
    for rule in (
        ["-j", "droplan-peers"],
        ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"],
        ["-j", "DROP"],
    ):
        if iptables("-C", "INPUT", "-i", interface, *rule):
            iptables("-A", "INPUT", "-i", interface, *rule)


main()
