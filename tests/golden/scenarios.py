"""The scenarios whose rules docs/rules.md shows: one table, for every backend and every test that needs a policy."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from droplan_boot import settings
from droplan_boot.access.allow import Name
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.networks import Address


class Scenario(NamedTuple):
    """A policy, and what its rules show: what was set or found, then what to look at, a sentence each."""

    words: str
    policy: Policy


def segment(
    *peers: str,
    public: bool = False,
    on: tuple[str, ...] = ("eth1",),
    allow: str = "",
    ports: str = "everything",
    **tags: str,
) -> Segment:
    """Return a segment, its parts spelled as users do; ``tags``: the addresses of those who carry each, by blank."""
    wanted = settings.parse({"DROPLAN_ALLOW": allow, "DROPLAN_PEER_PORTS": ports})
    known = tuple((Name("tag", tag), _addresses(held.split())) for tag, held in tags.items())
    return Segment(public, on, _addresses(peers), wanted.allow, ports=wanted.peer_ports, known=known)


def _addresses(spelled: Iterable[str]) -> tuple[Address, ...]:
    return tuple(ipaddress.ip_address(one) for one in spelled)


SCENARIOS: Final[dict[str, Scenario]] = {
    "no-peers": Scenario(
        "The account has no other Droplet here. Replies, ICMP errors and what finds neighbours come in, nobody else.",
        Policy((segment(),)),
    ),
    "two-peers": Scenario(
        "Two Droplets are peers. Each is one ACCEPT, or one element of a set.",
        Policy((segment("10.132.0.2", "10.132.0.3"),)),
    ),
    "tutorial": Scenario(
        "The three Droplets of the Go droplan's tutorial, less this one. The chain reads as the tutorial shows it.",
        Policy((segment("10.132.68.99", "10.132.71.50"),)),
    ),
    "neighbouring-peers": Scenario(
        "The peers' addresses follow each other. A set of single addresses names each, as a short list does.",
        Policy((segment("10.132.0.3", "10.132.0.4", "10.132.0.5"),)),
    ),
    "allow-list": Scenario(
        "DROPLAN_ALLOW has entries of all three forms. Each family gets what is its own.",
        Policy(
            (
                segment(
                    "10.132.0.2",
                    allow="10.200.0.0/16, 10.201.0.9, tcp/5432@10.202.0.0/24, tcp/22, udp/51820@0.0.0.0/0, fd00::/64",
                ),
            )
        ),
    ),
    "database": Scenario(
        "DROPLAN_PEER_PORTS=none, and DROPLAN_ALLOW says by tag who reaches which port. In nftables a service has a "
        "set of its own; in iptables a few Droplets are a rule each, and more are a tree.",
        Policy(
            (
                segment(
                    "10.132.0.2",
                    "10.132.0.3",
                    ports="none",
                    allow="tcp/5432@tag:web, tcp/22@tag:bastion",
                    web=" ".join(f"10.132.0.{one}" for one in (2, 3, 4, 7, 12, 13, 40, 77, 200)),
                    bastion="10.132.0.9",
                ),
            )
        ),
    ),
    "peer-ports": Scenario(
        "DROPLAN_PEER_PORTS: peers reach some services and no others. Ping, a range of ports, a protocol by number.",
        Policy((segment("10.132.0.2", ports="tcp/80, tcp/8000-8100, icmp, proto/47"),)),
    ),
    "many-services": Scenario(
        "More than eight services of a protocol that are open to the same senders are asked in one rule. Neighbours "
        "are a range.",
        Policy(
            (segment("10.132.0.2", ports=", ".join(f"tcp/{one}" for one in (22, 80, 81, *range(9001, 9012, 2)))),)
        ),
    ),
    "many-lists": Scenario(
        "More than eight that are open to others each are asked in groups of neighbours: a packet passes a rule for "
        "each group, and those of its own.",
        Policy((segment(allow=", ".join(f"tcp/{9000 + one}@10.132.1.{one}" for one in range(1, 10))),)),
    ),
    "overlapping-services": Scenario(
        "Two entries overlap. The rules split them, so that a packet is for one service and one list is asked.",
        Policy((segment(allow="tcp/22@10.200.0.0/16, tcp/1-1024@10.201.0.0/16, proto/6@10.202.0.0/16, icmp"),)),
    ),
    "public": Scenario(
        "PUBLIC=true, and HTTPS is open to all. The public interface is closed likewise, IPv6 included.",
        Policy(
            (
                segment("10.132.0.2"),
                segment("203.0.113.7", "2604:a880:2:d0::21:1001", public=True, on=("eth0",), allow="tcp/443"),
            )
        ),
    ),
    "65-peers": Scenario(
        "One peer more than a flat list holds. iptables gets a tree of chains; a set stays a set.",
        Policy((segment(*(f"10.132.{one % 5}.{one * 3 % 251}" for one in range(1, 66))),)),
    ),
    "addresses": Scenario(
        "The metadata tell the private network's range. What is addressed there by the public interface is judged as "
        "well, and what has its source there and comes in by any other.",
        Policy(
            (replace(segment("10.132.0.2"), networks=(ipaddress.ip_network("10.132.0.0/16"),), outside=("eth0",)),)
        ),
    ),
    "observe": Scenario(
        "DROPLAN_MODE=observe. Who would be shut out is told to the watcher and goes on; there is no door.",
        Policy((segment("10.132.0.2", "10.132.0.3"),), observe=True),
    ),
    "lock-metadata": Scenario(
        "DROPLAN_LOCK_METADATA=true, where do-agent runs as user 998. Only root and DigitalOcean's agents reach the "
        "service that shows the token, and no container does.",
        Policy((segment("10.132.0.2"),), metadata="169.254.169.254", metadata_users=(998,)),
    ),
    "two-interfaces": Scenario(
        "Two interfaces are on the private network. They share the peers' chain.",
        Policy((segment("10.132.0.2", on=("eth1", "ens5")),)),
    ),
}
