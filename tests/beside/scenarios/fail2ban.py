"""fail2ban: a jump at the head of INPUT, and a rule for each who is banned."""

from __future__ import annotations

from typing import Final

from tests.bed.beside.program import Event, Program

_FUNCTIONS: Final = """
start_fail2ban() { daemon fail2ban-server -f start; until_ fail2ban-client status sshd; }
"""
_JAIL: Final = """\
[DEFAULT]
backend = polling
banaction = iptables-allports
[sshd]
enabled = true
logpath = /var/log/auth.log
"""
# The second peer is banned: its rule is to stay, wherever it stands.
BANNED: Final = "10.132.0.4"
_START: Final = f"""
: >/var/log/auth.log
mkdir -p /run/fail2ban
start_fail2ban
fail2ban-client set sshd banip {BANNED} >/dev/null
until_ iptables -C f2b-sshd -s {BANNED} -j REJECT --reject-with icmp-port-unreachable
"""

PROGRAMS: Final = (
    Program(
        "fail2ban",
        ("fail2ban",),
        _START,
        (
            Event("restart", "stop fail2ban-server\nstart_fail2ban"),
            Event(
                "reload",
                "fail2ban-client reload >/dev/null\n"
                f"until_ iptables -C f2b-sshd -s {BANNED} -j REJECT --reject-with icmp-port-unreachable",
            ),
            Event(
                "somebody unbanned, and banned",
                "fail2ban-client set sshd banip 192.0.2.1 >/dev/null\n"
                "fail2ban-client set sshd unbanip 192.0.2.1 >/dev/null",
            ),
        ),
        functions=_FUNCTIONS,
        files={"/etc/fail2ban/jail.d/defaults-debian.conf": _JAIL},
        publishes=False,
    ),
)
