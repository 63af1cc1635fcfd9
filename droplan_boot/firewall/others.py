"""What other programs' tables may still refuse to those whom droplan lets in. It looks, and changes nothing.

An accept is never final across tables: a base chain of another one at the same hook has its say all the same.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from droplan_boot.access.services import Service
from droplan_boot.errors import CommandError, FirewallError
from droplan_boot.firewall import choose, protocols, tables
from droplan_boot.firewall.iptables import Iptables
from droplan_boot.host.doors import Host
from droplan_boot.networks import Address


def refusing(
    host: Host, address: Address | None, service: Service | None, interfaces: tuple[str, ...]
) -> tuple[str, ...]:
    """Name the tables, rules and policies that may refuse a packet which our rules accept, a sentence each.

    Args:
        host: this machine.
        address: the sender; None where it is not known.
        service: what it would reach; None for everything.
        interfaces: where it comes in.
    """
    version = address.version if address is not None else 4
    return (*_nft(host, version), *_input(host, version, address, service, interfaces))


def _nft(host: Host, version: int) -> Iterator[str]:
    """Look at the tables of nftables that are neither ours nor those of iptables-nft."""
    if host.runner.which("nft") is None:
        return
    try:
        done = host.runner.run(["nft", "-j", "list", "ruleset"], check=False)
        found = tables.that_may_refuse(done.stdout, version) if done.status == 0 else ()
    except (CommandError, ValueError):
        return
    for family, table in found:
        program = "firewalld's table" if table == "firewalld" else "another program's table"
        yield (
            f"{program} {family} {table} has the last word and may still refuse it: "
            f"`nft list table {family} {table}` shows what it drops"
        )


def _input(
    host: Host,
    version: int,
    address: Address | None,
    service: Service | None,
    interfaces: tuple[str, ...],
) -> Iterator[str]:
    """Look at INPUT of iptables: rules before ours that refuse, and the policy where no rule of ours is there."""
    for backend in choose.everywhere(host):
        if not isinstance(backend, Iptables) or version not in backend.save:
            continue
        try:
            lines = backend.dump(version).splitlines()
        except FirewallError:
            continue
        if "*filter" not in lines:
            continue
        table = lines[lines.index("*filter") :]
        rules = [line for line in table[: table.index("COMMIT")] if line.startswith("-A INPUT ")]
        door = next((number for number, line in enumerate(rules) if "-j droplan-peers" in line), None)
        if door is None and any(line.startswith(":INPUT DROP") for line in table):
            yield f"the policy of INPUT is DROP ({backend.name}), and no rule of ours there accepts before it"
        for line in rules[:door]:
            if re.search(r"-j (DROP|REJECT)\b", line) and _matches(line, version, address, service, interfaces):
                yield f"a rule of INPUT ({backend.name}) stands before ours and refuses it: {line}"


def _matches(
    line: str, version: int, address: Address | None, service: Service | None, interfaces: tuple[str, ...]
) -> bool:
    """Whether a rule may be about the packet: only what it says of card, sender, protocol and port rules it out."""
    options = protocols.numbered(line)
    card, source, protocol, port = (_option(options, name) for name in ("-i", "-s", "-p", "--dport"))
    if card is not None and card not in interfaces:
        return False
    if source is not None and address is not None and address not in ipaddress.ip_network(source, strict=False):
        return False
    if service is None:
        return protocol is None and port is None
    number = service.number(version)
    if protocol not in (None, protocols.SPELLED.get(number, str(number))) or "RELATED,ESTABLISHED" in line:
        return False
    first, _, last = (port or "").partition(":")
    return (
        not port
        or service.first is None
        or service.last is None
        or (int(first) <= service.last and service.first <= int(last or first))
    )


def _option(line: str, name: str) -> str | None:
    found = re.search(rf"(?<!! ){name} (\S+)", line)
    return found[1] if found else None
