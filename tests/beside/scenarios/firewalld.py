"""firewalld: with each start, stop and reload it flushes what it believes to be its own."""

from __future__ import annotations

from typing import Final

from tests.bed.beside.program import Event, Program

_FUNCTIONS: Final = """
start_firewalld() {
    daemon firewalld --nofork --nopid
    until_ firewall-cmd --state
}
"""
_START: Final = """
mkdir -p /run/dbus
[ -S /run/dbus/system_bus_socket ] || daemon dbus-daemon --system --nofork --nopidfile
until_ test -S /run/dbus/system_bus_socket
sed -i 's/^FirewallBackend=.*/FirewallBackend={backend}/' /etc/firewalld/firewalld.conf
start_firewalld
"""
# As a person must who wants peers in by the private card; behind the guard that lets in peers alone.
_TRUSTED: Final = """
firewall-cmd -q --permanent --zone=trusted --change-interface=eth1
firewall-cmd -q --permanent --zone=trusted --add-forward-port=port=8080:proto=tcp:toport=7
firewall-cmd -q --reload
touch /run/published
"""
_RELOADS: Final = "it drops everything while it reloads"
_EVENTS: Final = (
    Event("reload", "firewall-cmd -q --reload", pauses=_RELOADS, was_open=True),
    Event("complete reload", "firewall-cmd -q --complete-reload", pauses=_RELOADS, was_open=True),
    Event("stop, and start", "stop firewalld\nsleep 0.3\nstart_firewalld", pauses=_RELOADS, was_open=True),
    Event(
        "panic on, and off",
        "firewall-cmd -q --panic-on\nsleep 0.3\nfirewall-cmd -q --panic-off",
        pauses="panic is to cut all",
        nightly=True,
    ),
    Event("a port opened", "firewall-cmd -q --zone=public --add-port=7/tcp", nightly=True),
)


def _firewalld(backend: str, zone: str = _TRUSTED, what: str = "eth1 trusted", **how: object) -> Program:
    settings: dict[str, object] = {"nightly": False, "events": _EVENTS, **how}
    return Program(
        f"firewalld, {backend}, {what}",
        ("firewalld",),
        _START.format(backend=backend) + zone,
        functions=_FUNCTIONS,
        install_pauses=_RELOADS,
        **settings,  # type: ignore[arg-type]
    )


PROGRAMS: Final = (
    _firewalld("nftables"),
    _firewalld("iptables", nightly=True),
    # Its own table refuses peers, and no accept of ours is final there: all that status can do is say so.
    _firewalld(
        "nftables",
        "",
        "eth1 in no zone",
        events=(),
        nightly=True,
        publishes=False,
        peers_in=False,
        status=5,
    ),
)
