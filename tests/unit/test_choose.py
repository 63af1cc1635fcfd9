"""Which backend: looked up, never tried, and the reason told."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from droplan_boot.errors import DroplanError, FirewallError, UnansweredError
from droplan_boot.firewall import choose, libiptc, look
from droplan_boot.firewall.enforcement import Enforcement
from droplan_boot.firewall.iptables import Iptables
from droplan_boot.firewall.iptables_restore import RestoreWriter
from droplan_boot.firewall.libiptc import LibiptcWriter
from droplan_boot.firewall.nftables import Nftables
from droplan_boot.host.command import Completed
from droplan_boot.host.files import Files
from tests.bed.memory.doors import FakeCommands, Host

TOOLS = ("iptables", "ip6tables")
OLD = [f"{tool}-{verb}" for tool in TOOLS for verb in ("save", "restore")]
NEW = [f"{tool}-{kind}-{verb}" for tool in TOOLS for kind in ("nft", "legacy") for verb in ("save", "restore")]


def with_iptables(
    tmp_path: Path, program: str, said: str, names: list[str], *, nft: bool = False, ipv6: bool = True
) -> Host:
    """Return a host whose ``iptables`` leads to a program, through links as update-alternatives makes them."""
    (tmp_path / program).touch()
    (tmp_path / "alternative").symlink_to(program)
    if program != "iptables":
        (tmp_path / "iptables").symlink_to("alternative")
    commands = FakeCommands()
    commands.knows("iptables", said, at=tmp_path / "iptables")
    for name in [*names, *(["nft"] if nft else [])]:
        commands.knows(name)
    return hosting(commands, tmp_path, ipv6=ipv6)


def commands_of(host: Host) -> FakeCommands:
    assert isinstance(host.runner, FakeCommands)
    return host.runner


def hosting(commands: FakeCommands, tmp_path: Path, *, ipv6: bool = True, legacy: str | None = None) -> Host:
    """Return a host with these commands, and a kernel as /proc/net shows it."""
    net = tmp_path / "proc/net"
    net.mkdir(parents=True)
    if ipv6:
        (net / "if_inet6").touch()
    if legacy is not None:
        (net / "ip6_tables_names").write_text(legacy)
    return Host(runner=commands, files=Files(tmp_path))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> object:
    """Pretend that python-iptables loads."""
    module = object()
    monkeypatch.setattr(libiptc, "load", lambda: module)
    return module


def parts(choice: choose.Choice) -> tuple[Iptables, Any]:
    assert choice.backend.door
    door: Any = choice.backend.door
    return door, door.writer


class TestVariant:
    @pytest.mark.parametrize(
        ("program", "said", "commands", "save"),
        [
            ("xtables-nft-multi", "never asked", NEW + OLD, "iptables-nft-save"),
            ("iptables", "iptables v1.8.9 (nf_tables)", NEW + OLD, "iptables-nft-save"),
            ("iptables", "iptables v1.8.11 (nf_tables)", OLD, "iptables-save"),
        ],
        ids=["Debian", "by what it says", "plain names only"],
    )
    def test_the_nft_variant_writes_with_its_own_restore(
        self, program: str, said: str, commands: list[str], save: str, tmp_path: Path
    ) -> None:
        backend, writer = parts(choose.choose("auto", with_iptables(tmp_path, program, said, commands)))
        assert backend.name == "iptables-nft"
        assert backend.save == {4: save, 6: save.replace("iptables", "ip6tables")}
        assert isinstance(writer, RestoreWriter)
        assert writer.command[6] == save.replace("iptables", "ip6tables").replace("save", "restore")
        assert not writer.waits, "the nft variant has no lock and no -w"

    @pytest.mark.parametrize(
        ("program", "said", "commands", "save", "waits"),
        [
            ("xtables-legacy-multi", "iptables v1.8.9 (legacy)", NEW + OLD, "iptables-legacy-save", True),
            ("iptables", "iptables v1.8.4 (legacy)", OLD, "iptables-save", True),
            ("xtables-multi", "iptables v1.6.2", OLD, "iptables-save", True),
            ("xtables-multi", "iptables v1.6.1", OLD, "iptables-save", False),
            ("xtables-multi", "iptables v1.4.21", OLD, "iptables-save", False),
        ],
        ids=["Debian", "by what it says", "1.6.2", "Ubuntu 18.04", "CentOS 7"],
    )
    def test_the_legacy_variant_goes_through_python_iptables_and_in_bulk_through_restore(
        self, program: str, said: str, commands: list[str], save: str, waits: bool, tmp_path: Path, loaded: object
    ) -> None:
        backend, writer = parts(choose.choose("auto", with_iptables(tmp_path, program, said, commands)))
        assert backend.name == "iptables-legacy"
        assert backend.save[4] == save
        assert isinstance(writer, LibiptcWriter)
        assert writer.iptc is loaded
        assert isinstance(writer.bulk, RestoreWriter)
        assert writer.bulk.waits is waits

    def test_where_python_iptables_does_not_load_restore_does_all_and_status_says_why(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails() -> object:
            raise FirewallError("python-iptables does not work here: no libxtables")

        monkeypatch.setattr(libiptc, "load", fails)
        host = with_iptables(tmp_path, "xtables-legacy-multi", "iptables v1.8.9 (legacy)", NEW)
        choice = choose.choose("auto", host)
        assert isinstance(parts(choice)[1], RestoreWriter)
        assert "no libxtables" in choice.door_why

    def test_the_reason_is_told(self, tmp_path: Path) -> None:
        host = with_iptables(tmp_path, "xtables-nft-multi", "", NEW)
        assert choose.choose("auto", host).door_why == f"{tmp_path}/iptables is xtables-nft-multi"
        assert commands_of(host).ran == [], "it looks, and runs nothing"

    def test_without_ipv6_its_commands_are_not_needed(self, tmp_path: Path) -> None:
        host = with_iptables(
            tmp_path, "xtables-nft-multi", "", ["iptables-nft-save", "iptables-nft-restore"], ipv6=False
        )
        assert parts(choose.choose("auto", host))[0].save == {4: "iptables-nft-save"}

    def test_half_an_iptables_is_an_error(self, tmp_path: Path) -> None:
        host = with_iptables(tmp_path, "xtables-nft-multi", "", ["iptables-nft-save"])
        with pytest.raises(DroplanError, match="is missing though iptables is there: reinstall the package iptables"):
            choose.choose("auto", host)


class TestSetting:
    @pytest.mark.parametrize(
        ("wanted", "iptables", "nft", "name", "why"),
        [
            ("auto", True, True, "iptables-nft", "xtables-nft-multi"),
            ("iptables", True, True, "iptables-nft", "xtables-nft-multi"),
            ("nftables", True, True, "nftables", "DROPLAN_BACKEND=nftables"),
            ("auto", False, True, "nftables", "iptables is not installed"),
            ("nftables", False, True, "nftables", "DROPLAN_BACKEND=nftables"),
        ],
    )
    def test_it_decides_where_there_is_a_choice(
        self, wanted: str, iptables: bool, nft: bool, name: str, why: str, tmp_path: Path
    ) -> None:
        host = with_iptables(tmp_path, "xtables-nft-multi", "", NEW, nft=nft)
        if not iptables:
            del commands_of(host).places["iptables"]
        choice = choose.choose(wanted, host)
        assert choice.backend.name == name
        assert why in choice.door_why

    @pytest.mark.parametrize(
        ("wanted", "nft", "guarded_by", "why"),
        [
            ("auto", True, "nftables", "nft --check takes it"),
            ("auto", False, "mangle", "nft is not installed"),
            ("iptables", True, "mangle", "DROPLAN_BACKEND=iptables"),
            ("nftables", True, "nftables", "nft --check takes it"),
        ],
    )
    def test_the_guard_is_in_nftables_wherever_that_works(
        self, wanted: str, nft: bool, guarded_by: str, why: str, tmp_path: Path
    ) -> None:
        choice = choose.choose(wanted, with_iptables(tmp_path, "xtables-nft-multi", "", NEW, nft=nft))
        assert choice.backend.guarded_by == guarded_by
        assert choice.guard_why == why
        assert choice.backend.door is None or choice.backend.door.alone is (guarded_by == "mangle")

    def test_the_guard_is_in_mangle_where_the_kernel_has_no_nf_tables_and_nft_says_so(self, tmp_path: Path) -> None:
        host = with_iptables(tmp_path, "xtables-legacy-multi", "", NEW)
        refusal = Completed(("nft", "--check", "-f", "-"), 1, "", "netlink: Error: cache initialization failed")
        commands_of(host).knows("nft", refusal)
        choice = choose.choose("auto", host)
        assert choice.backend.guarded_by == "mangle"
        assert "cache initialization failed" in choice.guard_why

    def test_an_nft_that_hangs_is_no_reason_to_move_the_guard(self, tmp_path: Path) -> None:
        host = with_iptables(tmp_path, "xtables-nft-multi", "", NEW)
        asked: list[str] = []

        def stands(table: str) -> bool:
            asked.append(table)
            return True

        def nft(argv: Sequence[str], _stdin: str) -> Completed:
            raise UnansweredError("`nft --check -f -` had not ended after 15 s and was stopped")

        commands_of(host).knows("nft", nft)
        with pytest.raises(FirewallError, match=r"the guard stays where it stands.*had not ended"):
            choose.choose("auto", replace(host, table_stands=stands))
        assert asked == ["inet droplan"]
        choice = choose.choose("auto", replace(host, table_stands=lambda table: False))
        assert choice.backend.guarded_by == "mangle", "where none stands, one elsewhere is better than none"

    @pytest.mark.parametrize("ended_by", [signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
    def test_an_nft_that_somebody_ended_is_no_reason_to_move_the_guard(
        self, ended_by: signal.Signals, tmp_path: Path
    ) -> None:
        host = replace(with_iptables(tmp_path, "xtables-nft-multi", "", NEW), table_stands=lambda table: True)
        commands_of(host).knows("nft", Completed(("nft", "--check", "-f", "-"), -ended_by, "", ""))
        with pytest.raises(FirewallError, match=f"ended with status -{int(ended_by)}.*the next run asks again"):
            choose.choose("auto", host)

    @pytest.mark.parametrize(("kills", "guard"), [(1, "nftables"), (99, "mangle")])
    def test_where_no_guard_stands_yet_as_at_boot_one_elsewhere_is_better_than_none(
        self, kills: int, guard: str, tmp_path: Path
    ) -> None:
        host = replace(with_iptables(tmp_path, "xtables-nft-multi", "", NEW), table_stands=lambda table: False)
        left = [kills]

        def nft(argv: Sequence[str], _stdin: str) -> Completed:
            left[0] -= 1
            return Completed(tuple(argv), -signal.SIGKILL if left[0] >= 0 else 0, "", "")

        commands_of(host).knows("nft", nft)
        choice = choose.choose("auto", host)
        assert choice.backend.guarded_by == guard
        assert choice.backend.guard is None or choice.backend.guard.notes

    def test_an_nft_that_crashes_by_itself_is_not_used(self, tmp_path: Path) -> None:
        host = with_iptables(tmp_path, "xtables-nft-multi", "", NEW)
        commands_of(host).knows("nft", Completed(("nft", "--check", "-f", "-"), -signal.SIGSEGV, "", ""))
        assert choose.choose("auto", host).backend.guarded_by == "mangle"

    def test_a_kernel_that_cannot_send_copies_of_packets_gets_a_guard_without_notes(self, tmp_path: Path) -> None:
        host = with_iptables(tmp_path, "xtables-nft-multi", "", NEW)

        def nft(argv: Sequence[str], stdin: str) -> Completed:
            return Completed(tuple(argv), int(" group 4710 " in stdin), "", "Error: No such file or directory")

        commands_of(host).knows("nft", nft)
        choice = choose.choose("auto", host)
        assert choice.backend.guard
        assert not choice.backend.guard.notes
        assert "without notes" in choice.guard_why

    @pytest.mark.parametrize(
        ("wanted", "words"),
        [
            ("auto", "neither iptables nor nft is installed: run `droplan install`"),
            ("nftables", "nft is"),
            ("iptables", "DROPLAN_BACKEND=iptables, but iptables is not installed"),
        ],
    )
    def test_a_machine_without_the_commands_is_told_what_to_do(self, wanted: str, words: str, tmp_path: Path) -> None:
        with pytest.raises(DroplanError, match=words):
            choose.choose(wanted, hosting(FakeCommands(), tmp_path))


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (None, False),
        ("", False),
        ("nat\n", False),
        ("mangle\n", True),
        ("nat\nfilter\n", True),
        ("filter", True),
        ("filtering\n", False),
    ],
)
def test_the_legacy_table_is_in_use_when_the_kernel_lists_it(names: str | None, used: bool, tmp_path: Path) -> None:
    assert look.legacy_in_use(hosting(FakeCommands(), tmp_path, legacy=names)) is used


class TestStrays:
    @pytest.fixture
    def commands(self) -> FakeCommands:
        made = FakeCommands()
        for name in [*NEW, "nft"]:
            made.knows(name)
        return made

    @pytest.mark.parametrize(
        ("current", "used", "legacy", "names"),
        [
            ("iptables-nft", ["iptables-nft"], False, []),
            ("iptables-nft", [], False, []),
            ("iptables-nft", ["iptables-legacy"], True, ["iptables-legacy"]),
            ("iptables-nft", [], True, ["iptables-legacy"]),
            ("iptables-nft", ["nftables"], False, ["nftables"]),
            ("iptables-nft nftables", ["nftables"], False, []),
            ("iptables-legacy", ["iptables-nft"], True, ["iptables-nft"]),
            ("iptables-legacy", ["iptables-nft", "nftables"], True, ["iptables-nft", "nftables"]),
            ("nftables", ["iptables-nft"], True, ["iptables-legacy", "iptables-nft"]),
        ],
    )
    def test_rules_are_looked_for_where_an_earlier_backend_may_have_left_them(
        self,
        current: str,
        used: list[str],
        legacy: bool,
        names: list[str],
        commands: FakeCommands,
        tmp_path: Path,
    ) -> None:
        host = hosting(commands, tmp_path, legacy="filter\n" if legacy else None)
        writer = RestoreWriter(commands, {}, waits=False)
        door = next((name for name in current.split() if name != "nftables"), "")
        enforcement = Enforcement(
            Nftables(commands) if "nftables" in current else None,
            Iptables(door, commands, {}, writer) if door else None,
        )
        found = choose.strays(enforcement, used, host)
        assert [backend.name for backend in found] == names
        assert commands.ran == []


class TestLoading:
    def test_no_process_is_started_to_look_for_libraries(self) -> None:
        program = """
import ctypes.util, sys
started = []
sys.addaudithook(lambda event, _: started.append(event) if event in EVENTS else None)
EVENTS = ("subprocess.Popen", "os.system", "os.fork", "os.exec", "os.posix_spawn")
real = ctypes.util.find_library
from droplan_boot.errors import FirewallError
from droplan_boot.firewall import libiptc
try:
    libiptc.load()
except FirewallError:
    pass  # no libxtables on this machine
assert ctypes.util.find_library is real
assert not started, started
"""
        subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])

    def test_whatever_its_import_raises_is_told_in_a_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import builtins

        real = builtins.__import__

        def broken(name: str, *args: Any) -> Any:
            if name == "iptc":
                raise RuntimeError("no such thing")
            return real(name, *args)

        monkeypatch.setattr(builtins, "__import__", broken)
        with pytest.raises(FirewallError, match="python-iptables does not work here: no such thing"):
            libiptc.load()
