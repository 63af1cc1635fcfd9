"""Look what there is on this machine to write rules with. It loads no module of the kernel and starts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from droplan_boot.host.doors import Host

_NET: Final = Path("/proc/net")


def legacy_in_use(host: Host) -> bool:
    """Whether a legacy table where rules of ours may stand is loaded."""
    names = ("ip_tables_names", "ip6_tables_names")
    return any({b"filter", b"mangle"} & set((host.files.read(_NET / name) or b"").split()) for name in names)


def versions(host: Host) -> tuple[int, ...]:
    """List the IP versions that this kernel speaks: not 6 when it was booted with ipv6.disable=1."""
    return (4, 6) if host.files.exists(_NET / "if_inet6") else (4,)


def found(host: Host) -> dict[str, object]:
    """Tell all that guard and door are chosen by; what the commands answer depends on nothing else.

    Args:
        host: this machine.

    Returns:
        What fits JSON: where each command leads and the state of what is there, and the kernel's IP versions.
    """
    leads = {name: path.resolve() for name in ("iptables", "nft") for path in [host.runner.which(name)] if path}
    return {
        "commands": {name: [str(path), host.files.mark(path)] for name, path in leads.items()},
        "versions": list(versions(host)),
    }
