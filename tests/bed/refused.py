"""What a host's kernel received and let nobody have: the proof that something is closed, without waiting for silence.

Of all IP packets that come in, the kernel counts those that it received (before any rule) and those that it delivered
or forwarded (behind the rules); RFC 4293, ipSystemStatsInReceives and ipSystemStatsInDelivers, in snmp and snmp6 of
proc(5). A packet that a rule drops is in the first and not in the second, from the moment on that it is dropped.
"""

from __future__ import annotations

from pathlib import Path

from tests.bed.hosts import Host

Counts = dict[int, int]
"""By IP version."""


def refused(host: Host) -> Counts:
    """Count the packets that the host has refused so far."""
    return host.inside(_read)


def _read() -> Counts:
    net = Path("/proc/thread-self/net")
    names, values = (line.split()[1:] for line in (net / "snmp").read_text().splitlines() if line.startswith("Ip:"))
    four = dict(zip(names, map(int, values)))
    six = {line.split()[0]: int(line.split()[1]) for line in (net / "snmp6").read_text().splitlines()}
    return {
        4: four["InReceives"] - four["InDelivers"] - four["ForwDatagrams"],
        6: six["Ip6InReceives"] - six["Ip6InDelivers"] - six["Ip6OutForwDatagrams"],
    }
