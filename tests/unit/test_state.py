"""What is kept on disk: the last good answer, and how the last refresh went. Reading it never fails."""

from __future__ import annotations

import ipaddress
import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_boot import paths
from droplan_boot.access import policy as policies
from droplan_boot.access import verdict
from droplan_boot.access.allow import Allow, Name
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.access.services import Service
from droplan_boot.host.files import Files
from droplan_boot.sources.listing import Droplet
from droplan_boot.state import report, snapshot
from droplan_boot.state.report import Report
from droplan_boot.state.snapshot import Snapshot
from droplan_boot.verbs import restore
from tests.golden.scenarios import SCENARIOS, segment
from tests.unit.test_model import JSON

PEERS = (
    Droplet(8, "web-41", "nyc3", ("web",), "v-own", (ipaddress.IPv4Address("10.132.1.41"),), ()),
    Droplet(9, "db-1", "nyc3", None, None, (), (ipaddress.ip_address("2604::2"),)),
)
TAKEN = Snapshot(7, 1_800_000_000.25, SCENARIOS["public"].policy, PEERS[:1], named=PEERS[1:])
# As droplan 1.0.0 wrote it, from a Droplet.
OF_1_0_0 = b"""{"droplet_id": 2756294, "written": 1795600000.5, "policy": {"guards": [{"public": false, \
"interfaces": ["eth1"], "peers": ["10.132.0.2", "10.132.0.3"], \
"allow": [["10.200.0.0/16", null, null], ["", "tcp", 22]]}], \
"metadata": ""}}"""
ADDRESS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.lists(st.integers(1, 65535), min_size=2, max_size=2).map(sorted)
SERVICE = st.builds(lambda protocol, ports: Service(protocol, *ports), st.sampled_from(["tcp", "udp"]), PORTS) | (
    st.sampled_from([Service("icmp"), Service("tcp"), Service("47")])
)
NAME = st.sampled_from([Name("tag", "web"), Name("droplet", "Db-1"), Name("k8s", str(uuid.UUID(int=7)))])
ALLOW = st.builds(Allow, st.none() | ADDRESS.map(ipaddress.ip_network) | NAME, SERVICE) | st.builds(
    Allow, ADDRESS.map(ipaddress.ip_network) | NAME
)
SEGMENT = st.builds(
    Segment,
    st.booleans(),
    st.lists(st.sampled_from(["eth0", "eth1", "ens4"]), min_size=1, unique=True).map(tuple),
    st.lists(ADDRESS, max_size=5).map(tuple),
    st.lists(ALLOW, max_size=3).map(tuple),
    ports=st.none() | st.lists(SERVICE, max_size=2, unique=True).map(tuple),
    known=st.dictionaries(NAME, st.lists(ADDRESS, max_size=3).map(tuple)).map(lambda found: tuple(found.items())),
)


class TestSnapshot:
    def test_what_is_stored_is_loaded(self, files: Files) -> None:
        snapshot.store(files, TAKEN)
        assert snapshot.load(files) == TAKEN

    def test_only_root_may_read_it(self, files: Files) -> None:
        snapshot.store(files, TAKEN)
        assert files.real(paths.SNAPSHOT).stat().st_mode & 0o777 == 0o600

    def test_before_the_first_answer_there_is_none(self, files: Files) -> None:
        assert snapshot.load(files) is None

    def test_one_of_droplan_1_0_0_is_still_read(self, files: Files) -> None:
        files.write(paths.SNAPSHOT, OF_1_0_0, 0o600)
        found = snapshot.load(files)
        assert found == Snapshot(
            2756294, 1795600000.5, Policy((segment("10.132.0.2", "10.132.0.3", allow="10.200.0.0/16,tcp/22"),))
        )

    @pytest.mark.parametrize("version", [3, 99])
    def test_one_of_a_later_droplan_is_not_guessed_at(self, version: int, files: Files) -> None:
        snapshot.store(files, TAKEN)
        value = json.loads(files.read(paths.SNAPSHOT) or b"")
        files.write(paths.SNAPSHOT, json.dumps({**value, "version": version}).encode(), 0o600)
        assert snapshot.load(files) is None
        assert snapshot.unknown(files) == version
        assert snapshot.closed(files) == Policy(
            (segment(), segment(public=True, on=("eth0",))),
        )

    def test_where_its_interfaces_cannot_be_read_either_the_usual_one_is_closed(self, files: Files) -> None:
        files.write(paths.SNAPSHOT, b'{"version": 99, "policy": "another shape"}', 0o600)
        assert snapshot.closed(files) == Policy((segment(),))

    def test_what_this_droplan_wrote_is_not_unknown(self, files: Files) -> None:
        assert snapshot.unknown(files) is None
        snapshot.store(files, TAKEN)
        assert snapshot.unknown(files) is None

    @given(st.lists(SEGMENT, min_size=1, max_size=2).map(tuple), st.sampled_from(["", "169.254.169.254"]))
    def test_any_policy_comes_back_as_it_was(self, segments: tuple[Segment, ...], metadata: str) -> None:
        policy = Policy(segments, metadata)
        assert policies.from_json(json.loads(json.dumps(policies.to_json(policy)))) == policy


BROKEN = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff",
    b"{}",
    b"[" * 100_000,
    b'{"droplet_id": Infinity, "written": 1, "policy": {}}',
    b'{"droplet_id": 1, "written": ' + b"9" * 400 + b', "policy": {}}',
    b'{"epoch": ' + b"9" * 400 + b"}",
    b'{"droplet_id": 1, "written": 1, "policy": {"segments": [], "metadata": ""}}',
    b'{"droplet_id": 1, "written": 1, "policy": {"segments": [{"peers": ["10.0.0.0/8"]}], "metadata": ""}}',
]


class TestWhatIsBroken:
    @pytest.mark.parametrize("data", BROKEN, ids=lambda data: data[:30].decode(errors="replace"))
    def test_it_is_none(self, data: bytes, files: Files) -> None:
        for path in (paths.SNAPSHOT, paths.REPORT):
            files.write(path, data, 0o600)
        assert snapshot.load(files) is None
        assert report.load(files) is None

    @given(data=st.data())
    def test_nor_does_any_json_in_any_place_make_reading_fail(self, data: st.DataObject, files: Files) -> None:
        taken: dict[str, Any] = {"droplet_id": 1, "written": 1.5, "policy": policies.to_json(TAKEN.policy)}
        place: Any = taken
        while isinstance(place, (dict, list)) and place:
            key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
                place[key] = data.draw(JSON)
                break
            place = place[key]
        files.write(paths.SNAPSHOT, json.dumps(taken).encode(), 0o600)
        snapshot.load(files)

    @given(st.sampled_from(["epoch", "result", "duration", "peers", "changed", "backend", "error"]), JSON)
    def test_a_report_that_is_taken_has_the_types_it_should(self, field: str, value: Any) -> None:
        good = {
            "epoch": 1.0,
            "result": "ok",
            "duration": 1.0,
            "peers": 2,
            "changed": True,
            "backend": "x",
            "error": "y",
        }
        found = report.load(Kept(json.dumps({**good, field: value}).encode()))
        if found:
            assert isinstance(found.time, float)
            assert isinstance(found.duration, float)
            assert isinstance(found.result, str)
            assert found.peers is None or isinstance(found.peers, int)
            assert found.error is None or isinstance(found.error, str)
            assert found.backend is None or isinstance(found.backend, str)

    @pytest.mark.parametrize("path", [paths.SNAPSHOT, paths.REPORT])
    @pytest.mark.parametrize("kind", ["directory", "link"])
    def test_what_is_no_file_is_none(self, path: Any, kind: str, files: Files) -> None:
        place = files.real(path)
        place.parent.mkdir(mode=0o755)
        place.mkdir() if kind == "directory" else place.symlink_to("/etc/passwd")
        assert (snapshot if path == paths.SNAPSHOT else report).load(files) is None


class Kept(Files):
    """A file system that holds the same bytes everywhere."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        object.__setattr__(self, "data", data)

    def read(self, path: Any, *, limit: int = 0) -> bytes | None:
        return bytes(self.data)  # type: ignore[attr-defined]


class TestReport:
    @pytest.mark.parametrize(
        "given",
        [
            Report(1_800_000_000.5, "ok", 0.25, 12, True, "iptables-nft"),
            Report(1_800_000_000.5, "ok", 0.25, 12, warnings=("no Droplet carries the tag wbe",)),
            Report(1_800_000_000.0, "failed", 3.5, error="api.digitalocean.com gives no answer"),
        ],
    )
    def test_what_is_stored_is_loaded(self, given: Report, files: Files) -> None:
        report.store(files, given)
        assert report.load(files) == given

    def test_monitoring_may_read_it_with_the_time_as_people_and_programs_write_it(self, files: Files) -> None:
        report.store(files, Report(1_800_000_000.5, "ok", 0.25, 12, True, "iptables-nft", guard="nftables"))
        assert files.real(paths.REPORT).stat().st_mode & 0o777 == 0o644
        found = json.loads(files.read(paths.REPORT) or b"")
        assert {name: found[name] for name in [*list(found)[:7], "guard", "warnings", "epoch"]} == {
            "time": "2027-01-15T08:00:00Z",
            "epoch": 1_800_000_000.5,
            "result": "ok",
            "duration": 0.25,
            "peers": 12,
            "changed": True,
            "backend": "iptables-nft",
            "error": None,
            "guard": "nftables",
            "warnings": [],
        }


class TestTrusted:
    SNAPSHOT = Snapshot(
        7, 0.0, Policy((segment("10.0.0.2", allow="tcp/22"), segment("203.0.113.2", public=True)), "169.254.169.254")
    )

    @pytest.mark.parametrize("droplet_id", [7, None])
    def test_our_own_snapshot_is_believed(self, droplet_id: int | None) -> None:
        assert restore.trusted(self.SNAPSHOT, droplet_id) == self.SNAPSHOT.policy

    def test_of_another_droplets_snapshot_nobody_is_let_in_but_whom_the_user_allowed(self) -> None:
        found = restore.trusted(self.SNAPSHOT, 8)
        assert found == Policy((segment(allow="tcp/22"), segment(public=True)), "169.254.169.254")

    def test_nor_by_a_tag_that_the_other_account_gave(self) -> None:
        web = (Name("tag", "web"), (ipaddress.ip_address("10.0.0.9"),))
        policy = Policy((replace(segment("10.0.0.2", allow="tcp/22@tag:web"), known=(web,)),))
        assert verdict.judge(policy.segments[0], web[1][0], "tcp", 22).accept
        found = restore.trusted(Snapshot(7, 0.0, policy), 8)
        assert not verdict.judge(found.segments[0], web[1][0], "tcp", 22).accept
