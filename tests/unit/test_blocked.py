"""Who was shut out: what the watcher keeps, what refreshes add, and what ``droplan blocked`` says."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from droplan_boot import paths, settings
from droplan_boot.access.policy import Policy
from droplan_boot.errors import UsageError
from droplan_boot.host.files import Files
from droplan_boot.setup import watcher
from droplan_boot.sources.listing import Droplet
from droplan_boot.state import blocked, snapshot
from droplan_boot.state.snapshot import Snapshot
from droplan_boot.verbs import blocked as verb
from droplan_boot.verbs import install, refresh, standing
from droplan_boot.watch import shut_out
from droplan_boot.watch.nflog import ShutOut
from droplan_boot.watch.shut_out import Register
from tests.bed.memory.doors import Clock, FakeCommands, Host
from tests.bed.memory.droplet import made
from tests.golden.scenarios import segment


def knock(source: str = "10.132.0.5", protocol: str = "tcp", port: int = 5432, *, observed: bool = False) -> ShutOut:
    return ShutOut(source, "10.132.0.2", protocol, port, 3, False, observed)


def droplet(number: int, name: str, address: str) -> Droplet:
    return Droplet(number, name, "nyc3", (), "vpc", (ipaddress.IPv4Address(address),), ())


@pytest.fixture
def register(files: Files) -> Register:
    """Return the watcher's register, empty, of the file that the rest reads."""
    files.directory(paths.STATE)
    return Register(str(files.real(paths.BLOCKED)))


class TestRegister:
    def test_what_it_notes_is_what_is_read(self, register: Register, files: Files) -> None:
        for at in (1000.04, 1003.0):
            register.note(knock(), "eth1", at)
        register.note(knock(protocol="icmp", port=0), "eth1", 1004.0)
        register.write(0.0)
        (found,) = blocked.load(files).sources
        assert (found.source, found.packets, found.first, found.last) == ("10.132.0.5", 3, 1000.0, 1004.0)
        assert (found.interface, found.public, found.observed) == ("eth1", False, False)
        services = [(each.service, each.packets, each.first, each.last) for each in found.services]
        assert services == [("icmp", 1, 1004.0, 1004.0), ("tcp/5432", 2, 1000.0, 1003.0)]
        assert files.mode(paths.BLOCKED) == 0o644

    def test_it_survives_a_restart_and_counts_on(self, register: Register, files: Files) -> None:
        for n in range(3):
            register.note(knock(f"10.132.0.{n}"), "eth1", 1000.0 + n)
        register.write(0.0)
        again = Register(str(files.real(paths.BLOCKED)))
        again.load()
        assert json.loads(again.text()) == json.loads(register.text())
        again.note(knock("10.132.0.0"), "eth1", 2000.0)
        again.write(0.0)
        found = blocked.load(files)
        assert [(each.source, each.packets, each.first) for each in found.sources] == [
            ("10.132.0.0", 2, 1000.0),
            ("10.132.0.2", 1, 1002.0),
            ("10.132.0.1", 1, 1001.0),
        ]
        assert found.total == 4

    def test_the_last_256_sources_are_kept_and_all_are_counted(self, register: Register, files: Files) -> None:
        for n in range(100_000):
            register.note(knock(str(ipaddress.IPv4Address(0x0A840000 + n % 65536))), "eth1", float(n))
        register.write(0.0)
        found = blocked.load(files)
        assert len(found.sources) == shut_out.SOURCES
        assert found.sources[0].last == 99_999.0
        assert found.sources[-1].last == 99_999.0 - 255
        assert found.total == 100_000

    def test_whoever_scans_all_ports_takes_the_room_of_eight(self, register: Register, files: Files) -> None:
        for port in range(1, 65536):
            register.note(knock(port=port), "eth1", float(port))
        register.write(0.0)
        (found,) = blocked.load(files).sources
        assert [each.service for each in found.services] == [f"tcp/{port}" for port in range(65535, 65527, -1)]
        assert found.packets == 65535

    def test_it_is_written_at_most_every_ten_seconds(self, register: Register) -> None:
        assert register.next() is None
        register.note(knock(), "eth1", 0.0)
        register.write(100.0)
        assert register.next() is None
        register.note(knock(), "eth1", 1.0)
        assert register.next() == 110.0

    def test_what_cannot_be_written_is_tried_again_ten_seconds_later(self, tmp_path: Path) -> None:
        register = Register(str(tmp_path / "missing" / "blocked.json"))
        register.note(knock(), "eth1", 0.0)
        with pytest.raises(OSError, match="missing"):
            register.write(100.0)
        assert register.next() == 110.0

    def test_a_planted_link_is_not_followed(self, register: Register, files: Files, tmp_path: Path) -> None:
        target = tmp_path / "target"
        target.write_text("theirs")
        Path(f"{files.real(paths.BLOCKED)}.watch-new").symlink_to(target)
        register.note(knock(), "eth1", 0.0)
        register.write(0.0)
        assert target.read_text() == "theirs"
        assert blocked.load(files).total == 1

    @pytest.mark.parametrize(
        "data",
        [
            b"", b"[]", b"{}", b"\xff", b'{"total": 1, "sources": 7}', b'{"total": "x", "sources": []}',
            b"[" * 99_999, b'{"total": 1e400, "sources": []}',
            b'{"total": 0, "sampled": true, "sources": [{"source": "10.0.0.1"}]}',
        ],
    )  # fmt: skip
    def test_a_file_that_makes_no_sense_is_left_out(self, data: bytes, register: Register, files: Files) -> None:
        files.write(paths.BLOCKED, data, 0o644)
        register.load()
        register.note(knock(), "eth1", 0.0)
        assert blocked.load(files).sources == ()
        register.write(0.0)
        assert len(blocked.load(files).sources) == 1


@pytest.fixture
def machine(files: Files, register: Register, root: None) -> Host:
    """Return a Droplet on which a stranger, a Droplet of another VPC, and a peer were shut out."""
    for at, source in enumerate(("10.132.0.5", "10.132.0.6", "10.132.0.3")):
        register.note(knock(source), "eth1", 1000.0 + 100 * at)
    register.write(0.0)
    files.write(paths.PROGRAM, b"", 0o755)
    peer = droplet(3, "web-3", "10.132.0.3")
    snapshot.store(files, Snapshot(7, 0.0, Policy((segment("10.132.0.3"),)), (peer,)))
    blocked.identify(files, [(droplet(6, "db-6", "10.132.0.6"), "vpc"), (droplet(9, "far", "10.9.0.9"), "vpc")])
    return Host(files=files, uid=0, clock=Clock(now=1260.0))


class TestVerb:
    def test_it_names_each_and_says_why_it_is_no_peer(
        self, machine: Host, capsys: pytest.CaptureFixture[str], utc: None
    ) -> None:
        verb.run(machine)
        said = capsys.readouterr().out
        assert max(map(len, said.splitlines())) <= 80
        assert said.startswith("3 sources shut out, the last first; packets are samples")
        assert "10.132.0.6 db-6: a Droplet of yours in another VPC (DROPLAN_SCOPE)\n" in said
        assert "10.132.0.3 web-3: a peer, for what peers may not reach, or before it was one\n" in said
        assert "10.132.0.5: no Droplet that the account lists to us" in said
        assert "    1 packet by eth1: tcp/5432 (1)\n    first 1970/01/01 00:16:40, last 1970/01/01 00:16:40" in said
        assert said.index("10.132.0.3") < said.index("10.132.0.6") < said.index("10.132.0.5")

    @pytest.mark.parametrize(
        ("environ", "only"),
        [
            ({"DO_TAG": "web"}, True),
            ({"DO_TAG": "web,db"}, False),
            ({"DO_TAG": "web", "DROPLAN_ALLOW": "tcp/22@tag:db"}, False),
            (
                {
                    "DO_TAG": "web",
                    "DROPLAN_SHARED": "https://nyc3.digitaloceanspaces.com/fleet",
                    "DROPLAN_SHARED_KEY": "ID:SECRET",
                    "DROPLAN_SHARED_TRUST": f"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE{'A' * 86}==",
                },
                False,
            ),
        ],
    )
    def test_where_refreshes_list_who_has_the_tag_it_says_what_asks_for_the_others(
        self, machine: Host, environ: dict[str, str], only: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings.load({"DO_KEY": "x", **environ}, machine.files)  # no mistake, which would leave the defaults
        verb.run(replace(machine, environ=environ))
        said = capsys.readouterr().out
        assert max(map(len, said.splitlines())) <= 80
        told = "no Droplet with the tag web (DO_TAG); `droplan explain 10.132.0.5` says whether it is yours"
        whole = " ".join(said.split())
        assert (f"10.132.0.5: {told} " in whole, "10.132.0.5: no Droplet that the account lists to us" in whole) == (
            only,
            not only,
        )
        assert "10.132.0.6 db-6: a Droplet of yours in another VPC (DROPLAN_SCOPE)\n" in said

    def test_on_the_public_network_it_does_not_call_all_others_strangers_to_the_account(
        self, machine: Host, register: Register, capsys: pytest.CaptureFixture[str]
    ) -> None:
        register.note(ShutOut("198.51.100.7", "198.51.100.2", "tcp", 22, 2, True, False), "eth0", 1200.0)
        register.write(0.0)
        verb.run(replace(machine, environ={"DO_TAG": "web"}))
        verb.run(machine)
        said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("198.51.100.7")]
        assert said == [
            "198.51.100.7: on the public network, no Droplet of yours with the tag web",
            "198.51.100.7: on the public network, no Droplet of yours",
        ]

    def test_since_leaves_out_whom_nobody_saw_lately(self, machine: Host, capsys: pytest.CaptureFixture[str]) -> None:
        verb.run(machine, since="170s", as_json=True)
        found = json.loads(capsys.readouterr().out)
        assert [each["source"] for each in found["sources"]] == ["10.132.0.3", "10.132.0.6"]

    @pytest.mark.parametrize("since", ["1", "h", "-1h", "1.5h", "1w", "1h30m", "\x1b[2J", "٣h", "9999999d"])
    def test_a_time_that_is_none_is_refused(self, machine: Host, since: str) -> None:
        with pytest.raises(UsageError) as caught:
            verb.run(machine, since=since)
        assert str(caught.value).endswith("is no time: write such as 30s, 10m, 1h or 7d")
        assert str(caught.value).isprintable()

    def test_json_has_a_schema_and_all_that_is_known(self, machine: Host, capsys: pytest.CaptureFixture[str]) -> None:
        verb.run(machine, as_json=True)
        found = json.loads(capsys.readouterr().out)
        assert (found["schema"], found["sampled"], found["total"]) == (1, True, 3)
        assert found["sources"][1] == {
            "source": "10.132.0.6",
            "packets": 1,
            "first": 1100.0,
            "last": 1100.0,
            "interface": "eth1",
            "public": False,
            "observed": False,
            "services": [{"service": "tcp/5432", "packets": 1, "first": 1100.0, "last": 1100.0}],
            "name": "db-6",
            "why": "vpc",
        }

    def test_a_name_that_a_terminal_would_obey_does_not_reach_it(
        self, machine: Host, capsys: pytest.CaptureFixture[str]
    ) -> None:
        blocked.identify(machine.files, [(droplet(6, "\x1b[2J\n10.0.0.1 fine\u202e", "10.132.0.6"), "vpc")])
        verb.run(machine)
        said = capsys.readouterr().out
        assert "10.132.0.6 ?[2J?10.0.0.1 fine?: a Droplet" in said

    @pytest.mark.parametrize(
        ("since", "state", "environ", "blind"),
        [
            ("", "enabled", {}, None),
            ("1h", "enabled", {}, None),
            ("", "disabled", {}, "droplan-watch.service is disabled; `droplan install` starts it"),
            ("1h", "enabled", {"DROPLAN_WATCH": "false"}, "DROPLAN_WATCH=false does without the watcher"),
            ("", None, {}, "no systemd runs here, which would start the watcher"),
            ("", "", {}, "droplan is not installed here"),
        ],
        ids=["watched", "since", "unit disabled", "without the watcher", "without systemd", "not installed"],
    )
    def test_nobody_is_a_sentence_that_says_nobody_only_where_somebody_looked(
        self,
        root: None,
        host: Host,
        commands: FakeCommands,
        since: str,
        state: str | None,
        environ: dict[str, str],
        blind: str | None,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        if state != "":
            host.files.ensure(paths.PROGRAM, b"", 0o755)
        if state:
            host.files.directory(Path("/run/systemd/system"))
            host.files.ensure(watcher.UNIT.path, watcher.UNIT.text.encode(), 0o644)
            commands.knows("systemctl", state)
        verb.run(replace(host, environ={"DO_KEY": "x", **environ}), since=since)
        said = capsys.readouterr().out
        within = f" in the last {since}" if since else ""
        if blind:
            assert " ".join(said.split()) == f"Nobody was noted{within}, but that says nothing: {blind}"
        else:
            assert said == f"Nobody was shut out{within}.\n"
        assert max(map(len, said.splitlines())) <= 80

    def test_whom_it_knows_it_names_and_says_that_nobody_looks_any_more(
        self, machine: Host, capsys: pytest.CaptureFixture[str]
    ) -> None:
        verb.run(replace(machine, environ={"DO_KEY": "x", "DROPLAN_WATCH": "false"}))
        said = " ".join(capsys.readouterr().out.split())
        assert said.startswith("3 sources shut out")
        assert "Whom it shuts out now nobody notes: DROPLAN_WATCH=false does without the watcher" in said

    def test_what_was_only_observed_is_not_called_shut_out(
        self, register: Register, files: Files, root: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        register.note(knock(observed=True), "eth1", 1.0)
        register.write(0.0)
        verb.run(Host(files=files, uid=0, clock=Clock(now=2.0)))
        said = capsys.readouterr().out
        assert "1 source would have been shut out" in said
        assert "passed: droplan only observes" in said


class TestIdentify:
    def test_only_those_who_were_shut_out_are_written(self, machine: Host) -> None:
        assert json.loads(machine.files.read(paths.STRANGERS) or b"") == {
            "10.132.0.6": {"name": "db-6", "why": "vpc"}
        }

    def test_nothing_is_where_nobody_was(self, files: Files) -> None:
        blocked.identify(files, [(droplet(6, "db-6", "10.132.0.6"), "vpc")])
        assert not files.exists(paths.STRANGERS)

    @pytest.mark.parametrize("data", [b"", b"7", b'{"10.132.0.6": 7}', b'{"10.132.0.6": {"name": "x"}}'])
    def test_a_file_that_makes_no_sense_names_nobody(self, machine: Host, data: bytes) -> None:
        machine.files.write(paths.STRANGERS, data, 0o644)
        assert {each.name for each in blocked.load(machine.files).sources} == {""}


def test_whatever_a_packet_holds_the_file_stays_small(files: Files) -> None:
    files.directory(paths.STATE)
    register = Register(str(files.real(paths.BLOCKED)))
    longest: Callable[[int], str] = lambda n: str(ipaddress.IPv6Address((0xFE80 << 112) + (1 << 64) - 1 - n))  # noqa: E731
    for n in range(300):
        for port in range(20):
            register.note(knock(longest(n), "proto/255", 65535 - port), "x" * 15, 1e10)
    assert len(register.text()) < 400_000


def test_status_and_metrics_count_who_was_shut_out_of_late(files: Files) -> None:
    droplet = made(files)
    install.run(droplet.host())
    now = droplet.host().clock.time()
    assert standing.look(droplet.host()).blocked is None, "no watcher has noted anybody"

    def noted(source: str, last: float) -> dict[str, object]:
        return {
            "source": source,
            "packets": 3,
            "first": last,
            "last": last,
            "interface": "eth1",
            "public": False,
            "observed": False,
            "services": [],
        }

    value = {
        "sources": [noted("10.132.0.7", now - 60), noted("10.132.0.8", now - 7200)],
        "total": 41,
        "sampled": True,
    }
    files.write(paths.BLOCKED, json.dumps(value).encode(), 0o644)
    refresh.run(droplet.host())
    assert standing.look(droplet.host()).blocked == 1
    assert b"\ndroplan_refused_packets_total 41\n" in (files.read(paths.METRICS) or b"")
