"""The lockout guard: whoever would cut their own SSH session is refused, and told what keeps it."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_boot.access import lockout
from droplan_boot.access.change import Change, between, lines
from droplan_boot.access.here import Here
from droplan_boot.access.policy import Policy
from droplan_boot.host.sessions import Session, ssh_sessions
from droplan_boot.sources.own import Interface, Metadata
from tests.golden.scenarios import segment

PRIVATE, PUBLIC = "10.132.0.1", "203.0.113.1"
HERE = Here(
    Metadata(
        7,
        "nyc3",
        (Interface("", (ipaddress.ip_address(PRIVATE),)),),
        (Interface("", (ipaddress.ip_address(PUBLIC),)),),
    ),
    ("eth1",),
    ("eth0",),
)


def session(remote: str, local: str = PRIVATE, port: int = 22) -> Session:
    return Session(ipaddress.ip_address(local), port, ipaddress.ip_address(remote))


@pytest.mark.parametrize(
    ("what", "policy", "found", "allow"),
    [
        ("none", Policy((segment(),)), [], None),
        ("from a peer", Policy((segment("10.132.0.2"),)), [session("10.132.0.2")], None),
        ("from a stranger", Policy((segment("10.132.0.2"),)), [session("10.132.0.9")], "tcp/22@10.132.0.9"),
        ("on another port", Policy((segment(),)), [session("10.132.0.9", port=2222)], "tcp/2222@10.132.0.9"),
        ("by the public network", Policy((segment(),)), [session("198.51.100.9", PUBLIC)], None),
        (
            "by the public network, which is closed too",
            Policy((segment(), segment(public=True))),
            [session("198.51.100.9", PUBLIC)],
            "tcp/22@198.51.100.9",
        ),
        ("allowed by network", Policy((segment(allow="10.132.0.0/24"),)), [session("10.132.0.9")], None),
        ("allowed by port", Policy((segment(allow="tcp/22"),)), [session("10.132.0.9")], None),
        ("allowed by both", Policy((segment(allow="tcp/22@10.132.0.9"),)), [session("10.132.0.9")], None),
        (
            "allowed by another port",
            Policy((segment(allow="tcp/80"),)),
            [session("10.132.0.9")],
            "tcp/80,tcp/22@10.132.0.9",
        ),
        ("allowed by udp", Policy((segment(allow="udp/22"),)), [session("10.132.0.9")], "udp/22,tcp/22@10.132.0.9"),
        ("by link-local IPv6", Policy((segment(),)), [session("fe80::9", "fe80::1")], "tcp/22@fe80::9"),
        (
            "two",
            Policy((segment(),)),
            [session("10.132.0.8"), session("10.132.0.9")],
            "tcp/22@10.132.0.8,tcp/22@10.132.0.9",
        ),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_a_session_that_the_rules_would_cut_is_named_with_what_keeps_it(
    what: str, policy: Policy, found: list[Session], allow: str | None
) -> None:
    objections = list(lockout.sessions(policy, HERE, found))
    if allow is None:
        assert objections == []
        return
    assert len(objections) == 1
    assert f"put DROPLAN_ALLOW={allow} before the command" in objections[0]


def test_a_session_by_the_public_network_is_kept_by_the_setting_that_the_public_network_has() -> None:
    policy = Policy((segment(allow="tcp/5432@10.9.0.0/24"), segment(public=True, allow="tcp/443", on=("eth0",))))
    there, here = session("198.51.100.9", PUBLIC), session("10.132.0.9")
    (said,) = lockout.sessions(policy, HERE, [there])
    assert "put DROPLAN_ALLOW_PUBLIC=tcp/443,tcp/22@198.51.100.9 before the command" in said
    (said,) = lockout.sessions(policy, HERE, [there, here])
    assert (
        "put DROPLAN_ALLOW=tcp/5432@10.9.0.0/24,tcp/22@10.132.0.9 "
        "DROPLAN_ALLOW_PUBLIC=tcp/443,tcp/22@198.51.100.9 before the command" in said
    )


ANCHOR, ADDED = "10.17.0.5", "10.200.0.1"
HOMES = {ipaddress.ip_address(ANCHOR): "eth0", ipaddress.ip_address(ADDED): "eth1"}


@pytest.mark.parametrize(
    ("local", "public", "objects"),
    [(ANCHOR, True, True), (ANCHOR, False, False), (ADDED, False, True), ("172.17.0.1", True, False)],
    ids=["reserved IP, public closed", "reserved IP, public open", "an address that was added", "a bridge of ours"],
)
def test_a_session_by_an_address_that_the_metadata_do_not_name_counts_by_its_interface(
    local: str, public: bool, objects: bool
) -> None:
    policy = Policy((segment(), segment(public=True, on=("eth0",))) if public else (segment(),))
    found = [session("198.51.100.9" if local == ANCHOR else "10.132.0.9", local)]
    assert bool(list(lockout.sessions(policy, HERE, found, HOMES))) is objects


def change(removed: int, kept: int) -> Change:
    return Change("droplan-peers", (), tuple(f"web-{n} 10.132.1.{n}" for n in range(removed)), kept)


@pytest.mark.parametrize(
    ("removed", "kept", "words"),
    [
        (0, 0, None),
        (0, 5, None),
        (1, 1, None),
        (1, 0, "remove all peers from droplan-peers (web-0 10.132.1.0)"),
        (3, 2, "remove 3 of 5 peers"),
        (9, 0, "(web-0 10.132.1.0, web-1 10.132.1.1, web-2 10.132.1.2 and 6 more)"),
    ],
)
def test_losing_all_peers_or_more_than_half_is_objected_to(removed: int, kept: int, words: str | None) -> None:
    objections = list(lockout.losses([change(removed, kept)]))
    assert len(objections) == (words is not None)
    assert all((words or "") in one and "--force" in one for one in objections)


def test_a_network_that_is_opened_to_everyone_loses_nobody() -> None:
    former = Policy((segment("10.132.0.2"), segment("198.51.100.2", public=True, on=("eth0",))))
    private, public = between(former, Policy(former.segments[:1]))
    assert list(lockout.losses([private, public])) == []
    assert lines(private) == []
    assert lines(public) == ["Removed the rules of droplan-peers-public: that network is open to everyone"]


@pytest.mark.parametrize(
    ("policy", "former", "tag", "words"),
    [
        (Policy((segment(), segment(public=True))), None, None, "PUBLIC=true with nothing in DROPLAN_ALLOW"),
        (Policy((segment(), segment(public=True, allow="tcp/22"))), None, None, None),
        (
            Policy((segment(allow="tcp/22"), segment(public=True))),
            None,
            None,
            "PUBLIC=true with nothing in DROPLAN_ALLOW_PUBLIC",
        ),
        (Policy((segment(), segment(public=True))), Policy((segment(), segment(public=True))), None, None),
        (Policy((segment(),)), None, "wbe", "no other Droplet in scope carries DO_TAG=wbe"),
        (
            Policy((segment(),)),
            Policy((segment("10.132.0.2"),)),
            "wbe",
            "no other Droplet in scope carries DO_TAG=wbe",
        ),
        (Policy((segment(),)), Policy((segment(),)), "wbe", None),
        (Policy((segment(),)), None, None, None),
        (Policy((segment("10.132.0.2"),)), None, "web", None),
    ],
)
def test_closing_to_everybody_by_what_looks_like_a_mistake_is_objected_to_once(
    policy: Policy, former: Policy | None, tag: str | None, words: str | None
) -> None:
    objections = list(lockout.nobody(policy, former, (tag,) if tag else ()))
    assert [words is not None and words in one for one in objections] == [True] * (words is not None)


def endpoint(address: str, port: int) -> str:
    """Spell an address as /proc/net/tcp does."""
    raw = ipaddress.ip_address(address).packed
    words = [int.from_bytes(raw[at : at + 4], sys.byteorder) for at in range(0, len(raw), 4)]
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def row(local: str, remote: str, state: str, inode: int) -> str:
    return (
        f"   0: {endpoint(local, 22)} {endpoint(remote, 50000)} {state} 00000000:00000000 00:00000000 0 0 0 {inode} 1"
    )


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Return a procfs: droplan (40), started by sudo (30), by a shell (20), by sshd (10), by init."""
    for pid, parent, name in ((40, 30, "python3"), (30, 20, "sudo"), (20, 10, "ba) sh"), (10, 1, "sshd-session")):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0 -1")
    (tmp_path / "10/fd/4").symlink_to("socket:[1111]")
    (tmp_path / "10/fd/5").symlink_to("/dev/null")
    (tmp_path / "40/fd/4").symlink_to("socket:[3333]")
    (tmp_path / "net").mkdir()
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    rows = [
        row(PRIVATE, "10.132.0.9", "01", 1111),
        row(PRIVATE, "10.132.0.8", "01", 2222),
        row(PRIVATE, "10.132.0.7", "01", 3333),
    ]
    (tmp_path / "net/tcp").write_text(head + "\n".join(rows) + "\n")
    (tmp_path / "net/tcp6").write_text(head)
    return tmp_path


class TestSessions:
    @pytest.mark.parametrize("server", ["tmux: server", "screen", "SCREEN"])
    def test_below_tmux_or_screen_it_is_the_one_of_whoever_is_attached(self, server: str, proc: Path) -> None:
        # droplan (40) runs below a server (50) that is a child of init; its client (60) was started over SSH.
        for pid, parent, name in ((40, 50, "python3"), (50, 1, server), (60, 20, server.replace("server", "client"))):
            (proc / str(pid)).mkdir(exist_ok=True)
            (proc / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0 -1")
        assert ssh_sessions({}, proc, 40) == (session("10.132.0.9"),)

    def test_it_is_found_through_sudo_by_the_sockets_of_sshd_above_us(self, proc: Path) -> None:
        assert ssh_sessions({}, proc, 40) == (session("10.132.0.9"),)

    def test_ipv6_and_mapped_ipv4_are_understood(self, proc: Path) -> None:
        text = (proc / "net/tcp").read_text().splitlines()[0] + "\n"
        mapped = row("::ffff:" + PRIVATE, "::ffff:10.132.0.9", "01", 1111)
        local = row("fe80::1", "fe80::9", "01", 1111)
        (proc / "net/tcp").write_text(text)
        (proc / "net/tcp6").write_text(f"{text}{mapped}\n{local}\n")
        assert ssh_sessions({}, proc, 40) == (session("10.132.0.9"), session("fe80::9", "fe80::1"))

    def test_sockets_that_listen_are_no_sessions(self, proc: Path) -> None:
        text = (proc / "net/tcp").read_text().replace(" 01 ", " 0A ")
        (proc / "net/tcp").write_text(text)
        assert ssh_sessions({}, proc, 40) == ()

    def test_who_did_not_come_by_ssh_has_none(self, proc: Path) -> None:
        (proc / "10/stat").write_text("10 (cron) S 1 1 1 0 -1")
        assert ssh_sessions({}, proc, 40) == ()

    @pytest.mark.parametrize(
        ("value", "found"),
        [
            (f"10.132.0.9 50000 {PRIVATE} 22", (session("10.132.0.9"),)),
            ("fe80::9%eth1 50000 fe80::1%eth1 22", (session("fe80::9", "fe80::1"),)),
            ("", ()),
            ("10.132.0.9 50000", ()),
            ("a b c 22", ()),
            (f"10.132.0.9 50000 {PRIVATE} ssh", ()),
        ],
    )
    def test_the_variable_is_believed_where_sudo_left_it(
        self, value: str, found: tuple[Session, ...], tmp_path: Path
    ) -> None:
        assert ssh_sessions({"SSH_CONNECTION": value}, tmp_path, 40) == found

    @given(st.text(max_size=60))
    def test_whatever_it_holds_nothing_fails(self, value: str) -> None:
        ssh_sessions({"SSH_CONNECTION": value}, Path("/nonexistent"), 40)
