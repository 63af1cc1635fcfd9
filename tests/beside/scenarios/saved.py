"""Loaders of saved rules, and people who flush: whole tables are replaced, ours in them."""

from __future__ import annotations

from typing import Final

from tests.bed.beside.program import Event, Program

# A table of the host's own, as Debian's example begins.
_NFTABLES_CONF: Final = """\
#!/usr/sbin/nft -f

flush ruleset

table inet mine {
	chain input {
		type filter hook input priority filter; policy accept;
		tcp dport 7 accept
	}
}
"""
_RELOAD: Final = "nft -f /etc/nftables.conf"
# No systemd runs here, but units are enabled for the one that would: the real systemctl does that without one.
_ENABLED: Final = """
[ -e /usr/bin/systemctl.real ] || mv /usr/bin/systemctl /usr/bin/systemctl.real
cat >/usr/bin/systemctl <<'END'
#!/bin/sh
case $1 in is-active) exit 0;; esac
SYSTEMD_OFFLINE=1 exec /usr/bin/systemctl.real "$@"
END
chmod 755 /usr/bin/systemctl
mkdir -p /run/systemd/system
systemctl enable nftables 2>/dev/null
"""
_GUARD_GONE: Final = "it removes every table of nftables, which nothing stands"

_OLDER: Final = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 7 -j ACCEPT
COMMIT
"""
_MANGLE: Final = "where the guard is in mangle, it is in what is flushed"

_LOADERS: Final = (
    Event("iptables -F, and -X", "iptables -F; iptables -X", was_open=True),
    Event(
        "all tables flushed",
        "for table in raw mangle nat filter; do iptables -t $table -F; iptables -t $table -X; done",
        was_open=True,
    ),
    Event("iptables-restore of an older file", "iptables-restore /root/older", was_open=True),
    Event("an ACCEPT at the head of INPUT", "iptables -I INPUT -p tcp --dport 7 -j ACCEPT", was_open=True),
    Event("iptables-apply, kept", "yes | iptables-apply -t 5 /root/older >/dev/null 2>&1", was_open=True),
    Event(
        "iptables-apply, rolled back",
        "iptables-apply -t 1 /root/older >/dev/null 2>&1 </dev/null || true",
        was_open=True,
    ),
    Event("netfilter-persistent save", "netfilter-persistent save >/dev/null 2>&1"),
    Event("netfilter-persistent reload", "netfilter-persistent reload >/dev/null 2>&1"),
    Event("netfilter-persistent flush", "netfilter-persistent flush >/dev/null 2>&1", was_open=True),
    Event(
        "the iptables alternative switched, and back",
        "take() { for tool in iptables ip6tables; do\n"
        "    update-alternatives --set $tool /usr/sbin/$tool-$1 >/dev/null\ndone; }\n"
        "take {other}\niptables -L -n >/dev/null\ntake {iptables}",
    ),
)


# What is tried with legacy tables for each commit; the guard, which all of it is for, is nft's beside either variant.
_OF_LEGACY: Final = ("iptables -F, and -X", "iptables-restore of an older file", "netfilter-persistent flush")


def _loaders(iptables: str) -> Program:
    other = {"nft": "legacy", "legacy": "nft"}[iptables]
    return Program(
        f"iptables ({iptables}) and iptables-persistent",
        ("iptables-persistent",),
        "",
        tuple(
            Event(
                event.name,
                event.script.replace("{other}", other).replace("{iptables}", iptables),
                was_open=event.was_open,
                nightly=iptables == "legacy" and event.name not in _OF_LEGACY,
            )
            for event in _LOADERS
        ),
        files={"/root/older": _OLDER},
        publishes=False,
        iptables=iptables,
    )


PROGRAMS: Final = (
    _loaders("nft"),
    _loaders("legacy"),
    Program(
        "nftables.service, /etc/nftables.conf flushes the ruleset",
        (),
        _ENABLED + _RELOAD,
        (
            Event("reload", _RELOAD, was_open=True),
            Event("nft flush ruleset", f"nft flush ruleset\nsleep 0.2\n{_RELOAD}", opens=_GUARD_GONE, was_open=True),
        ),
        files={"/etc/nftables.conf": _NFTABLES_CONF},
        orders=(False,),  # it is install that adds the include
        publishes=False,
    ),
)
