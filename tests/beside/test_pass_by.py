"""What passes by the host's hooks, as docs/beside.md says: shown, so that nobody believes it closed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed import Lab
from tests.bed.hosts import Host, Link
from tests.bed.program import Program
from tests.bed.reach import ECHO_PORT, answers_to, connects

GUEST = Link("guest0", "0a:00:0a:84:02:01", ("10.132.0.60/16",))
# Of which the guest is one end: a child of the card itself, or a port of the bridge that the card is in.
WAYS = {
    "macvlan": "link add guest0 link eth1 address {mac} netns {pid} type macvlan mode bridge\n",
    "bridge": "link add br0 type bridge forward_delay 0\nlink set br0 up\nlink set eth1 master br0\n"
    "link add port0 type veth peer name guest0 address {mac} netns {pid}\nlink set port0 master br0 up\n"
    "address delete {own} dev eth1\naddress add {own} dev br0\n",
}


@pytest.fixture(params=WAYS)
def guest(request: pytest.FixtureRequest, nft_lab: Lab) -> Iterator[Host]:
    Program(nft_lab).install()
    host = Host("guest")
    host.start()
    try:
        way = WAYS[request.param]
        nft_lab.droplet.ip(way.format(mac=GUEST.mac, pid=host.pid, own=nft_lab.droplet.private.addresses[0]))
        host.ip(f"link set lo up\nlink set {GUEST.name} up\naddress add {GUEST.addresses[0]} dev {GUEST.name}\n")
        nft_lab.echo.listen(host)
        yield host
    finally:
        nft_lab.echo.forget(host)
        host.stop()


@pytest.fixture
def nft_lab() -> Iterator[Lab]:
    with Lab("nft") as made:
        yield made


def test_status_names_the_bridges_port_that_a_guest_is_at(nft_lab: Lab) -> None:
    program = Program(nft_lab)
    program.install()
    own = nft_lab.droplet.private.addresses[0]
    nft_lab.droplet.ip(
        "link add br0 type bridge forward_delay 0\nlink set br0 up\nlink set eth1 master br0\n"
        "link add port0 type veth peer name guest0\nlink set port0 master br0 up\n"
        f"address delete {own} dev eth1\naddress add {own} dev br0\n"
    )
    program.refresh()
    said = program.run("status")
    assert "port0: what is behind is in the private network by itself" in " ".join(said.stdout.split())
    assert said.returncode == 0


def test_status_names_a_child_of_the_card(nft_lab: Lab) -> None:
    program = Program(nft_lab)
    program.install()
    nft_lab.droplet.ip("link add mac0 link eth1 type macvlan mode bridge\n")
    assert "mac0: what is behind" in " ".join(program.run("status").stdout.split())


def test_strangers_reach_guests_that_are_machines_of_their_own_and_not_the_droplet(guest: Host, nft_lab: Lab) -> None:
    assert answers_to(nft_lab.stranger, (GUEST.ipv4, ECHO_PORT), "tcp", 3)
    assert not connects(nft_lab.stranger, nft_lab.droplet, ECHO_PORT, patience=0.7)
    assert connects(nft_lab.peers[0], nft_lab.droplet, ECHO_PORT)
    assert not answers_to(guest, (nft_lab.droplet.address, ECHO_PORT), "tcp", 0.7)
