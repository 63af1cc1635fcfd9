"""The rules of each scenario, as iptables-save prints them on a machine that has no others: tests/golden/iptables.

    .cache/venv/bin/python -m tests.golden.scenarios

writes them anew, after a change that is meant; ``git diff`` then shows what it does to users' rules.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

from droplan_boot import settings
from droplan_boot.access.policy import Policy, Segment
from tests.bed.memory.netfilter import Kernel

FOLDER = Path(__file__).parents[1] / "golden" / "iptables"


def segment(*peers: str, public: bool = False, on: tuple[str, ...] = ("eth1",), allow: str = "") -> Segment:
    """Return a segment, its parts spelled as users do."""
    entries = settings.parse({"DROPLAN_ALLOW": allow}).allow
    return Segment(public, on, tuple(ipaddress.ip_address(peer) for peer in peers), entries)


SCENARIOS: dict[str, tuple[str, Policy]] = {
    "no-peers": ("The account has no other Droplet here: closed to all.", Policy((segment(),))),
    "two-peers": ("Two peers.", Policy((segment("10.132.0.2", "10.132.0.3"),))),
    "tutorial": (
        "The three Droplets of the Go droplan's tutorial, less this one.",
        Policy((segment("10.132.68.99", "10.132.71.50"),)),
    ),
    "allow-list": (
        "DROPLAN_ALLOW in its three forms, each family getting what is its own.",
        Policy(
            (
                segment(
                    "10.132.0.2",
                    allow="10.200.0.0/16, 10.201.0.9, tcp/5432@10.202.0.0/24, tcp/22, udp/51820@0.0.0.0/0, fd00::/64",
                ),
            )
        ),
    ),
    "public": (
        "PUBLIC=true: the public interface is closed likewise, IPv6 included.",
        Policy(
            (
                segment("10.132.0.2"),
                segment("203.0.113.7", "2604:a880:2:d0::21:1001", public=True, on=("eth0",), allow="tcp/443"),
            )
        ),
    ),
    "65-peers": (
        "One peer more than a flat list holds: a tree of chains.",
        Policy((segment(*(f"10.132.{one % 5}.{one * 3 % 251}" for one in range(1, 66))),)),
    ),
    "lock-metadata": (
        "DROPLAN_LOCK_METADATA=true: only root reaches the service that shows the token.",
        Policy((segment("10.132.0.2"),), metadata="169.254.169.254"),
    ),
    "two-interfaces": (
        "Two private interfaces share the peers' chain.",
        Policy((segment("10.132.0.2", on=("eth1", "ens5")),)),
    ),
}


def rendered() -> Iterator[tuple[Path, str]]:
    """Yield the file and the text of each scenario and family."""
    for name, (words, policy) in SCENARIOS.items():
        kernel = Kernel()
        kernel.backend().apply(policy)
        for version, table in kernel.tables.items():
            yield FOLDER / f"{name}.v{version}", f"# {words}\n{table.save()}"


def main() -> None:
    """Write all of them, and remove those of scenarios that are no more."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for stale in FOLDER.iterdir():
        stale.unlink()
    for path, text in rendered():
        path.write_text(text)


if __name__ == "__main__":
    main()
