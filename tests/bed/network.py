"""The wires of a lab: bridges in a namespace of their own, and cables from hosts' cards to them.

    network = Network("public", "private")
    network.start()
    network.connect(stranger, Link("eth1", "0a:00:0a:84:00:05", ("10.132.0.5/16",)), "private")

A host that is to forward has a card in each of two bridges.
"""

from __future__ import annotations

import itertools

from tests.bed.hosts import Host, Link


class Network:
    """Bridges and what is plugged into them. It ends with `stop`, and with the test's process at the latest.

    Args:
        bridges: their names; none of them snoops, so that each floods multicast packets to all its ports.
    """

    def __init__(self, *bridges: str) -> None:
        self._bridges = bridges
        self._switch = Host("switch")
        self._numbers = itertools.count(1)
        self._ports: dict[tuple[Host, str], str] = {}

    @property
    def switch(self) -> Host:
        """Where the bridges are."""
        return self._switch

    def start(self) -> None:
        """Make the bridges."""
        self._switch.start()
        for bridge in self._bridges:
            self._switch.ip(f"link add {bridge} type bridge mcast_snooping 0\nlink set {bridge} up\n")

    def stop(self) -> None:
        """End the bridges, and with them every cable."""
        self._switch.stop()

    def set_bridge(self, bridge: str, options: str) -> None:
        """Change how a bridge works, in ip-link(8)'s words for its type."""
        self._switch.ip(f"link set {bridge} type bridge {options}\n")

    def socket(self, bridge: str) -> str:
        """Make a socket (a tap device) of a bridge, for the card of a virtual machine that runs in `switch`.

        Returns:
            Its name there.
        """
        port = f"port{next(self._numbers)}"
        self._switch.ip(f"tuntap add {port} mode tap\nlink set {port} master {bridge} up\n")
        return port

    def plug(self, host: Host, link: Link, bridge: str) -> None:
        """Give a host a card whose cable leads to a bridge; the card is down and has no address yet.

        Both ends of the cable are made in their namespaces at once. A cable that the card had before is taken away.
        """
        self.unplug(host, link)
        port = self._ports[host, link.name] = f"port{next(self._numbers)}"
        self._switch.ip(
            f"link add {port} type veth peer name {link.name} address {link.mac} netns {host.pid}\n"
            f"link set {port} master {bridge} up\n"
        )

    def connect(self, host: Host, link: Link, bridge: str) -> None:
        """Plug a card in, and configure it as the host itself would: up, with its addresses."""
        self.plug(host, link, bridge)
        addresses = "".join(f"address add {address} dev {link.name}\n" for address in link.addresses)
        host.ip(f"link set lo up\nlink set {link.name} up\n{addresses}")

    def unplug(self, host: Host, link: Link) -> None:
        """Take a card away with its cable, if it is there."""
        port = self._ports.pop((host, link.name), None)
        if port:
            # A namespace that ended takes its cable along, sooner or later: whoever comes second finds none.
            self._switch.run(["ip", "link", "delete", port], check=False)
