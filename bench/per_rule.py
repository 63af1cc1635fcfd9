"""The way of the Go droplan: 20 Droplets a request, flush the chains, then one iptables process for each rule.

In Python and with requests, as droplan is, so that what differs is the way and not the language. Runs on the Droplet,
with the token in DO_KEY: ``python3 -I -S per_rule.py SITE_PACKAGES INTERFACE``. That writes the rules that the Go
droplan wrote, in INPUT and for IPv4. With a third argument, ``all``, it writes those that we write: containers' ports
(FORWARD) and IPv6 are closed too. Neither saves them, or reads them back.
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


def run(tool: str, *words: str) -> int:
    """Run iptables or ip6tables once."""
    return subprocess.run([tool, *words], check=False, stderr=subprocess.DEVNULL).returncode


def fill(tool: str, chain: str, rules: list[list[str]]) -> None:
    """Put rules into a chain of ours."""
    run(tool, "-N", chain)
    run(tool, "-F", chain)
    for rule in rules:
        run(tool, "-A", chain, *rule)


def append(tool: str, chain: str, rules: list[list[str]]) -> None:
    """Put rules that are not there yet into a chain of everybody's."""
    for rule in rules:
        if run(tool, "-C", chain, *rule):
            run(tool, "-A", chain, *rule)


def main() -> None:
    """Refresh as the Go droplan does."""
    addresses = peers()
    everything = sys.argv[3:] == ["all"]
    interface = ["-i", sys.argv[2]]
    replies = ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED"]
    head = [[*interface, "-j", "droplan-peers"], [*interface, *replies, "-j", "ACCEPT"], [*interface, "-j", "DROP"]]
    fill("iptables", "droplan-peers", [["-s", f"{address}/32", "-j", "ACCEPT"] for address in addresses])
    append("iptables", "INPUT", head)
    if not everything:
        return
    passing = [["-s", f"{address}/32", "-j", "RETURN"] for address in addresses]
    fill("iptables", "droplan-forward", [[*replies, "-j", "RETURN"], *passing, ["-j", "DROP"]])
    append("iptables", "FORWARD", [[*interface, "-j", "droplan-forward"]])
    neighbours = [["-p", "icmpv6", "--icmpv6-type", kind, "-j", "ACCEPT"] for kind in ("135", "136")]
    fill("ip6tables", "droplan-peers", neighbours)
    append("ip6tables", "INPUT", head)
    fill("ip6tables", "droplan-forward", [[*replies, "-j", "RETURN"], ["-j", "DROP"]])
    append("ip6tables", "FORWARD", [[*interface, "-j", "droplan-forward"]])


main()
