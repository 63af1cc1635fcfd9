"""A client behind a router whose link to it is narrower than the Droplet's: what is too big comes back as an error.

    client (MTU 1500) -- link of MTU 1000 or 1280 -- router -- the lab's private or public network -- Droplet

The Droplet sends segments of 1,460 bytes, for the client's card takes them; the router answers the first with ICMP
"fragmentation needed", or ICMPv6 "packet too big". A Droplet that does not hear it sends the same again for ever.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from tests.bed.hosts import Host, Link
from tests.bed.network import Network
from tests.bed.world import Lab

BYTES = 200_000
PORT = 5001

ADDRESSES = {
    ("eth1", 4): ("10.132.9.9", "10.132.9.1", 24),
    ("eth0", 4): ("104.236.40.9", "104.236.40.1", 24),
    ("eth1", 6): ("fd00:9::9", "fd00:9::1", 64),
    ("eth0", 6): ("2604:a880:0:4040::9", "2604:a880:0:4040::1", 64),
}
"""The client's address, the router's on the client's side, and the length of their prefix."""

_ROUTER = {"eth1": ("10.132.0.77", "fd00:1::77"), "eth0": ("104.236.32.77", "2604:a880:0:1010::77")}
_DROPLET6 = "fd00:1::2"
_MTU = {4: 1000, 6: 1280}  # IPv6 has no narrower links


@contextlib.contextmanager
def routed(lab: Lab, card: str, version: int) -> Iterator[Host]:
    """Add a router to the lab's private (``eth1``) or public (``eth0``) network, and a client behind it.

    Yields:
        The client, whose address is in :data:`ADDRESSES`.
    """
    client, router, network = Host("client"), Host("router"), Network("narrow")
    address, gateway, length = ADDRESSES[card, version]
    bits = 32 if version == 4 else 128
    mine = _ROUTER[card][0 if version == 4 else 1]
    near = Link("eth0", "0a:00:00:00:77:01", (f"{mine}/{16 if version == 4 else 64}",))
    with contextlib.ExitStack() as undo:
        for part in (network, router, client):
            part.start()
            undo.callback(part.stop)
        undo.callback(lab.network.unplug, router, near)
        lab.network.connect(router, near, "private" if card == "eth1" else "public")
        network.connect(router, Link("eth1", "0a:00:00:00:77:02", (f"{gateway}/{length}",)), "narrow")
        network.connect(client, Link("eth0", "0a:00:00:00:77:03", (f"{address}/{length}",)), "narrow")
        router.ip(f"link set eth1 mtu {_MTU[version]}\n")
        router.run(
            ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"]
        )
        if version == 6 and card == "eth1":
            lab.droplet.ip(f"address add {_DROPLET6}/64 dev eth1\n")
        client.ip(f"route add default via {gateway}\n")
        lab.droplet.ip(f"route add {address}/{bits} via {mine}\n")
        yield client


def download(lab: Lab, client: Host, card: str, version: int, patience: float = 6.0) -> int:
    """Have the client open a connection to the Droplet and read what it sends; return how many bytes came."""
    if version == 4:
        target = lab.droplet.address if card == "eth1" else lab.droplet.public.ipv4
    else:
        target = _DROPLET6 if card == "eth1" else "2604:a880:0:1010::2"
    family = socket.AF_INET if version == 4 else socket.AF_INET6

    def listen() -> socket.socket:
        served = socket.socket(family, socket.SOCK_STREAM)
        served.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        served.bind((target, PORT))
        served.listen()
        return served

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            taken, _ = listener.accept()
            with taken:
                taken.settimeout(patience)
                taken.sendall(b"x" * BYTES)

    with lab.droplet.inside(listen) as listener:
        listener.settimeout(patience)
        server = threading.Thread(target=serve, args=(listener,), daemon=True)
        server.start()
        got = 0
        with client.inside(lambda: socket.socket(family, socket.SOCK_STREAM)) as reader:
            reader.settimeout(patience)
            with contextlib.suppress(OSError):
                reader.connect((target, PORT))
                while data := reader.recv(65536):
                    got += len(data)
        server.join(patience)
    return got
