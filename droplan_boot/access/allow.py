"""``DROPLAN_ALLOW``: who may come in besides the peers. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from droplan_boot.errors import UsageError
from droplan_boot.networks import Address, Network, intervals

_PROTOCOLS: Final = ("tcp", "udp")


@dataclass(frozen=True)
class Allow:
    """One entry of ``DROPLAN_ALLOW``: who may come in besides the peers.

    Args:
        source: the addresses; None for everyone.
        protocol: ``tcp`` or ``udp``; None for everything.
        port: destination port as the sender sees it; None for every port.
    """

    source: Network | None
    protocol: str | None = None
    port: int | None = None

    def covers(self, source: Address, protocol: str, port: int) -> bool:
        """Whether it lets a packet in: by its sender, protocol and destination port as the sender asked for it."""
        return (
            (self.source is None or (source.version == self.source.version and source in self.source))
            and self.protocol in (None, protocol)
            and self.port in (None, port)
        )

    def __str__(self) -> str:
        """Write it as the user would."""
        service = f"{self.protocol}/{self.port}" if self.protocol else ""
        return "@".join(filter(None, (service, str(self.source or ""))))


def parse(name: str, value: str) -> tuple[Allow, ...]:
    """Parse a list of entries.

    Args:
        name: the setting, for messages.
        value: entries by comma or blank: ``CIDR``, ``proto/port@CIDR``, ``proto/port``.

    Raises:
        UsageError: one is something else, or all of them together would let everyone in.
    """
    entries = tuple(dict.fromkeys(_entry(name, entry) for entry in re.split(r"[,\s]+", value) if entry))
    for version in (4, 6):
        whole = [entry.source for entry in entries if entry.source and not entry.protocol]
        if intervals(whole, version) == [(0, 2 ** (32 if version == 4 else 128) - 1)]:
            raise UsageError(f"{name}={value} would let everyone in: name the networks you mean")
    return entries


def _entry(name: str, entry: str) -> Allow:
    service, at, source = entry.rpartition("@")
    if not at and re.match(r"[a-z]+/", entry):
        service, source = entry, ""
    elif at and not (service and source):
        raise _bad_allow(name, entry)
    network = _network(name, source) if source else None
    if not service:
        return Allow(network)
    protocol, _, port = service.partition("/")
    if protocol not in _PROTOCOLS or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise _bad_allow(name, entry)
    return Allow(network, protocol, int(port))


def _network(name: str, source: str) -> Network:
    if "%" in source:  # a scope: Python keeps whatever stands behind it
        raise _bad_allow(name, source)
    try:
        return ipaddress.ip_network(source)
    except ValueError as error:
        if "host bits" in str(error):
            right = ipaddress.ip_network(source, strict=False)
            raise UsageError(f"{name}: {source} names a host within a network: write {right}") from None
        raise _bad_allow(name, source) from None


def _bad_allow(name: str, entry: str) -> UsageError:
    return UsageError(
        f"{name}: {entry} is none of CIDR, proto/port@CIDR and proto/port: write such as 10.0.0.0/24 or tcp/22"
    )
