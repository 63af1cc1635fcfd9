"""The lab is what it says it is: what it would not show, no test that uses it would."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed import (
    GONE,
    PUBLISHED_PORT,
    Connection,
    Fault,
    Flows,
    Lab,
    ListedDroplet,
    connects,
    fleet,
    probe,
    probe_all,
)
from tests.bed.cache import CHECKOUT

CURL = ["curl", "--silent", "--show-error", "--max-time", "30"]
SIZE = ["--write-out", "%{size_download}"]
API = "https://api.digitalocean.com"


def ask(lab: Lab, target: str, *options: str, token: str = "") -> subprocess.CompletedProcess[str]:
    """Let the Droplet ask the API; curl's exit codes: 7 refused, 18 cut, 28 time-out, 35/56 reset, 60 not trusted."""
    bearer = ["--header", f"Authorization: Bearer {token or lab.token}"]
    return lab.droplet.run([*CURL, *bearer, *options, f"{API}{target}"], check=False)


def drop_strangers(lab: Lab) -> None:
    """Write by hand the rules that droplan is to write."""
    accepts = "".join(f"-A INPUT -i eth1 -s {peer.address} -j ACCEPT\n" for peer in lab.peers)
    forwards = "".join(f"-A FORWARD -i eth1 -s {peer.address} -j RETURN\n" for peer in lab.peers)
    lab.droplet.run(
        ["iptables-restore", "--noflush"],
        input=f"*filter\n{accepts}{forwards}-A INPUT -i eth1 -j DROP\n-A FORWARD -i eth1 -j DROP\nCOMMIT\n",
    )
    lab.droplet.run(
        ["ip6tables-restore", "--noflush"],
        input="*filter\n-A INPUT -i eth1 -p ipv6-icmp --icmpv6-type 135 -j ACCEPT\n"
        "-A INPUT -i eth1 -p ipv6-icmp --icmpv6-type 136 -j ACCEPT\n-A INPUT -i eth1 -j DROP\nCOMMIT\n",
    )


class TestReach:
    def test_without_rules_everybody_reaches_the_droplet(self, shared_lab: Lab) -> None:
        found = probe_all([*shared_lab.peers, shared_lab.stranger], shared_lab.droplet)
        assert all(each.everything for each in found.values()), found

    def test_without_rules_everybody_reaches_the_public_interface(self, shared_lab: Lab) -> None:
        assert probe(shared_lab.stranger, shared_lab.droplet, link="eth0").everything

    def test_the_droplet_reaches_everybody(self, shared_lab: Lab) -> None:
        for other in (*shared_lab.peers, shared_lab.stranger):
            assert probe(shared_lab.droplet, other).everything

    def test_rules_by_hand_close_the_droplet_to_the_stranger_only(self, lab: Lab) -> None:
        lab.publish_port()
        assert connects(lab.stranger, lab.droplet, PUBLISHED_PORT)
        drop_strangers(lab)
        assert probe(lab.stranger, lab.droplet, patience=0.5).nothing
        peer = probe(lab.peers[0], lab.droplet)
        assert (peer.tcp, peer.udp, peer.icmp) == (True, True, True)
        assert not connects(lab.stranger, lab.droplet, PUBLISHED_PORT, patience=0.5)
        assert connects(lab.peers[0], lab.droplet, PUBLISHED_PORT)

    def test_flows_are_counted_to_the_packet(self, lab: Lab) -> None:
        drop_strangers(lab)
        with Flows(lab.peers[0], lab.droplet) as peer, Flows(lab.stranger, lab.droplet) as stranger:
            deadline = time.monotonic() + 60
            while min(peer.sent, stranger.sent) <= 100 and time.monotonic() < deadline:
                time.sleep(0.05)
        assert peer.sent > 100
        assert (peer.lost, stranger.received) == (0, 0)
        assert stranger.lost == stranger.sent > 100

    def test_a_connection_knows_when_it_was_cut(self, lab: Lab) -> None:
        with Connection(lab.peers[0], lab.droplet) as connection:
            assert connection.echoes()
            lab.droplet.run(["iptables", "-I", "INPUT", "-i", "eth1", "-j", "DROP"])
            assert not connection.echoes(patience=0.5)


class TestDroplet:
    def test_it_uses_the_chosen_iptables(self, shared_lab: Lab) -> None:
        version = shared_lab.droplet.run(["iptables", "-V"]).stdout
        assert {"nft": "(nf_tables)", "legacy": "(legacy)"}[shared_lab.iptables] in version

    def test_what_it_writes_stays_in_it(self, shared_lab: Lab) -> None:
        shared_lab.droplet.run(["sh", "-c", "mkdir -p /etc/droplan; echo here > /etc/droplan/lab-selfcheck"])
        assert shared_lab.droplet.path("/etc/droplan/lab-selfcheck").read_text() == "here\n"
        assert not Path("/etc/droplan/lab-selfcheck").exists()

    def test_its_processes_are_its_own(self, shared_lab: Lab) -> None:
        processes = shared_lab.droplet.run(["sh", "-c", "cat /proc/[0-9]*/comm"]).stdout.split()
        assert sorted(set(processes)) == ["cat", "sh"]

    def test_packages_install_without_a_network(self, nft_lab: Lab) -> None:
        nft_lab.droplet.run(["apt-get", "-q", "update"])
        nft_lab.droplet.run(
            ["apt-get", "-qy", "install", "iptables-persistent", "cron"], env={"DEBIAN_FRONTEND": "noninteractive"}
        )
        assert nft_lab.droplet.path("/usr/sbin/netfilter-persistent").exists()
        assert nft_lab.droplet.path("/usr/sbin/cron").exists()

    def test_a_reboot_keeps_files_and_addresses_and_nothing_else(self, lab: Lab) -> None:
        lab.publish_port()
        drop_strangers(lab)
        lab.droplet.run(["sh", "-c", "echo kept > /etc/kept; echo lost > /run/lost"])
        lab.droplet.reboot()
        assert lab.droplet.path("/etc/kept").read_text() == "kept\n"
        assert not lab.droplet.path("/run/lost").exists()
        assert "DROP" not in lab.droplet.run(["iptables-save"]).stdout
        assert probe(lab.stranger, lab.droplet).everything
        assert lab.droplet.run(["cat", "/sys/class/net/eth1/address"]).stdout.strip() == lab.droplet.private.mac

    def test_the_tests_own_environment_does_not_reach_it(
        self, shared_lab: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DO_KEY", "of the person who runs the tests")
        assert "DO_KEY" not in shared_lab.droplet.run(["env"]).stdout

    def test_a_command_that_takes_too_long_is_ended_with_its_children(self, shared_lab: Lab) -> None:
        with pytest.raises(subprocess.TimeoutExpired):
            shared_lab.droplet.run(["sh", "-c", "sleep 1000 & sleep 1000"], timeout=0.2)
        deadline = time.monotonic() + 60
        while "sleep" in (left := shared_lab.droplet.run(["sh", "-c", "cat /proc/[0-9]*/comm"]).stdout):
            assert time.monotonic() < deadline, left


@pytest.fixture(scope="module")
def one_lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture
def api_lab(one_lab: Lab) -> Iterator[Lab]:
    """The lab of all tests of the stand-in, which say everything by ``lab.do``; put right again after each."""
    yield one_lab
    one_lab.do.clear_faults()
    one_lab.do.set_droplets([one_lab.own_droplet, *one_lab.peer_droplets])
    one_lab.do.forget_requests()


class TestStandIn:
    def test_it_lists_the_account_to_who_has_the_token(self, api_lab: Lab) -> None:
        answer = json.loads(ask(api_lab, "/v2/droplets").stdout)
        assert [each["name"] for each in answer["droplets"]] == ["web-1", "peer-1", "peer-2", "peer-away"]
        assert answer["meta"] == {"total": 4}

    def test_it_refuses_every_other_token(self, api_lab: Lab) -> None:
        answer = ask(api_lab, "/v2/droplets", "--write-out", "%{http_code}", token="wrong")
        assert answer.stdout.endswith("401")
        assert json.loads(answer.stdout[:-3])["id"] == "Unauthorized"

    def test_it_pages_and_leaves_gpu_droplets_out(self, api_lab: Lab) -> None:
        api_lab.do.set_droplets([*fleet(450), ListedDroplet(7, "gpu", gpu=True)])
        first = json.loads(ask(api_lab, "/v2/droplets?per_page=200").stdout)
        assert (len(first["droplets"]), first["meta"]["total"]) == (200, 450)
        assert first["links"]["pages"]["next"] == f"{API}/v2/droplets?per_page=200&page=2"
        last = json.loads(ask(api_lab, "/v2/droplets?per_page=200&page=3", "--compressed").stdout)
        assert len(last["droplets"]) == 50
        assert "next" not in last["links"]["pages"]
        gpus = json.loads(ask(api_lab, "/v2/droplets?type=gpus").stdout)
        assert [each["name"] for each in gpus["droplets"]] == ["gpu"]

    def test_it_creates_and_deletes_droplets(self, api_lab: Lab) -> None:
        wish = json.dumps({"name": "new", "region": "nyc3", "size": "s-1vcpu-1gb", "image": "debian-13-x64"})
        made = json.loads(ask(api_lab, "/v2/droplets", "--data", wish).stdout)["droplet"]
        assert (made["status"], made["networks"]["v4"]) == ("new", [])
        later = json.loads(ask(api_lab, f"/v2/droplets/{made['id']}").stdout)["droplet"]
        assert later["networks"]["v4"][0]["ip_address"].startswith("10.132.")
        ask(api_lab, f"/v2/droplets/{made['id']}", "--request", "DELETE")
        assert made["id"] not in [each["id"] for each in api_lab.do.droplets]

    def test_it_tells_a_droplet_about_itself(self, api_lab: Lab) -> None:
        url = "http://169.254.169.254/metadata/v1.json"
        told = json.loads(api_lab.droplet.run([*CURL, url]).stdout)
        assert told["droplet_id"] == api_lab.own_droplet.id
        assert told["interfaces"]["private"][0]["mac"] == api_lab.droplet.private.mac
        assert api_lab.peers[0].run([*CURL, "--fail", url], check=False).returncode == 22

    def test_it_logs_who_asked_for_what_without_the_token(self, api_lab: Lab) -> None:
        api_lab.do.forget_requests()
        ask(api_lab, "/v2/droplets?page=1", "--user-agent", "selfcheck")
        (request,) = api_lab.do.requests("api")
        assert (request.method, request.target, request.authorized) == ("GET", "/v2/droplets?page=1", True)
        assert request.headers["User-Agent"] == "selfcheck"
        assert api_lab.token not in str(request)


class TestFaults:
    """Each fault as curl sees it, then the truth again."""

    @pytest.mark.parametrize(
        ("fault", "exit_code"),
        [
            pytest.param(Fault(refuse=True), 7, id="refused"),
            pytest.param(Fault(deaf=True), 28, id="deaf"),
            pytest.param(Fault(cut=100), 18, id="truncated"),
            pytest.param(Fault(delay=30), 28, id="hang"),
            pytest.param(Fault(drip=1), 28, id="slow drip"),
            pytest.param(Fault(reset=True), 56, id="reset"),
            pytest.param(Fault(certificate="untrusted"), 60, id="not trusted"),
            pytest.param(Fault(certificate="expired"), 60, id="expired"),
            pytest.param(Fault(certificate="wrong-host"), 60, id="wrong host"),
        ],
    )
    def test_the_connection_fails(self, api_lab: Lab, fault: Fault, exit_code: int) -> None:
        api_lab.do.fault(fault)
        limit = ["--max-time", "1"] if exit_code == 28 else []  # who waits for ever is waited for that long
        assert ask(api_lab, "/v2/droplets", *limit).returncode == exit_code
        api_lab.do.clear_faults()
        assert ask(api_lab, "/v2/droplets").returncode == 0

    def test_the_answer_is_another_one(self, api_lab: Lab) -> None:
        api_lab.do.fault(Fault(status=429, headers={"Retry-After": "3"}, body="slow down", times=1))
        shown = ask(api_lab, "/v2/droplets", "--include").stdout
        assert "429 Too Many Requests" in shown
        assert "Retry-After: 3" in shown
        assert shown.endswith("slow down")
        assert json.loads(ask(api_lab, "/v2/droplets").stdout)["meta"]["total"] == 4

    def test_the_answer_is_patched(self, api_lab: Lab) -> None:
        api_lab.do.fault(Fault(patch={"/meta/total": 9, "/droplets/0/region": GONE, "/droplets/1/networks": None}))
        answer = json.loads(ask(api_lab, "/v2/droplets", "--compressed").stdout)
        assert answer["meta"]["total"] == 9
        assert "region" not in answer["droplets"][0]
        assert answer["droplets"][1]["networks"] is None

    def test_only_the_second_page_is_a_repetition_of_the_first(self, api_lab: Lab) -> None:
        api_lab.do.fault(Fault(path=r"[?&]page=2\b", repeat="/v2/droplets?per_page=2&page=1"))
        pages = [ask(api_lab, f"/v2/droplets?per_page=2&page={page}").stdout for page in (1, 2)]
        assert pages[0] == pages[1]

    def test_the_body_is_huge(self, api_lab: Lab) -> None:
        api_lab.do.fault(Fault(size=10_000_000))
        shown = ask(api_lab, "/v2/droplets", "--output", "/dev/null", "--compressed", *SIZE).stdout
        assert shown == "10000000"

    def test_the_body_is_no_utf_8(self, api_lab: Lab) -> None:
        api_lab.do.fault(Fault(body="\udcff\udcfe"))
        ask(api_lab, "/v2/droplets", "--output", "/root/answer")
        assert api_lab.droplet.path("/root/answer").read_bytes() == b"\xff\xfe"

    def test_the_token_is_told_when_it_follows_a_redirect(self, api_lab: Lab) -> None:
        api_lab.do.fault(Fault(status=302, headers={"Location": "http://169.254.169.254/elsewhere"}))
        ask(api_lab, "/v2/droplets", "--location")
        ask(api_lab, "/v2/droplets", "--location-trusted")
        assert [request.authorized for request in api_lab.do.requests("metadata")] == [False, True]

    def test_the_metadata_service_fails_the_third_time_only(self, api_lab: Lab) -> None:
        api_lab.do.fault(Fault(service="metadata", nth=3, status=500))
        command = [
            *CURL,
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "http://169.254.169.254/metadata/v1.json",
        ]
        assert [api_lab.droplet.run(command).stdout for _ in range(4)] == ["200", "200", "500", "200"]


class TestLeavesNothing:
    def test_two_labs_at_once_do_not_meet(self) -> None:
        with Lab() as one, Lab() as other:
            drop_strangers(one)
            assert probe(one.stranger, one.droplet).nothing
            assert probe(other.stranger, other.droplet).everything

    def test_the_machine_sees_neither_its_mounts_nor_its_links(self, nft_lab: Lab) -> None:
        assert "upperdir=/mnt/upper" in nft_lab.droplet.run(["cat", "/proc/mounts"]).stdout
        assert "upperdir=/mnt/upper" not in Path("/proc/mounts").read_text()
        links = {link.name for link in Path("/sys/class/net").iterdir()}
        assert not links & {"private", "public", "port1"}

    @pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_a_lab_that_is_ended_takes_everything_along(self, end: signal.Signals) -> None:
        # A shell has its background jobs ignore SIGINT, and whoever they start inherits that.
        program = """
import signal
from tests.bed import Lab
signal.signal(signal.SIGINT, signal.default_int_handler)
with Lab() as lab:
    print("up", flush=True)
    lab.droplet.run(["sleep", "99"], timeout=99)
"""
        lab = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert lab.stdout is not None
        with lab, lab.stdout:
            assert lab.stdout.readline() == "up\n"
            own = set(map(network_of, descendants(lab.pid))) - {network_of(lab.pid), ""}
            assert len(own) >= 6, "a namespace each for switch, cloud, Droplet, two peers and the stranger"
            lab.send_signal(end)
            lab.wait(timeout=60)
        deadline = time.monotonic() + 60
        while own & {network_of(int(process.name)) for process in Path("/proc").glob("[0-9]*")}:
            assert time.monotonic() < deadline, "processes of the lab are left"
            time.sleep(0.05)


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [below for child in children for below in descendants(child)]


def network_of(pid: int) -> str:
    """The network namespace of a process, nothing if it ended."""
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""
