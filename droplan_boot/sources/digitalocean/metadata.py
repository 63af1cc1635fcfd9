"""Ask the metadata service who this Droplet is, and find its interfaces on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from droplan_boot.errors import DroplanError, NoAnswerError
from droplan_boot.host.command import Runner
from droplan_boot.host.http import Http
from droplan_boot.networks import Address
from droplan_boot.sources.digitalocean import model
from droplan_boot.sources.digitalocean.model import Interface, Machine

_DMI = Path("/sys/class/dmi/id")


def fetch(http: Http, base: str) -> Machine:
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
    return machine(answer)


def machine(value: object) -> Machine:
    """Check the metadata document, https://docs.digitalocean.com/reference/api/metadata/.

    ``public`` and ``private`` may be absent, null or empty. ``anchor_ipv4`` belongs to a reserved IP and is ignored.

    Raises:
        NoAnswerError: it is of another shape.
    """
    interfaces = model.member(value, "interfaces", dict)
    return Machine(
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
    return Interface(mac, tuple(addresses))


@dataclass(frozen=True)
class Link:
    """A network interface of this machine: its name, MAC, and whether it belongs to a bridge or bond."""

    name: str
    mac: str
    enslaved: bool


def links(system: Path = Path("/sys/class/net")) -> tuple[Link, ...]:
    """List this machine's network interfaces from sysfs."""
    found = []
    for place in sorted(system.iterdir()):
        try:
            mac = (place / "address").read_text().strip().lower()
        except OSError:
            continue  # /sys/class/net/bonding_masters is a plain file
        found.append(Link(place.name, mac, (place / "master").exists()))
    return tuple(found)


def resolve(wanted: Interface, links: Sequence[Link], addresses: Callable[[], dict[str, set[str]]]) -> str | None:
    """Find the name of an interface: by MAC, then by address.

    Several links may share a MAC (VLANs, a bridge and its port): then the one with the address is it.

    Args:
        wanted: the interface as the metadata service describes it.
        links: this machine's interfaces.
        addresses: looks up the addresses by interface name, asked only when the MAC does not decide.

    Returns:
        Its name, None when there is none.
    """
    by_mac = [link for link in links if wanted.mac and link.mac == wanted.mac]
    if len(by_mac) == 1 and not by_mac[0].enslaved:
        return by_mac[0].name
    own = {str(address) for address in wanted.addresses}
    by_address = [name for name, held in addresses().items() if held & own]
    if len(by_address) == 1:
        return by_address[0]
    both = [link.name for link in by_mac if link.name in by_address]
    if len(both) == 1:
        return both[0]
    return by_mac[0].name if len(by_mac) == 1 else None


def names(wanted: Sequence[Interface], kind: str, runner: Runner) -> tuple[str, ...]:
    """Find the names of this Droplet's private or public interfaces.

    Args:
        wanted: as the metadata service describes them.
        kind: ``private`` or ``public``, for messages.
        runner: runs ``ip`` when MACs do not decide.

    Raises:
        DroplanError: the Droplet has none, or this machine does not have it.
    """
    if not wanted:
        raise DroplanError(
            f"this Droplet has no {kind} interface: "
            + ("add it to a VPC, then run droplan again" if kind == "private" else "unset PUBLIC")
        )
    here = links()
    found = tuple(resolve(interface, here, lambda: _addresses(runner)) for interface in wanted)
    missing = [interface for interface, name in zip(wanted, found) if name is None]
    if missing:
        raise DroplanError(
            f"no interface of this machine has the MAC {missing[0].mac or '(none)'} or an address of the Droplet's "
            f"{kind} network: bring it up, then run droplan again"
        )
    return tuple(dict.fromkeys(name for name in found if name))


def dmi_droplet_id() -> int | None:
    """Read this Droplet's number without the network, from the machine's DMI; None when it is not told there."""
    try:
        if (_DMI / "sys_vendor").read_text().strip() != "DigitalOcean":
            return None
        serial = (_DMI / "product_serial").read_text().strip()
    except OSError:
        return None
    return int(serial) if serial.isdecimal() else None


def _addresses(runner: Runner) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in runner.run(["ip", "-o", "address", "show"]).stdout.splitlines():
        words = line.split()  # 2: eth0    inet 10.0.0.2/16 brd ... ; CentOS 7 knows no JSON
        if len(words) > 3 and words[2] in ("inet", "inet6"):
            found.setdefault(words[1], set()).add(words[3].partition("/")[0])
    return found
