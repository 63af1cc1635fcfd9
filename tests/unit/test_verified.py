"""A refresh reads no rules that nobody can have changed since they were found right; whatever differs has it read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from droplan_boot import paths
from droplan_boot.flow import verified
from droplan_boot.host.files import Files
from droplan_boot.verbs import install, refresh
from tests.bed.memory.doors import Host, ended
from tests.bed.memory.droplet import MemoryDroplet, made

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
V4 = Path("/etc/iptables/rules.v4")


@pytest.fixture
def droplet(files: Files) -> MemoryDroplet:
    """Return one that is installed and was refreshed."""
    droplet = made(files)
    install.run(droplet.host())
    refreshed(droplet)
    return droplet


def refreshed(droplet: MemoryDroplet, host: Host | None = None) -> list[str]:
    """Refresh; return which commands of the firewall that took."""
    droplet.ran.clear()
    refresh.run(host or droplet.host(scheduled=False))
    return [argv[0] for argv in droplet.ran if argv[0].startswith(("nft", "iptables", "ip6tables"))]


def test_where_nobody_changed_anything_no_command_is_started(droplet: MemoryDroplet) -> None:
    before = droplet.picture()
    assert refreshed(droplet) == []
    assert droplet.netfilter == before
    assert droplet.lines.shown[-1] == "2 peers in droplan-peers, unchanged"


def test_what_a_refresh_wrote_itself_is_known_to_be_right(droplet: MemoryDroplet) -> None:
    droplet.peers = ("10.132.0.2", "10.132.0.4")
    assert "nft" in refreshed(droplet)
    assert refreshed(droplet) == []


def altered(path: Path) -> Callable[[MemoryDroplet], object]:
    return lambda one: one.files.write(path, b"# other\n", 0o640)


def replaced(droplet: MemoryDroplet) -> None:
    """Have the machine's administrator choose another iptables."""
    for name in (
        "iptables",
        *(f"{tool}-{verb}" for tool in ("iptables", "ip6tables") for verb in ("save", "restore")),
    ):
        droplet.knows(name, droplet.commands[name], at=Path("/usr/sbin/xtables-legacy-multi"))
    droplet.commands["xtables-legacy-multi"] = droplet.commands["iptables"]
    droplet.alternative = "legacy"


def loaded(droplet: MemoryDroplet) -> None:
    """Have somebody use a legacy table, of which the kernel counts nothing."""
    droplet.files.write(Path("/proc/net/ip_tables_names"), b"filter\n", 0o444)


def flushed(droplet: MemoryDroplet) -> None:
    droplet.netfilter.flush_ruleset()


def added(droplet: MemoryDroplet) -> None:
    """Have somebody add a rule that is none of our business."""
    droplet.netfilter.restore("nft", 4, "*filter\n-A OUTPUT -j ACCEPT\nCOMMIT\n")


@pytest.mark.parametrize(
    "change",
    [
        flushed,
        added,
        altered(V4),
        altered(paths.RULES),
        altered(BOOT_ID),
        altered(paths.VERIFIED),
        loaded,
        lambda one: one.files.remove(V4),
        lambda one: one.files.real(V4).chmod(0o644),
        lambda one: one.files.remove(BOOT_ID),
        lambda one: one.files.write(paths.VERIFIED, b"[1]\n", 0o600),
        lambda one: setattr(one, "namespace", 2),
        lambda one: setattr(one, "peers", ("10.132.0.2",)),
        lambda one: one.knows("ufw"),
        lambda one: one.files.write(paths.SETTINGS, b"DO_KEY=x\nDROPLAN_ALLOW=10.0.0.9\n", 0o600),
        lambda one: one.files.write(paths.SETTINGS, b"DO_KEY=x\nDROPLAN_MODE=observe\n", 0o600),
        lambda one: one.files.write(paths.SETTINGS, b"DO_KEY=x\nDROPLAN_BACKEND=iptables\n", 0o600),
    ],
    ids=[
        "nft flush ruleset",
        "a rule of others",
        "saved rules altered",
        "the include altered",
        "another boot",
        "nonsense",
        "a legacy table",
        "saved rules gone",
        "saved rules for all to read",
        "no boot known",
        "other nonsense",
        "another namespace",
        "a peer gone",
        "ufw came",
        "an entry more",
        "observe",
        "another backend",
    ],
)
def test_whatever_differs_has_the_rules_read_again(
    change: Callable[[MemoryDroplet], object], droplet: MemoryDroplet
) -> None:
    change(droplet)
    assert refreshed(droplet) != []


def test_another_iptables_has_them_read_by_it(droplet: MemoryDroplet) -> None:
    replaced(droplet)
    assert {"iptables-save", "ip6tables-save"} <= {*refreshed(droplet)}


def test_a_guard_in_mangle_because_nft_refused_it_goes_back_when_nft_takes_it(droplet: MemoryDroplet) -> None:
    nft = droplet.commands["nft"]
    droplet.commands["nft"] = lambda argv, stdin: ended(argv, 1) if "--check" in argv else nft(argv, stdin)
    flushed(droplet)
    refreshed(droplet)
    assert not droplet.netfilter.nft.tables
    droplet.commands["nft"] = nft
    refreshed(droplet)
    assert ("inet", "droplan") in droplet.netfilter.nft.tables
    assert refreshed(droplet) == []


def test_another_droplan_reads_them_itself(droplet: MemoryDroplet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "__file__", "/var/lib/droplan/zipapp/another/verified.pyc")
    assert refreshed(droplet) != []


def test_what_it_took_out_elsewhere_is_counted_with_the_rest(droplet: MemoryDroplet) -> None:
    droplet.files.write(paths.SETTINGS, b"DO_KEY=x\nDROPLAN_BACKEND=iptables\n", 0o600)
    assert "nft" in refreshed(droplet)
    assert refreshed(droplet) == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_who_writes_between_our_transactions_has_them_read_next_time(when: str, droplet: MemoryDroplet) -> None:
    others = droplet.meddlers if when == "before" else droplet.spoilers
    others.append(lambda tables: tables[4].restore("*filter\n-A OUTPUT -j ACCEPT\nCOMMIT\n", noflush=True))
    droplet.peers = ("10.132.0.2",)
    refreshed(droplet)
    assert others == []
    assert refreshed(droplet) != []
    assert refreshed(droplet) == []


def test_where_the_kernel_does_not_count_they_are_read_each_time(droplet: MemoryDroplet) -> None:
    from dataclasses import replace

    deaf = replace(droplet.host(scheduled=False), generation=lambda: None)
    for _ in range(2):
        assert refreshed(droplet, deaf) != []


def test_legacy_tables_which_nobody_counts_are_read_each_time(files: Files) -> None:
    droplet = made(files)
    replaced(droplet)
    install.run(droplet.host())
    for _ in range(2):
        assert "iptables-save" in refreshed(droplet)


def test_a_disk_that_is_full_costs_the_memory_and_no_peer(droplet: MemoryDroplet) -> None:
    droplet.files.remove(paths.VERIFIED)
    droplet.files.real(paths.VERIFIED).mkdir()
    (droplet.files.real(paths.VERIFIED) / "in the way").touch()
    assert refreshed(droplet) != []
    assert "move it away" in droplet.lines.complained[-1]
