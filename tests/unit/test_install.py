"""Installing: each step looks first, and does only what is missing."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from droplan_boot import paths
from droplan_boot.access.policy import Policy
from droplan_boot.errors import DroplanError, NoAnswerError, RefusedError, TokenError, UsageError
from droplan_boot.flow import verified
from droplan_boot.host.files import Files
from droplan_boot.setup import persistence, program
from droplan_boot.sources.shared import base
from droplan_boot.sources.shared.head import Base
from droplan_boot.state import report, snapshot
from droplan_boot.state.snapshot import Snapshot
from droplan_boot.verbs import install, refresh, restore, standing, status
from tests.bed.memory.doors import Answer, Clock, Host, Script
from tests.bed.memory.droplet import ADDRESS, OWN_ID, PYZ, TOKEN, TWO, MemoryDroplet, furnished, made
from tests.bed.memory.heads import FLEET, NOW, signed
from tests.bed.memory.netfilter import Packet
from tests.golden.scenarios import segment

V4 = Path("/etc/iptables/rules.v4")
WRITTEN_BY_EVERY_RUN = {
    f"var/lib/droplan/{name}"
    for name in ("snapshot.json", "status.json", "metrics.prom", "verified.json", "answer.json")
}


@pytest.fixture
def droplet(files: Files) -> MemoryDroplet:
    """Return a fresh Droplet."""
    return made(files)


@pytest.fixture
def installed(droplet: MemoryDroplet) -> MemoryDroplet:
    """Return one on which droplan is in place, and whose memory is wiped."""
    install.run(droplet.host())
    droplet.ran.clear()
    droplet.scripts.clear()
    droplet.lines.said.clear()
    return droplet


def closed(droplet: MemoryDroplet) -> bool:
    return droplet.tables[4].verdict(Packet("10.132.0.66")) == "DROP"


class TestFirst:
    def test_all_is_in_place_afterwards(self, droplet: MemoryDroplet) -> None:
        install.run(droplet.host())
        files = droplet.files
        modes = {
            paths.PROGRAM: 0o755,
            paths.REFRESH: 0o755,
            paths.CRON: 0o644,
            paths.SETTINGS: 0o600,
            paths.SNAPSHOT: 0o600,
            paths.REPORT: 0o644,
            V4: 0o640,
        }
        assert {path: files.real(path).stat().st_mode & 0o777 for path in modes} == modes
        assert files.read(paths.PROGRAM) == PYZ.replace(b"/usr/bin/python3", program.interpreter().encode())
        assert {"iptables-persistent", "cron"} <= droplet.packages
        assert {"cron", "netfilter-persistent"} <= droplet.enabled
        assert "cron" in droplet.active
        assert closed(droplet)
        assert droplet.tables[4].verdict(Packet("10.132.0.2")) == "ACCEPT"
        assert not files.exists(paths.UNFINISHED)

    def test_each_step_says_what_it_did(self, droplet: MemoryDroplet) -> None:
        install.run(droplet.host())
        steps = [line for line in droplet.lines.said if line.endswith(": created")]
        assert [line.split(" ")[0] for line in steps][:5] == ["settings", "program", "command", "refresh", "schedule"]
        added = "Added 2 peers to droplan-peers: droplet-1 10.132.0.2, droplet-2 10.132.0.3"
        assert added in droplet.lines.said

    def test_the_token_is_in_the_settings_file_and_nowhere_else(self, droplet: MemoryDroplet) -> None:
        install.run(droplet.host())
        found = [name for name, (_, _, data) in droplet.everything().items() if TOKEN.encode() in data]
        assert found == ["etc/droplan/droplan.env"]
        assert not any(TOKEN in word for argv in droplet.ran for word in argv)
        assert not any(TOKEN in value for environment in droplet.environments for value in environment.values())
        assert not any(TOKEN in line for line in droplet.lines.said)
        assert TOKEN not in repr(droplet.host())

    def test_settings_of_the_environment_are_kept_for_the_schedule(self, droplet: MemoryDroplet) -> None:
        install.run(droplet.host(DO_TAG="web", DROPLAN_INTERVAL="7", HOME="/root"))
        text = (droplet.files.read(paths.SETTINGS) or b"").decode()
        assert "DO_TAG=web\n" in text
        assert "HOME" not in text
        assert "every 7 min" in (droplet.files.read(paths.CRON) or b"").decode()

    def test_where_ufw_is_no_loader_is_installed_and_our_unit_restores(self, droplet: MemoryDroplet) -> None:
        droplet.knows("ufw")
        droplet.packages.add("ufw")
        install.run(droplet.host())
        assert "iptables-persistent" not in droplet.packages
        assert droplet.files.read(persistence.UNIT) == persistence.UNIT_TEXT.encode()
        assert persistence.UNIT_NAME in droplet.enabled


class TestAgain:
    def test_nothing_is_changed(self, installed: MemoryDroplet) -> None:
        before, tables = installed.everything(), deepcopy(installed.tables)
        install.run(installed.host())
        assert installed.tables == tables
        after = installed.everything()
        told = {name for name in after if after[name] != before[name]}
        assert told <= {*WRITTEN_BY_EVERY_RUN, "run/droplan.lock"}
        assert installed.changed() == []
        assert all(line.endswith((": unchanged", ", unchanged")) for line in installed.lines.said)

    @pytest.mark.parametrize("path", [paths.PROGRAM, paths.REFRESH, paths.CRON, paths.SETTINGS, V4])
    @pytest.mark.parametrize(
        ("spoil", "problem"),
        [
            (lambda place: place.unlink(), "missing"),
            (lambda place: place.write_bytes(b""), "empty"),
            (lambda place: place.write_bytes(b"# other\n"), "altered"),
            (lambda place: place.chmod(0o640 if place.name != "rules.v4" else 0o644), "mode 06"),
        ],
        ids=["deleted", "emptied", "altered", "shown to others"],
    )
    def test_what_was_damaged_is_repaired_and_nothing_else_is_written(
        self, path: Path, spoil: Callable[[Path], object], problem: str, installed: MemoryDroplet
    ) -> None:
        right = installed.everything()
        spoil(installed.files.real(path))
        install.run(installed.host())
        after = installed.everything()
        told = {name for name in after if after[name][1:] != right.get(name, (0,))[1:]}
        if path == V4 and problem == "altered":  # what others write there stays
            assert (installed.files.read(V4) or b"").startswith(b"# other\n")
            told.discard("etc/iptables/rules.v4")
        # A file of saved rules without one of ours might be the user's, so it is kept.
        kept = {"etc/iptables/rules.v4"} if path == V4 and problem == "altered" else set()  # whose line that is
        assert told <= {*WRITTEN_BY_EVERY_RUN, "etc/iptables/rules.v4.before-droplan", *kept}
        told_of = ("created", "was missing") if problem == "missing" else (f"was {problem}",)
        assert any(str(path) in line and any(word in line for word in told_of) for line in installed.lines.said)

    def test_a_service_that_was_disabled_and_a_package_that_was_removed_are_put_back(
        self, installed: MemoryDroplet
    ) -> None:
        installed.enabled.discard("cron")
        installed.packages.discard("cron")
        install.run(installed.host())
        assert "cron" in installed.enabled & installed.packages

    def test_flushed_rules_are_written_again(self, installed: MemoryDroplet) -> None:
        for rules in installed.tables[4].chains.values():
            rules.clear()
        install.run(installed.host())
        assert closed(installed)
        assert "2 peers in droplan-peers, rules repaired" in installed.lines.said


def test_a_dry_run_touches_nothing(droplet: MemoryDroplet) -> None:
    before, tables = droplet.everything(), deepcopy(droplet.tables)
    install.run(droplet.host(), dry_run=True)
    assert droplet.everything() == before
    assert droplet.tables == tables
    assert droplet.changed() == []
    assert any(line.endswith(": would be created") for line in droplet.lines.said)
    assert "rules: would be written (IPv4: droplan-peers is missing)" in droplet.lines.said


def test_a_dry_run_after_an_install_finds_all_in_place(installed: MemoryDroplet) -> None:
    install.run(installed.host(), dry_run=True)
    assert installed.lines.said
    # Whether the kernel has a match is known only when a rule with it is written.
    assert [line for line in installed.lines.said if not line.endswith(": unchanged")] == [
        "Would keep 2 peers in droplan-peers; nobody comes, nobody goes",
        "Would cut no connection that exists now",
        "kernel matches: would be tried",
    ]


NO_ANSWER = OSError("Connection refused")
REFUSED = Answer(None, 401)


class TestNoAnswer:
    def test_rules_stay_and_the_schedule_goes_on_with_it(self, droplet: MemoryDroplet) -> None:
        droplet.refusal = NO_ANSWER
        with pytest.raises(NoAnswerError):
            install.run(droplet.host())
        assert not closed(droplet)
        assert droplet.files.exists(paths.UNFINISHED)
        assert droplet.files.exists(paths.CRON)
        assert "Connection refused" in (droplet.files.read(paths.REPORT) or b"").decode()
        droplet.refusal = None
        refresh.run(droplet.host(scheduled=True, token=""))
        assert closed(droplet)
        assert not droplet.files.exists(paths.UNFINISHED)

    def test_fail_closed_closes_to_all_but_whom_the_user_allowed(self, droplet: MemoryDroplet) -> None:
        droplet.refusal = NO_ANSWER
        with pytest.raises(NoAnswerError):
            install.run(droplet.host(DROPLAN_FAIL_CLOSED="true", DROPLAN_ALLOW="tcp/22"))
        assert closed(droplet)
        assert droplet.tables[4].verdict(Packet("10.132.0.2")) == "DROP"
        assert droplet.tables[4].verdict(Packet("10.132.0.2", port=22)) == "ACCEPT"

    def test_closed_it_stays_over_a_reboot_and_says_that_no_answer_came(self, droplet: MemoryDroplet) -> None:
        droplet.refusal = NO_ANSWER
        with pytest.raises(NoAnswerError):
            install.run(droplet.host(DROPLAN_FAIL_CLOSED="true", DROPLAN_ALLOW="tcp/22"))
        shown = standing.look(droplet.host())
        assert shown.snapshot_age is None
        assert [one.code for one in shown.problems] == ["unanswered", "failed", "unfinished"]
        assert shown.exit_code == 5
        for rules in droplet.tables[4].chains.values():
            rules.clear()  # as a boot does
        restore.run(droplet.host())
        assert "No answer has named the peers yet" in droplet.lines.said[-1]
        assert droplet.tables[4].verdict(Packet("10.132.0.2")) == "DROP"
        assert droplet.tables[4].verdict(Packet("10.132.0.2", port=22)) == "ACCEPT"
        droplet.refusal = None
        refresh.run(droplet.host(scheduled=True, token=""))
        assert droplet.tables[4].verdict(Packet("10.132.0.2")) == "ACCEPT"

    def test_but_not_when_an_earlier_answer_is_known(self, installed: MemoryDroplet) -> None:
        installed.refusal = NO_ANSWER
        with pytest.raises(NoAnswerError):
            install.run(installed.host(DROPLAN_FAIL_CLOSED="true"))
        assert installed.tables[4].verdict(Packet("10.132.0.2")) == "ACCEPT"

    def test_unless_it_is_another_droplets_whose_image_this_is(self, droplet: MemoryDroplet) -> None:
        snapshot.store(droplet.files, Snapshot(8, 0.0, TWO))
        droplet.refusal = NO_ANSWER
        with pytest.raises(NoAnswerError):
            install.run(droplet.host(DROPLAN_FAIL_CLOSED="true"))
        assert closed(droplet)

    @pytest.mark.parametrize(("refusal", "token", "error"), [(REFUSED, TOKEN, TokenError), (None, "", UsageError)])
    def test_a_mistake_that_only_a_person_can_mend_changes_nothing(
        self, refusal: Script | None, token: str, error: type[DroplanError], droplet: MemoryDroplet
    ) -> None:
        droplet.refusal = refusal
        before = droplet.everything()
        with pytest.raises(error):
            install.run(droplet.host(token=token, scheduled=False))
        assert droplet.everything() == before
        assert droplet.changed() == []

    def test_the_schedule_reports_a_token_that_is_refused(self, installed: MemoryDroplet) -> None:
        installed.refusal = REFUSED
        with pytest.raises(TokenError):
            install.run(installed.host())
        found = report.load(installed.files)
        assert found
        assert found.error
        assert "refuses the token" in found.error

    @pytest.mark.parametrize(("scheduled", "force"), [(True, False), (False, True)])
    def test_neither_the_schedule_nor_who_insists_is_held_up_by_a_session(
        self, scheduled: bool, force: bool, droplet: MemoryDroplet
    ) -> None:
        session = f"10.132.0.66 40000 {ADDRESS} 22"
        with pytest.raises(RefusedError):
            install.run(droplet.host(scheduled=False, SSH_CONNECTION=session))
        assert not closed(droplet)
        install.run(replace(droplet.host(scheduled=scheduled, SSH_CONNECTION=session), force=force))
        assert closed(droplet)

    def test_closing_that_would_cut_the_callers_session_is_refused_before_anything_changes(
        self, droplet: MemoryDroplet
    ) -> None:
        droplet.refusal = NO_ANSWER
        before = droplet.everything()
        with pytest.raises(RefusedError, match="DROPLAN_ALLOW=tcp/22@fe80::2"):
            install.run(
                droplet.host(DROPLAN_FAIL_CLOSED="true", scheduled=False, SSH_CONNECTION="fe80::2 40000 fe80::1 22")
            )
        assert droplet.everything() == before


@dataclass
class Newcomer(MemoryDroplet):
    """A member of a fleet whose publisher boots beside it.

    Args:
        objects: what the bucket will hold, by name.
        published: when (epoch); before that it is empty.

    Attributes:
        meanwhile: what a peer met each time that the bucket was asked again.
    """

    objects: dict[str, bytes] | None = None
    published: float = NOW

    def __post_init__(self) -> None:
        super().__post_init__()
        self.clock = Clock(NOW)
        self.meanwhile: list[str] = []
        self.knows("openssl", "Verified OK\n")

    def _answer(self, url: str) -> Script:
        if not url.startswith(FLEET):
            return super()._answer(url)
        name = url[len(FLEET) + 1 :]
        if self.clock.slept:
            self.meanwhile.append(self.tables[4].verdict(Packet("10.132.0.2")))
        if self.clock.now < self.published or name not in (self.objects or {}):
            return Answer(status=404, body=b"")
        return Answer(body=(self.objects or {})[name])

    def member(self, public: str, *, scheduled: bool = False) -> Host:
        """Return it as ``install`` sees it, told of the fleet and holding no token."""
        shared = {"DROPLAN_SHARED": FLEET, "DROPLAN_SHARED_KEY": "READ:SECRET", "DROPLAN_SHARED_TRUST": public}
        host = self.host(token="", scheduled=scheduled, DROPLAN_FAIL_CLOSED="true", **shared)
        return replace(host, clock=self.clock, unattended=True)


class TestFirstListOfAFleet:
    @pytest.fixture
    def newcomer(self, files: Files, key: tuple[Path, str]) -> Newcomer:
        listed = ((OWN_ID, ADDRESS), (OWN_ID + 1, "10.132.0.2"))
        rows = [[number, f"droplet-{number}", "nyc3", [], None, [address], []] for number, address in listed]
        data = base.encode(base.changed(base.Fleet(), rows))
        digest = hashlib.sha256(data).hexdigest()
        named = Base(f"base/{digest}", digest)
        return Newcomer(files=furnished(files), objects={"head": signed(key, base=named), named.name: data})

    def test_is_waited_for_behind_a_closed_door(self, newcomer: Newcomer, key: tuple[Path, str]) -> None:
        newcomer.published = NOW + 30
        install.run(newcomer.member(key[1]))
        assert newcomer.clock.slept == [5.0] * 6
        assert set(newcomer.meanwhile) == {"DROP"}
        assert newcomer.tables[4].verdict(Packet("10.132.0.2")) == "ACCEPT"
        assert closed(newcomer)
        assert not newcomer.files.exists(paths.UNFINISHED)

    def test_that_never_comes_is_no_answer_and_the_schedule_goes_on(
        self, newcomer: Newcomer, key: tuple[Path, str]
    ) -> None:
        newcomer.published = NOW + 600
        with pytest.raises(NoAnswerError, match=r"holds no head: the interface is closed"):
            install.run(newcomer.member(key[1]))
        assert newcomer.clock.now == NOW + install.FIRST_LIST_S
        newcomer.clock.slept.clear()
        with pytest.raises(NoAnswerError):
            install.run(newcomer.member(key[1], scheduled=True))
        assert newcomer.clock.slept == []
        newcomer.clock.now = newcomer.published
        install.run(newcomer.member(key[1], scheduled=True))
        assert newcomer.tables[4].verdict(Packet("10.132.0.2")) == "ACCEPT"

    def test_once_there_was_one_nobody_waits(self, newcomer: Newcomer, key: tuple[Path, str]) -> None:
        install.run(newcomer.member(key[1]))
        newcomer.objects = {}
        with pytest.raises(NoAnswerError, match=r"holds no head: the rules stay as they are"):
            install.run(newcomer.member(key[1]))
        assert newcomer.clock.slept == []
        assert newcomer.tables[4].verdict(Packet("10.132.0.2")) == "ACCEPT"


def test_restore_closes_where_a_later_droplan_wrote_the_snapshot(droplet: MemoryDroplet) -> None:
    droplet.files.write(paths.SNAPSHOT, b'{"version": 99}', 0o600)
    with pytest.raises(DroplanError, match=r"^closed to all until the next refresh: .* is of version 99"):
        restore.run(droplet.host())
    assert closed(droplet)
    assert droplet.tables[4].verdict(Packet("10.132.0.2")) == "DROP"
    assert "unknown-snapshot" in [one.code for one in standing.look(droplet.host()).problems]


class TestRefresh:
    @pytest.mark.parametrize(
        ("peers", "lines"),
        [
            (["10.132.0.2", "10.132.0.3"], []),
            (["10.132.0.2", "10.132.0.3", "10.132.0.4"], ["Added 1 peer to droplan-peers: droplet-3 10.132.0.4"]),
            ([], ["Removed 2 peers from droplan-peers: droplet-1 10.132.0.2, droplet-2 10.132.0.3"]),
            (
                ["10.132.0.2", "10.132.0.9"],
                [
                    "Added 1 peer to droplan-peers: droplet-2 10.132.0.9",
                    "Removed 1 peer from droplan-peers: droplet-2 10.132.0.3",
                ],
            ),
        ],
    )
    def test_it_says_what_changed(self, peers: list[str], lines: list[str], installed: MemoryDroplet) -> None:
        installed.peers = tuple(peers)
        refresh.run(installed.host())
        assert [line for line in installed.lines.said if "droplan-peers" in line] == lines
        kept = snapshot.load(installed.files)
        assert kept
        assert kept.policy == Policy((segment(*peers),))
        assert [str(address) for droplet in kept.peers for address in droplet.private] == peers

    def test_without_an_answer_rules_and_snapshot_stay_and_the_report_says_why(
        self, installed: MemoryDroplet
    ) -> None:
        tables, kept = deepcopy(installed.tables), installed.files.read(paths.SNAPSHOT)
        installed.refusal = NO_ANSWER
        with pytest.raises(NoAnswerError):
            refresh.run(installed.host())
        assert installed.tables == tables
        assert installed.files.read(paths.SNAPSHOT) == kept
        text = (installed.files.read(paths.REPORT) or b"").decode()
        assert '"result": "failed"' in text
        assert "Connection refused" in text

    def test_whatever_holds_it_up_it_ends_and_says_so(
        self, installed: MemoryDroplet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def held_up(*_arguments: object, **_options: object) -> None:
            assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 60
            signal.raise_signal(signal.SIGALRM)  # now, and not when the time is up

        monkeypatch.setattr(verified, "claim", held_up)
        tables = deepcopy(installed.tables)
        with pytest.raises(DroplanError, match="had not ended after 55 s and was stopped"):
            refresh.run(installed.host())
        assert installed.tables == tables
        assert '"result": "failed"' in (installed.files.read(paths.REPORT) or b"").decode()

    def test_it_needs_no_environment_once_it_is_installed(self, installed: MemoryDroplet) -> None:
        refresh.run(installed.host(token=""))

    def test_a_settings_file_that_others_can_read_is_kept_from_them(self, installed: MemoryDroplet) -> None:
        installed.files.real(paths.SETTINGS).chmod(0o644)
        refresh.run(installed.host())
        assert installed.files.real(paths.SETTINGS).stat().st_mode & 0o777 == 0o600
        assert any("mode 0644" in line for line in installed.lines.said)


class TestStatus:
    def test_after_an_install_all_is_well(self, installed: MemoryDroplet, capsys: pytest.CaptureFixture[str]) -> None:
        assert status.run(installed.host()) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("OK  eth1 is open to 2 Droplets, closed to everyone else\n")
        for words in ("iptables-nft (", "2 in droplan-peers", "rules.v4", "ok, "):
            assert words in shown
        assert "not scheduled" not in shown

    def test_drift_is_told_with_exit_code_3(
        self, installed: MemoryDroplet, capsys: pytest.CaptureFixture[str]
    ) -> None:
        installed.tables[4].chains["INPUT"].clear()
        assert status.run(installed.host()) == 3
        shown = capsys.readouterr().out
        assert shown.startswith("DRIFT  the rules are not what the last answer asks: ")
        assert "next step     run `droplan refresh`\n" in shown

    def test_it_changes_nothing(self, installed: MemoryDroplet) -> None:
        before = installed.everything()
        status.run(installed.host(), as_json=True)
        assert installed.everything() == before
        assert installed.changed() == []
