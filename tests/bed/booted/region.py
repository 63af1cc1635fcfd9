"""A region of DigitalOcean for booted Droplets: their network, the stand-in, a bucket of files, and a stranger."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bed import account, ca
from tests.bed.booted.droplet import BootedDroplet
from tests.bed.booted.files import DOMAIN, certificate
from tests.bed.booted.guest import Identity
from tests.bed.booted.machine import Machine
from tests.bed.cache import CHECKOUT
from tests.bed.control import DigitalOcean
from tests.bed.droplet import API_ADDRESS, RESOLVERS
from tests.bed.hosts import Host, Link
from tests.bed.network import Network
from tests.bed.world import GATEWAY, METADATA_ADDRESS

FILES_ADDRESS = "104.236.32.2"
STORE_ADDRESS = "104.236.32.3"
# Droplets are told apart by a number: it is the last octet of their addresses.
FIRST_NUMBER = 10
FIRST_DROPLET_ID = 2756294


class Region:
    """Everything around booted Droplets; use it in a `with` statement. Leaving it ends them and leaves no trace.

    Attributes:
        do: the stand-in for DigitalOcean, to be changed at any time; it lists the Droplets made here.
        token: the account's token.
        stranger: a host in the same VPC that is no Droplet of the account; it is always up.
        spaces: a folder that holds the region's buckets: what lies at BUCKET/KEY is served at `bucket(BUCKET)`/KEY.
    """

    def __init__(self) -> None:
        self.token = "dop_v1_" + "0123456789abcdef" * 4
        self.stranger = Host("stranger")
        self.do: DigitalOcean
        self._network = Network("public", "private")
        self._cloud = Host("digitalocean")
        self._bucket = Host("bucket")
        self._names = {ca.API_HOST: API_ADDRESS}
        self._numbers = itertools.count(FIRST_NUMBER)
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Region:
        with contextlib.ExitStack() as undo:
            for part in (self._network, self._cloud, self._bucket, self.stranger):
                undo.callback(part.stop)
                part.start()
            self._start_cloud()
            self._folder = Path(undo.enter_context(tempfile.TemporaryDirectory()))
            self.spaces = self._folder / "spaces"
            self.spaces.mkdir()
            self._start_bucket()
            self._plug_settled(self.stranger, *_links(next(self._numbers)))
            self._exit = undo.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._exit.close()

    # --- what a test makes

    def droplet(
        self,
        release: str,
        name: str,
        *,
        user_data: str = "",
        vendor_data: str = "",
        tags: tuple[str, ...] = (),
        image: Path | None = None,
    ) -> BootedDroplet:
        """Make a Droplet, switched off, and let the API list it.

        Args:
            release: one of `booted.RELEASES`, or `furnished`.
            name: its name, and hostname.
            user_data: what cloud-init is given at first boot.
            vendor_data: what DigitalOcean adds to that.
            tags: its tags.
            image: the disk of the one that another region made as its so manieth host, with the same arguments: this
                is that one, in a world of its own.
        """
        number = next(self._numbers)
        public, private = _links(number)
        droplet = account.ListedDroplet(FIRST_DROPLET_ID + number, name, private.ipv4, public.ipv4, tags=tags)
        self.do.add(droplet)
        return self._made(release, number, droplet, (public, private), user_data, vendor_data, image)

    def machine(self, name: str, *, user_data: str = "") -> Machine:
        """Make a Droplet with a kernel of its own, switched off, and let the API list it.

        Args:
            name: its name, and hostname.
            user_data: what cloud-init is given at first boot.
        """
        number = next(self._numbers)
        public, private = _links(number)
        droplet = account.ListedDroplet(FIRST_DROPLET_ID + number, name, private.ipv4, public.ipv4)
        self.do.add(droplet)
        self._tell_metadata(number, droplet, (public, private), user_data)
        # Its cloud-init draws the address that it first asks from; the stand-in goes by addresses.
        asks = ["-m", "mac", "--mac-source", public.mac, "-s", "169.254.0.0/16"]
        known = ["-j", "SNAT", "--to-source", _link_local(number)]
        self._cloud.run(["iptables", "-t", "nat", "-A", "INPUT", *asks, *known])
        sockets = {public: self._network.socket("public"), private: self._network.socket("private")}
        identity = Identity(droplet, (public, private), self._names, RESOLVERS)
        made = Machine(identity, self._network.switch, sockets, self.host("admin"))
        self._exit.callback(made.destroy)
        return made

    def private_droplet(self, release: str, name: str, *, user_data: str = "") -> BootedDroplet:
        """Make a Private Droplet: its one card, eth0, is in the VPC, and its way out is a NAT gateway there.

        Args:
            release: one of `booted.RELEASES`.
            name: its name, and hostname.
            user_data: what cloud-init is given at first boot.
        """
        number = next(self._numbers)
        _, inside = _links(number)
        card = Link("eth0", inside.mac, inside.addresses)
        droplet = account.ListedDroplet(FIRST_DROPLET_ID + number, name, card.ipv4, None)
        self.do.add(droplet)
        gateway = self._gateway()
        nic = account.Nic(card.mac, card.ipv4, "255.255.0.0", gateway.address)
        # Its questions come from the gateway, whose other address hides it.
        document = account.metadata(droplet, None, nic, user_data=user_data)
        self.do.set_metadata(gateway.public.ipv4, document)

        booted: list[bool] = []

        def connect(host: Host) -> Callable[[], None]:
            self._network.plug(host, card, "private")
            if not booted:  # later boots go by what cloud-init remembers, so the card is down until ifupdown comes
                host.ip(f"address add {_link_local(number)}/16 dev eth0\nlink set eth0 up\n")
                booted.append(True)
            return lambda: self._network.unplug(host, card)

        # Debian's cloud-init calls every private card eth1 and gives it no gateway: such an image sees to it itself.
        interfaces = f"auto eth0\niface eth0 inet static\naddress {card.addresses[0]}\ngateway {gateway.address}\n"
        files = {
            "etc/cloud/cloud.cfg.d/98-lab-network.cfg": "network: {config: disabled}\n",
            "etc/network/interfaces.d/50-private": interfaces,
        }
        made = BootedDroplet(release, Identity(droplet, (card,), self._names, RESOLVERS, files), connect)
        self._exit.callback(made.destroy)
        return made

    def _gateway(self) -> Host:
        """Make a NAT gateway, which answers for the metadata service on the private network."""
        gateway = self.host("gateway")
        gateway.ip(f"route add {METADATA_ADDRESS}/32 via {GATEWAY} dev eth0\n")
        gateway.ip("route add 169.254.10.0/24 dev eth1\n")
        gateway.ip(f"neighbour add proxy {METADATA_ADDRESS} dev eth1\n")
        set_up = "cd /proc/sys/net/ipv4; echo 1 >ip_forward; echo 1 >conf/eth1/proxy_arp; echo 0 >conf/all/rp_filter"
        gateway.run(["sh", "-ec", set_up])
        gateway.run(["iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE"])
        return gateway

    def created(self, release: str, droplet_id: int) -> BootedDroplet:
        """Make a Droplet that was created through the API, as Terraform does; it is switched off.

        Its name, private address and user data are what the API was given and gave.

        Args:
            release: one of `booted.RELEASES`; an image's name says nothing here.
            droplet_id: what the API answered to the POST.
        """
        number = next(self._numbers)
        listed = next(each for each in self.do.droplets if each["id"] == droplet_id)
        address = next(net["ip_address"] for net in listed["networks"]["v4"] if net["type"] == "private")
        droplet = account.ListedDroplet(
            droplet_id,
            listed["name"],
            private=address,
            region=listed["region"]["slug"],
            vpc=listed["vpc_uuid"],
            tags=tuple(listed["tags"]),
        )
        user_data = self._metadata_of(address)["user_data"]
        return self._made(release, number, droplet, _links(number, address), user_data)

    def _metadata_of(self, address: str) -> dict[str, Any]:
        """Ask the metadata service what it tells the Droplet with a private address."""
        self._cloud.ip(f"address add {address}/32 dev lo\n")
        asked = ["curl", "-sS", "--fail", "--interface", address, f"http://{METADATA_ADDRESS}/metadata/v1.json"]
        document: dict[str, Any] = json.loads(self._cloud.run(asked).stdout)
        self._cloud.ip(f"address delete {address}/32 dev lo\n")
        return document

    def _made(
        self,
        release: str,
        number: int,
        droplet: account.ListedDroplet,
        links: tuple[Link, Link],
        user_data: str,
        vendor_data: str = "",
        image: Path | None = None,
    ) -> BootedDroplet:
        public, private = links
        self._tell_metadata(number, droplet, links, user_data, vendor_data)

        def connect(host: Host) -> Callable[[], None]:
            self._network.plug(host, public, "public")
            self._network.plug(host, private, "private")
            host.ip(f"address add {_link_local(number)}/16 dev eth0\nlink set eth0 up\n")

            def disconnect() -> None:
                for link in links:
                    self._network.unplug(host, link)

            return disconnect

        made = BootedDroplet(release, Identity(droplet, links, self._names, RESOLVERS), connect, image)
        self._exit.callback(made.destroy)
        return made

    def _tell_metadata(
        self,
        number: int,
        droplet: account.ListedDroplet,
        links: tuple[Link, Link],
        user_data: str,
        vendor_data: str = "",
    ) -> None:
        public, private = links
        document = account.metadata(
            droplet,
            account.Nic(public.mac, public.ipv4, "255.255.240.0", GATEWAY),
            account.Nic(private.mac, private.ipv4, "255.255.0.0", "nil"),
            user_data=user_data,
            vendor_data=vendor_data or "#cloud-config\n{}\n",
        )
        # cloud-init asks from the first address before it has configured the second.
        for address in (_link_local(number), public.ipv4):
            self.do.set_metadata(address, document)

    def host(self, name: str) -> Host:
        """Make a host that does not boot, to send from; `listing` of it, given to `do.add`, makes it a peer."""
        host = Host(name)
        self._exit.callback(host.stop)
        host.start()
        self._plug_settled(host, *_links(next(self._numbers)))
        return host

    def listing(self, host: Host, *, tags: tuple[str, ...] = ()) -> account.ListedDroplet:
        """Return a host as the API would list it."""
        number = int(host.address.rsplit(".", 1)[1])
        return account.ListedDroplet(FIRST_DROPLET_ID + number, host.name, host.address, host.public.ipv4, tags=tags)

    def awake(self, droplet_id: int) -> Host:
        """Make a host of a Droplet that was created through the API: it has its address, and does not boot.

        Args:
            droplet_id: what the API answered to the POST.
        """
        listed = next(each for each in self.do.droplets if each["id"] == droplet_id)
        address = next(net["ip_address"] for net in listed["networks"]["v4"] if net["type"] == "private")
        host = Host(listed["name"])
        self._exit.callback(host.stop)
        host.start()
        self._plug_settled(host, *_links(next(self._numbers), address))
        return host

    def store(self) -> socket.socket:
        """Make a socket that Droplets which boot from now on find as Spaces' own, for who serves there."""
        host = Host("store")
        self._exit.callback(host.stop)
        host.start()
        self._network.connect(host, Link("eth0", "fe:00:00:00:01:03", (f"{STORE_ADDRESS}/20",)), "public")
        self._names[DOMAIN] = STORE_ADDRESS
        return host.inside(lambda: socket.create_server((STORE_ADDRESS, 443), backlog=64))

    def bucket(self, name: str) -> str:
        """Return the URL of a bucket, and let Droplets that boot for the first time from now on find it."""
        host = f"{name}.{DOMAIN}"
        self._names[host] = FILES_ADDRESS
        return f"https://{host}"

    def publish(self, name: str, content: bytes, *, bucket: str = "droplan") -> str:
        """Put a file into a bucket, which is made if it is not there, and return its URL."""
        (self.spaces / bucket).mkdir(exist_ok=True)
        (self.spaces / bucket / name).write_bytes(content)
        return f"{self.bucket(bucket)}/{name}"

    def workstation(self) -> list[str]:
        """Return how a command begins that runs on this machine, but where the API is the stand-in.

        It is to trust the CA `ca.certificates().authority`.
        """
        hosts = self._folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{API_ADDRESS} {ca.API_HOST}\n")
        enter = ["nsenter", f"--net={self._cloud.netns}", "unshare", "--mount"]
        return [*enter, "sh", "-c", 'mount --bind "$1" /etc/hosts && shift && exec "$@"', "sh", str(hosts)]

    # --- the network

    def _start_cloud(self) -> None:
        gateway = Link("eth0", "fe:00:00:00:01:01", (f"{GATEWAY}/20",))
        self._network.connect(self._cloud, gateway, "public")
        served = (METADATA_ADDRESS, API_ADDRESS, *RESOLVERS)
        self._cloud.ip(
            "".join(f"address add {address}/32 dev lo\n" for address in served)
            + "route add 169.254.0.0/16 dev eth0\n"
        )
        standin = self._serve(self._cloud, "tests.bed.standin", str(ca.certificates().folder))
        self.do = DigitalOcean(standin, self.token)
        self.do.set_droplets([])

    def _start_bucket(self) -> None:
        card = Link("eth0", "fe:00:00:00:01:02", (f"{FILES_ADDRESS}/20",))
        self._network.connect(self._bucket, card, "public")
        server = self._serve(self._bucket, "tests.bed.booted.files", str(certificate()), str(self.spaces))
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n", "the bucket's server has ended; its error output is above"

    def _serve(self, host: Host, module: str, *arguments: str) -> subprocess.Popen[str]:
        return host.popen(
            # The system's Python, because the test's own may not see the checkout's tests package.
            ["/usr/bin/python3", "-m", module, *arguments],
            env={"PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stderr=None if sys.stderr is None else sys.stderr.fileno(),
        )

    def _plug_settled(self, host: Host, public: Link, private: Link) -> None:
        host.links = (public, private)
        self._network.connect(host, public, "public")
        self._network.connect(host, private, "private")
        host.ip(f"route add default via {GATEWAY}\n")


def _links(number: int, private: str | None = None) -> tuple[Link, Link]:
    return (
        Link("eth0", f"0a:00:68:ec:20:{number:02x}", (f"104.236.32.{number}/20",)),
        Link("eth1", f"0a:00:0a:84:00:{number:02x}", (f"{private or f'10.132.0.{number}'}/16",)),
    )


def _link_local(number: int) -> str:
    return f"169.254.10.{number}"
