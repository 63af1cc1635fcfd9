"""Guard and door, judged by packets: with each backend that there is."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.bed import PUBLISHED_PORT, Lab, Reach, connects, probe
from tests.bed.account import ListedDroplet
from tests.bed.cache import CHECKOUT
from tests.bed.program import Program
from tests.bed.reach import ECHO_PORT, Connection, answers_to
from tests.bed.routed import ADDRESSES, BYTES, download, routed

IPV4 = Reach(tcp=True, udp=True, icmp=True)
BACKENDS = [
    ("nft", "auto"),
    ("legacy", "auto"),
    pytest.param(("nft", "iptables"), marks=pytest.mark.nightly),
    ("legacy", "iptables"),
    ("nft", "nftables"),
]
"""At night the one that guards in mangle as legacy-iptables does, and writes its door as nft-auto does."""


@pytest.fixture(scope="module", params=BACKENDS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def installed(request: pytest.FixtureRequest) -> Iterator[Program]:
    variant, backend = request.param
    with Lab(variant) as lab:
        lab.publish_port()
        program = Program(lab)
        program.install_for_many(DROPLAN_BACKEND=backend)
        yield program


@pytest.fixture
def lab(program: Program) -> Lab:
    return program.lab


def test_status_names_guard_and_door(program: Program) -> None:
    status = program.status()
    backend = program.report()["backend"]
    in_mangle = "-A PREROUTING -j droplan-guard" in program.rules()
    assert status["guard"] == program.report()["guard"] == ("mangle" if in_mangle else "nftables")
    assert status["backend"] == backend
    told = " ".join(program.run("status").stdout.split())
    assert status["guard_why"] in told
    assert status["backend_why"] in told


def test_a_published_port_is_shut_before_anybody_rewrites_it(program: Program, lab: Lab) -> None:
    # Docker and others put their rules above everybody's in FORWARD.
    program.edit("-I FORWARD -j ACCEPT")
    try:
        assert connects(lab.peers[0], lab.droplet, PUBLISHED_PORT)
        assert not connects(lab.stranger, lab.droplet, PUBLISHED_PORT, patience=0.7)
    finally:
        program.edit("-D FORWARD -j ACCEPT")


def test_no_rule_that_others_put_above_lets_a_stranger_in(program: Program, lab: Lab) -> None:
    program.edit("-I INPUT -i eth1 -j ACCEPT")
    try:
        assert probe(lab.stranger, lab.droplet, patience=0.7).nothing
        assert probe(lab.peers[0], lab.droplet) == IPV4
    finally:
        program.edit("-D INPUT -i eth1 -j ACCEPT")


def test_a_flush_of_the_filter_table_lets_no_stranger_in_and_no_peer_out(program: Program, lab: Lab) -> None:
    program.edit("-F")
    assert probe(lab.stranger, lab.droplet, patience=0.7).nothing
    assert probe(lab.peers[0], lab.droplet) == IPV4


def test_a_redirected_port_is_open_by_the_number_that_the_sender_asked_for(program: Program, lab: Lab) -> None:
    redirect = f"PREROUTING -p tcp --dport 8443 -j REDIRECT --to-ports {ECHO_PORT}"
    program.edit(f"-t nat -A {redirect}")
    try:
        program.refresh(DROPLAN_ALLOW="tcp/8443")
        assert connects(lab.stranger, lab.droplet, 8443)
        assert not connects(lab.stranger, lab.droplet, ECHO_PORT, patience=0.7)
        program.refresh(DROPLAN_ALLOW=f"tcp/{ECHO_PORT}")
        assert not connects(lab.stranger, lab.droplet, 8443, patience=0.7)
        assert connects(lab.stranger, lab.droplet, ECHO_PORT)
    finally:
        program.edit(f"-t nat -D {redirect}")


@pytest.mark.usefixtures("program")
class TestLinks:
    """What the guard covers at once, before any refresh."""

    @pytest.fixture
    def renamed(self, lab: Lab) -> Iterator[None]:
        lab.droplet.ip("link set eth1 down\nlink set eth1 name mesh0\nlink set mesh0 up\n")
        yield
        lab.droplet.ip("link set mesh0 down\nlink set mesh0 name eth1\nlink set eth1 up\n")

    @pytest.mark.usefixtures("renamed")
    def test_the_private_card_under_another_name(self, lab: Lab) -> None:
        for way in ("tcp", "udp", "icmp"):
            assert not answers_to(lab.stranger, (lab.droplet.address, ECHO_PORT), way, 0.7), way
            assert answers_to(lab.peers[0], (lab.droplet.address, ECHO_PORT), way, 1.5), way
        assert not connects(lab.stranger, lab.droplet, PUBLISHED_PORT, patience=0.7)

    def test_a_bridge_that_the_card_became_part_of(self, lab: Lab) -> None:
        address = lab.droplet.private.addresses[0]
        lab.droplet.ip(
            "link add br0 type bridge\nlink set br0 up\nlink set eth1 master br0\n"
            f"address delete {address} dev eth1\naddress add {address} dev br0\n"
        )
        try:
            time.sleep(0.2)
            assert not connects(lab.stranger, lab.droplet, ECHO_PORT, patience=0.7)
            assert connects(lab.peers[0], lab.droplet, ECHO_PORT)
        finally:
            lab.droplet.ip(f"link delete br0\naddress add {address} dev eth1\n")

    def test_the_private_address_asked_for_over_the_public_link(self, lab: Lab) -> None:
        for host in (lab.stranger, lab.peers[0]):
            host.ip(f"route add {lab.droplet.address}/32 dev eth0 src {host.public.ipv4}\n")
        try:
            assert not connects(lab.stranger, lab.droplet, ECHO_PORT, patience=0.7)
            # A peer is one by its private address; by its public one it is nobody to the private network.
            assert not connects(lab.peers[0], lab.droplet, ECHO_PORT, patience=0.7)
        finally:
            for host in (lab.stranger, lab.peers[0]):
                host.ip(f"route delete {lab.droplet.address}/32 dev eth0\n")

    def test_the_droplet_and_its_containers_go_on_reaching_the_private_address(self, lab: Lab) -> None:
        assert lab.container
        assert connects(lab.droplet, lab.droplet, ECHO_PORT)
        assert connects(lab.container, lab.droplet, ECHO_PORT)

    def test_a_container_network_within_the_range_is_strangers_until_it_is_allowed(
        self, program: Program, lab: Lab
    ) -> None:
        assert lab.container
        lab.droplet.ip("address add 10.132.200.1/24 dev docker0\n")
        lab.container.ip("address add 10.132.200.2/24 dev eth0\nroute replace default via 10.132.200.1\n")
        try:
            assert not connects(lab.container, lab.droplet, ECHO_PORT, patience=0.7)
            program.refresh(DROPLAN_ALLOW="10.132.200.0/24")
            assert connects(lab.container, lab.droplet, ECHO_PORT)
        finally:
            lab.container.ip("route replace default via 172.17.0.1\naddress delete 10.132.200.2/24 dev eth0\n")
            lab.droplet.ip("address delete 10.132.200.1/24 dev docker0\n")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("card", ["eth1", "eth0"])
def test_what_a_peer_behind_a_narrow_link_asks_for_comes_whole(
    card: str, version: int, program: Program, lab: Lab
) -> None:
    address = ADDRESSES[card, version][0]
    with routed(lab, card, version) as client:
        if version == 6 and card == "eth1":  # a VPC carries no IPv6, so no Droplet has such an address
            program.refresh(DROPLAN_ALLOW=f"{address}/128")
        else:
            public4, public6 = (address, None) if version == 4 else (None, address)
            peer = (
                ListedDroplet(99, "far", address)
                if card == "eth1"
                else ListedDroplet(99, "far", "10.132.9.9", public4, public6)
            )
            program.list_droplets(*lab.peer_droplets, peer)
            program.refresh(**({"PUBLIC": "true"} if card == "eth0" else {}))
        assert download(lab, client, card, version) == BYTES


def test_a_switch_that_snoops_multicast_goes_on_finding_the_droplet(program: Program, lab: Lab) -> None:
    # It forgets who listens to a group when nobody answers its queries, RFC 4890, 4.4.1.
    snooping = "mcast_snooping 1 mcast_querier 1 mcast_query_interval 100 mcast_query_response_interval 50"
    program.refresh(DROPLAN_ALLOW="fe80::/10")
    lab.network.set_bridge("private", f"{snooping} mcast_startup_query_interval 50 mcast_membership_interval 200")
    try:
        time.sleep(4)
        lab.stranger.ip("neighbour flush dev eth1\n")
        target = (lab.droplet.link_local, ECHO_PORT, 0, lab.stranger.scope(lab.stranger.private))
        assert answers_to(lab.stranger, target, "tcp", 2)
    finally:
        lab.network.set_bridge("private", "mcast_snooping 0 mcast_querier 0")


def test_a_ban_above_the_door_is_no_drift_and_holds(program: Program, lab: Lab) -> None:
    if "nftables (" in program.status()["backend"]:
        pytest.skip("there is no door")
    banned = lab.peers[0]
    program.edit("-N f2b-sshd", f"-A f2b-sshd -s {banned.address} -j REJECT", "-I INPUT -p tcp -j f2b-sshd")
    try:
        assert "unchanged" in program.refresh().stdout
        assert program.status()["drift"] == []
        assert not connects(banned, lab.droplet, ECHO_PORT, patience=0.7)
    finally:
        program.edit("-D INPUT -p tcp -j f2b-sshd", "-F f2b-sshd", "-X f2b-sshd")


def test_what_is_shut_out_is_told_once_a_second_for_each_source(program: Program, lab: Lab) -> None:
    told: list[bytes] = []

    def knock() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knocking:
            for _ in range(50):
                knocking.sendto(b"x", (lab.droplet.address, 4000))
                time.sleep(0.01)

    with lab.droplet.inside(_group) as heard:
        heard.settimeout(0.3)
        began = time.monotonic()
        lab.stranger.inside(knock)
        took = time.monotonic() - began  # half a second, where the machine has time
        while True:
            try:
                told.append(heard.recv(4096))
            except TimeoutError:
                break
    packets = [one for one in told if socket.inet_aton(lab.stranger.address) in one]
    assert 1 <= len(packets) <= 2 + int(took)
    assert b"droplan-drop-private" in packets[0]
    assert program


def _group() -> socket.socket:
    """Listen to NFLOG group 4710: bind it, ask for 64 bytes of each packet, at once (nfnetlink_log.h)."""
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    listener.bind((0, 0))

    def ask(attribute: bytes) -> None:
        body = struct.pack("=BBH", 0, 0, socket.htons(4710)) + attribute
        listener.send(struct.pack("=IHHII", 16 + len(body), 4 << 8 | 1, 1, 0, 0) + body)

    ask(struct.pack("=HHBxxx", 5, 1, 1))  # NFULA_CFG_CMD: bind
    ask(struct.pack("=HHIBxH", 10, 2, socket.htonl(64), 2, 0)[:12])  # NFULA_CFG_MODE: copy packets
    ask(struct.pack("=HHI", 8, 5, socket.htonl(1)))  # NFULA_CFG_QTHRESH
    return listener


def test_a_connection_of_before_goes_on_while_close_py_keeps_the_interface_closed(nft_lab: Lab) -> None:
    close = nft_lab.droplet.path("/srv/close.py")
    nft_lab.droplet.path("/var/lib/droplan").mkdir()
    close.write_bytes((CHECKOUT / "cloud-init/close.py").read_bytes())
    with (
        Connection(nft_lab.stranger, nft_lab.droplet) as theirs,
        Connection(nft_lab.droplet, nft_lab.stranger) as ours,
    ):
        assert theirs.echoes()
        assert ours.echoes()
        done = nft_lab.droplet.run(["/usr/bin/python3", "/srv/close.py"], env={"DROPLAN_FAIL_CLOSED": "true"})
        assert "is closed" in done.stdout
        assert theirs.echoes()
        assert ours.echoes()
        assert probe(nft_lab.peers[0], nft_lab.droplet, patience=0.7).nothing


def test_a_tcp_connection_of_before_goes_on_where_only_traffic_control_can_close(nft_lab: Lab) -> None:
    close = nft_lab.droplet.path("/srv/close.py")
    close.write_bytes((CHECKOUT / "cloud-init/close.py").read_bytes())
    by_tc = "import runpy; print(runpy.run_path('/srv/close.py')['close_with_tc'](['eth1']))"
    with (
        Connection(nft_lab.stranger, nft_lab.droplet) as theirs,
        Connection(nft_lab.droplet, nft_lab.stranger) as ours,
    ):
        assert theirs.echoes()
        assert ours.echoes()
        assert nft_lab.droplet.run(["/usr/bin/python3", "-c", by_tc]).stdout == "None\n"
        assert theirs.echoes()
        assert ours.echoes()
        assert probe(nft_lab.peers[0], nft_lab.droplet, patience=0.7).nothing


def test_the_first_refresh_opens_to_peers_alone_what_close_py_has_closed(nft_lab: Lab) -> None:
    program = Program(nft_lab)
    folder = nft_lab.droplet.path("/opt/droplan")
    folder.mkdir()
    (folder / "close.py").write_bytes((CHECKOUT / "cloud-init/close.py").read_bytes())
    nft_lab.droplet.path("/var/lib/droplan").mkdir()
    nft_lab.droplet.run(["/usr/bin/python3", "/opt/droplan/close.py"], env={"DROPLAN_FAIL_CLOSED": "true"})
    assert probe(nft_lab.peers[0], nft_lab.droplet, patience=0.7).nothing

    program.install()

    assert probe(nft_lab.peers[0], nft_lab.droplet).tcp
    assert probe(nft_lab.stranger, nft_lab.droplet, patience=0.7).nothing
    assert "droplan-bootstrap" not in nft_lab.droplet.run(["nft", "list", "tables"]).stdout
    assert not nft_lab.droplet.path("/var/lib/droplan/bootstrap.closed").exists()
