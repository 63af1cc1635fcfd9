"""The lab: a stand-in DigitalOcean, a Droplet, its peers and a stranger, on one machine and in seconds."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

from tests.bed import account, ca
from tests.bed.cache import CHECKOUT
from tests.bed.control import DigitalOcean
from tests.bed.droplet import API_ADDRESS, RESOLVERS, LabDroplet, require_machine
from tests.bed.hosts import Host, Link
from tests.bed.network import Network
from tests.bed.reach import Echo

DROPLET_ID = 2756294
METADATA_ADDRESS = "169.254.169.254"
GATEWAY = "104.236.32.1"
GATEWAY6 = "2604:a880:0:1010::1"
# Where reserved IPs are delivered: a private address on the public interface.
ANCHOR = "10.17.0.5"
PUBLISHED_PORT = 8080
_CONTAINER_PORT = 80


class Lab:
    """A Droplet among its peers and a stranger; use it in a ``with`` statement.

    All hosts are on the VPC's bridge (eth1) and on the public one (eth0). The API lists the Droplet, the peers that
    are alive and one that is not; the stranger is in the VPC too, but not in the list. No rule is set anywhere.

    Args:
        iptables: the variant that ``iptables`` means in the Droplet, ``nft`` or ``legacy``.
        live_peers: how many peers are alive.

    Attributes:
        droplet: the host under test.
        peers: the hosts of live peers, ``peer_droplets`` what the API says of them and of the one that is off.
        stranger: a host in the same VPC that is no Droplet of the account.
        network: the wires, for further cards.
        do: the stand-in for DigitalOcean, to be changed at any time.
        token: the account's token.
    """

    def __init__(self, iptables: str = "nft", live_peers: int = 2) -> None:
        self.iptables = iptables
        self.token = "dop_v1_" + "0123456789abcdef" * 4
        self.droplet = LabDroplet("web-1", connect=self._connect_droplet, disconnect=self._disconnect_droplet)
        self.peers = [Host(f"peer-{n}") for n in range(1, live_peers + 1)]
        self.stranger = Host("stranger")
        self.container: Host | None = None
        self.echo = Echo()
        self.network = Network("public", "private")
        self._cloud = Host("digitalocean")
        self._exit = contextlib.ExitStack()
        for number, host in enumerate((self.droplet, *self.peers, self.stranger), start=2):
            host.links = _links(number)
        peers = [_as_droplet(DROPLET_ID + n, peer, ("web",)) for n, peer in enumerate(self.peers, start=1)]
        away = account.ListedDroplet(DROPLET_ID + 100, "peer-away", "10.132.0.100", "104.236.32.100", status="off")
        self.peer_droplets = [*peers, away]
        self.own_droplet = _as_droplet(DROPLET_ID, self.droplet, ("web",))

    def __enter__(self) -> Lab:
        require_machine()
        with contextlib.ExitStack() as undo:
            self._build(undo)
            self._exit = undo.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._exit.close()

    def _build(self, undo: contextlib.ExitStack) -> None:
        parts: list[Host | Network] = [self.network, self._cloud, self.stranger, *self.peers]
        undo.callback(self.echo.close)
        undo.callback(self.droplet.destroy)
        for part in parts:
            undo.callback(part.stop)
        with ThreadPoolExecutor() as pool:
            for made in [pool.submit(part.start) for part in [*parts, self.droplet]]:
                made.result()
        self._wire_cloud()
        self.do = self._start_standin(undo)
        self.do.set_droplets([self.own_droplet, *self.peer_droplets])
        self.do.set_metadata(self.droplet.public.ipv4, self.metadata())
        for host in (self.stranger, *self.peers):
            self._wire(host)
            self.echo.listen(host)
        self.droplet.connect()
        self.droplet.use_iptables(self.iptables)

    def metadata(self) -> dict[str, object]:
        """Return the Droplet's metadata document as it is at first."""
        public, private = self.droplet.public, self.droplet.private
        return account.metadata(
            self.own_droplet,
            account.Nic(public.mac, public.ipv4, "255.255.240.0", GATEWAY, self.own_droplet.public6),
            account.Nic(private.mac, private.ipv4, "255.255.0.0", "nil"),
            anchor=ANCHOR,
        )

    def listener(self, port: int) -> socket.socket:
        """Make a socket that listens on a port of the addresses where the API is, for a server of the test's own."""
        made = self._cloud.inside(lambda: socket.create_server(("0.0.0.0", port), backlog=64))
        self._exit.callback(made.close)
        return made

    def publish_port(self) -> None:
        """Run a container behind the Droplet and publish its port as container engines do, by DNAT."""
        container = Host("container")
        container.start()
        self._exit.callback(container.stop)
        self.droplet.ip(
            f"link add docker0 type veth peer name eth0 netns {container.pid}\n"
            "address add 172.17.0.1/16 dev docker0\nlink set docker0 up\n"
        )
        container.ip(
            "link set lo up\naddress add 172.17.0.2/16 dev eth0\nlink set eth0 up\nroute add default via 172.17.0.1\n"
        )
        self.droplet.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
        target = f"172.17.0.2:{_CONTAINER_PORT}"
        match = ("-p", "tcp", "--dport", str(PUBLISHED_PORT))
        self.droplet.run(
            ["iptables", "-t", "nat", "-A", "PREROUTING", *match, "-j", "DNAT", "--to-destination", target]
        )
        self.echo.listen(container, port=_CONTAINER_PORT)
        self.container = container

    def _start_standin(self, undo: contextlib.ExitStack) -> DigitalOcean:
        standin = self._cloud.popen(
            # The system's Python, because the test's own may not see the checkout's tests package.
            ["/usr/bin/python3", "-m", "tests.bed.standin", str(ca.certificates().folder)],
            env={"PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stderr=None,
        )
        return DigitalOcean(standin, self.token)

    def _connect_droplet(self) -> None:
        self._wire(self.droplet)
        self.droplet.ip(f"address add {ANCHOR}/16 dev eth0\n")
        self.echo.listen(self.droplet)

    def _disconnect_droplet(self) -> None:
        self.echo.forget(self.droplet)
        if self.container is not None:
            self.echo.forget(self.container)
            self.container.stop()
            self.container = None

    def _wire(self, host: Host) -> None:
        for link, bridge in ((host.public, "public"), (host.private, "private")):
            self.network.connect(host, link, bridge)
        host.ip(f"route add default via {GATEWAY}\nroute add default via {GATEWAY6}\n")

    def _wire_cloud(self) -> None:
        gateway = Link("eth0", "fe:00:00:00:01:01", (f"{GATEWAY}/20", f"{GATEWAY6}/64"))
        self.network.connect(self._cloud, gateway, "public")
        served = (METADATA_ADDRESS, API_ADDRESS, *RESOLVERS)
        self._cloud.ip("".join(f"address add {address}/32 dev lo\n" for address in served))


def _links(number: int) -> tuple[Link, ...]:
    return (
        Link("eth0", f"0a:00:68:ec:20:{number:02x}", (f"104.236.32.{number}/20", f"2604:a880:0:1010::{number:x}/64")),
        Link("eth1", f"0a:00:0a:84:00:{number:02x}", (f"10.132.0.{number}/16",)),
    )


def _as_droplet(number: int, host: Host, tags: tuple[str, ...]) -> account.ListedDroplet:
    public6 = next(str(ipaddress.ip_interface(a).ip) for a in host.public.addresses if ":" in a)
    return account.ListedDroplet(number, host.name, host.address, host.public.ipv4, public6, tags=tags)
