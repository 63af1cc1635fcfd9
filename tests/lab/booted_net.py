"""The network cards of a booted Droplet: a network namespace of its own for each boot, plugged into bridges."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Optional

# cloud-init's DigitalOcean datasource asks 169.254.169.254 before any network is configured. On the real thing it
# gives itself a link-local address for that; in the lab (`use_ip4LL: false`) eth0 has one from the start.
LINK_LOCAL_PREFIX = 16


@dataclass(frozen=True)
class Socket:
    """Where a card is plugged in.

    Args:
        namespace: Name of the network namespace that holds the bridge (`ip netns list`).
        bridge: The bridge's name in it.
        mac: MAC address of the card, as the metadata service tells it.
        link_local: An address in 169.254.0.0/16 that the card has before boot, so that the Droplet can read its
            metadata; None for a card that starts bare.
    """

    namespace: str
    bridge: str
    mac: str
    link_local: Optional[str] = None


class Cabling:
    """The namespace that a Droplet has for one boot, with eth0, eth1, … plugged in.

    A reboot needs a new one: rules that stayed behind in the old one would prove nothing.

    Args:
        name: Name of the namespace to make, unique on this machine, at most 11 characters (it also names the bridges' ports).
        sockets: What eth0, eth1, … are plugged into, in this order.
    """

    def __init__(self, name: str, sockets: tuple[Socket, ...]) -> None:
        self.name = name
        self._sockets = sockets

    def plug_in(self) -> None:
        """Make the namespace and its cards.

        Raises:
            subprocess.CalledProcessError: `ip` refused; nothing is left behind that `unplug` does not remove.
        """
        _ip("netns", "add", self.name)
        for number, socket in enumerate(self._sockets):
            card, port = f"eth{number}", f"{self.name}-{number}"
            inside, there = ("-n", self.name), ("-n", socket.namespace)
            # Made where the port lives, so that no name of it is ever seen in the machine's own namespace.
            _ip(*there, "link", "add", port, "type", "veth", "peer", "name", card, "address", socket.mac, "netns", self.name)
            _ip(*there, "link", "set", port, "master", socket.bridge, "up")
            if socket.link_local:
                _ip(*inside, "addr", "add", f"{socket.link_local}/{LINK_LOCAL_PREFIX}", "dev", card)
                _ip(*inside, "link", "set", card, "up")

    def unplug(self) -> None:
        """Remove the namespace, and with it the cards and their ports. Removing it twice is fine."""
        for number, socket in enumerate(self._sockets):
            # Deleting the namespace frees its cards only when the last process in it is reaped; the ports' names are
            # wanted again at once.
            subprocess.run(["ip", "-n", socket.namespace, "link", "del", f"{self.name}-{number}"], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
