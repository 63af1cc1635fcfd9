"""What loads saved rules at boot on this machine, and from which files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from droplan_boot.firewall.iptables import Iptables
    from droplan_boot.host.doors import Host


class Saved(NamedTuple):
    """Where saved rules are loaded from at boot.

    Args:
        loaders: the services that load them.
        files: by IP version.
        mode: their permission bits.
    """

    loaders: tuple[str, ...]
    files: dict[int, Path]
    mode: int


DEBIAN: Final = Saved(
    ("netfilter-persistent",), {4: Path("/etc/iptables/rules.v4"), 6: Path("/etc/iptables/rules.v6")}, 0o640
)
EL: Final = Saved(
    ("iptables", "ip6tables"), {4: Path("/etc/sysconfig/iptables"), 6: Path("/etc/sysconfig/ip6tables")}, 0o600
)

_PLUGIN: Final = Path("/usr/share/netfilter-persistent/plugins.d/15-ip4tables")
_UNIT: Final = Path("/usr/lib/systemd/system/iptables.service")


def loader(host: Host, door: Iptables | None, packages: Collection[str] = ()) -> Saved | None:
    """Find what loads saved rules at boot; None when our own unit alone has to.

    Args:
        host: this machine.
        door: how rules of ip(6)tables are written here, if they are.
        packages: what is there or, in a dry run, would be.
    """
    if door is None or host.runner.which("ufw"):
        return None
    if "iptables-persistent" in packages or host.files.exists(_PLUGIN):
        return DEBIAN
    if {"iptables-services", "iptables-nft-services"} & set(packages) or host.files.exists(_UNIT):
        return EL
    return None


def found(host: Host) -> dict[str, object]:
    """Tell all that a loader is found by, and the state of every file that one reads, read by nobody for this.

    Args:
        host: this machine.

    Returns:
        What fits JSON.
    """
    places = (_PLUGIN, _UNIT, *DEBIAN.files.values(), *EL.files.values())
    return {"ufw": host.runner.which("ufw") is not None, **{str(path): host.files.mark(path) for path in places}}
