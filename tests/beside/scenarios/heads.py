"""What Kubernetes' and VPNs' programs write to the head of chains, as data, for Debian packages none of them."""

from __future__ import annotations

from typing import Final

from tests.bed.beside.program import Event, Program

# kube-proxy, proxier.go: a jump at the head of INPUT and FORWARD that accepts what is marked or established, and in
# nat a chain that DNATs; a NodePort to a local endpoint, here the echo service by REDIRECT.
_KUBE_PROXY: Final = """\
*filter
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
-I INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-I FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-NODEPORTS -p tcp -m tcp --dport 7 -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
-I PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 7
COMMIT
"""
# Calico Felix, rules/static.go: cali-INPUT first, which accepts what an endpoint's policy has marked.
_CALICO: Final = """\
*filter
:cali-INPUT - [0:0]
:cali-FORWARD - [0:0]
-I INPUT -m comment --comment "cali:Cz_u1IQiXIMmKD4c" -j cali-INPUT
-I FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A cali-INPUT -p tcp -m tcp --dport 7 -j ACCEPT
-A cali-FORWARD -m mark --mark 0x10000/0x10000 -j ACCEPT
COMMIT
*mangle
:cali-PREROUTING - [0:0]
-I PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
-A cali-PREROUTING -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:cali-PREROUTING - [0:0]
-I PREROUTING -m comment --comment "cali:r6XmIziWUJsdOK6Z" -j cali-PREROUTING
-A cali-PREROUTING -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 7
COMMIT
"""
# Tailscale, util/linuxfw: ts-input and ts-forward first.
_TAILSCALE: Final = """\
*filter
:ts-input - [0:0]
:ts-forward - [0:0]
-I INPUT -j ts-input
-I FORWARD -j ts-forward
-A ts-input -s 100.115.92.0/23 ! -i tailscale0 -j RETURN
-A ts-input -s 100.64.0.0/10 ! -i tailscale0 -j DROP
-A ts-input -i tailscale0 -j ACCEPT
-A ts-input -p udp -m udp --dport 41641 -j ACCEPT
-A ts-input -p tcp -m tcp --dport 7 -j ACCEPT
-A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000
-A ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT
COMMIT
*nat
:PREROUTING - [0:0]
COMMIT
"""


def _insert(path: str) -> str:
    return f"iptables-restore --noflush {path}"


def _heads(name: str, rules: str, *, publishes: bool, iptables: str = "nft") -> Program:
    chains = sorted({line.split()[-1] for line in rules.splitlines() if line.startswith("-I ")})
    tables: dict[str, list[str]] = {}
    table = ""
    for line in rules.splitlines():
        table = line[1:] if line.startswith("*") else table
        if line.startswith("-I "):
            tables.setdefault(table, []).append(line.replace("-I ", "-D ", 1))
    again = "".join(
        f"*{table}\n" + "".join(f"{line}\n{line.replace('-D ', '-I ', 1)}\n" for line in lines) + "COMMIT\n"
        for table, lines in tables.items()
    )
    return Program(
        f"{name}'s rules at the head of chains ({iptables})",
        (),
        _insert("/root/heads") + ("\ntouch /run/published" if publishes else ""),
        (Event(f"its {len(chains)} jumps put back to the head", _insert("/root/again"), was_open=True),),
        files={"/root/heads": rules, "/root/again": again},
        publishes=publishes,
        iptables=iptables,
        nightly=iptables == "legacy",
    )


PROGRAMS: Final = tuple(
    _heads(name, rules, publishes=publishes, iptables=iptables)
    for iptables in ("nft", "legacy")
    for name, rules, publishes in (
        ("kube-proxy", _KUBE_PROXY, True),
        ("Calico", _CALICO, True),
        ("Tailscale", _TAILSCALE.split("*nat")[0], False),
    )
)
