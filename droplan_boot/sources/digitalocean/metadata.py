"""Ask the metadata service who this Droplet is."""

from __future__ import annotations

import ipaddress
from typing import Final

from droplan_boot.errors import NoAnswerError
from droplan_boot.host.http import Http
from droplan_boot.networks import Address, Network
from droplan_boot.sources.digitalocean import model
from droplan_boot.sources.own import Interface, Metadata

_WIDEST: Final = 8
"""The shortest prefix of a private network's range: wider than 10.0.0.0/8 none is."""


def fetch(http: Http, base: str) -> Metadata:
    """Read this Droplet's metadata.

    Args:
        http: the session.
        base: such as ``http://169.254.169.254``.

    Raises:
        NoAnswerError: there is no metadata service, or its answer is malformed.
    """
    try:
        answer = http.json(f"{base}/metadata/v1.json")
    except NoAnswerError as error:
        raise NoAnswerError(f"no metadata: {error.why}", "droplan runs on DigitalOcean Droplets only") from None
    return read(answer)


def read(value: object) -> Metadata:
    """Check the metadata document, https://docs.digitalocean.com/reference/api/metadata/.

    ``public`` and ``private`` may be absent, null or empty. ``anchor_ipv4`` belongs to a reserved IP and is ignored.

    Raises:
        NoAnswerError: it is of another shape.
    """
    interfaces = model.member(value, "interfaces", dict)
    return Metadata(
        droplet_id=model.identity(value, "droplet_id"),
        region=model.text(model.member(value, "region", str)),
        private=tuple(_interface(entry) for entry in model.optional(interfaces, "private", list, [])),
        public=tuple(_interface(entry) for entry in model.optional(interfaces, "public", list, [])),
    )


def _interface(value: object) -> Interface:
    v4 = model.optional(value, "ipv4", dict, None)
    v6 = model.optional(value, "ipv6", dict, None)
    addresses: list[Address] = []
    if v4 is not None:
        addresses.append(model.ipv4(model.member(v4, "ip_address", str)))
    if v6 is not None:
        addresses.append(model.ipv6(model.member(v6, "ip_address", str)))
    mac = model.optional(value, "mac", str, "").lower()
    if not mac and not addresses:
        raise model.malformed("an interface with neither mac nor address")
    return Interface(mac, tuple(addresses), () if v4 is None else _networks(v4, addresses[0]))


def _networks(v4: object, address: Address) -> tuple[Network, ...]:
    netmask = model.optional(v4, "netmask", str, "")
    if not netmask:
        return ()
    try:
        network = ipaddress.ip_network(f"{address}/{netmask}", strict=False)
    except ValueError:
        raise model.malformed(f"the netmask {netmask!r:.80}") from None
    if str(network.netmask) != netmask or network.prefixlen < _WIDEST:
        raise model.malformed(f"the netmask {netmask!r:.80}")
    return (network,)
