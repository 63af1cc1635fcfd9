"""Put firewalld out of the way of iptables.service, as the tutorial does on CentOS, and back again.

The two cannot both load rules at boot: firewalld's unit Conflicts with iptables.service. Where firewalld was running,
iptables.service starts in its stead with the rules that its package brings (SSH, and nothing else from outside), so
that the machine is not open for a moment.
"""

from __future__ import annotations

from typing import Final

from droplan_boot import paths
from droplan_boot.host.services import Services

_NAME: Final = "firewalld"


def problem(services: Services) -> str | None:
    """Say how firewalld stands in the way; None when it does not (or is not installed)."""
    state = services.state(_NAME)
    return None if state in ("", "not-found", "masked") else state


def mask(services: Services) -> None:
    """Mask firewalld, and remember how it was."""
    host = services.host
    active = services.active(_NAME)
    if not host.files.exists(paths.FIREWALLD):
        words = [services.state(_NAME), "active" if active else "inactive"]
        host.files.write(paths.FIREWALLD, " ".join(words).encode() + b"\n", 0o600)
    if active:
        host.log.say(
            "firewalld gives way to iptables.service, whose stock rules let in SSH only: add your own to those"
        )
        host.runner.run(["systemctl", "start", "iptables", "ip6tables"])
    host.runner.run(["systemctl", "mask", "--now", _NAME])


def unmask(services: Services) -> bool:
    """Put firewalld back as it was, if we masked it; return whether we had."""
    host = services.host
    words = (host.files.read(paths.FIREWALLD) or b"").decode(errors="replace").split()
    if len(words) != 2:
        return False
    host.runner.run(["systemctl", "unmask", _NAME])
    for name in ("iptables", "ip6tables"):
        services.disable(name)
    if words[0] == "enabled":
        host.runner.run(["systemctl", "enable", _NAME])
    if words[1] == "active":
        host.runner.run(["systemctl", "start", _NAME])
    host.files.remove(paths.FIREWALLD)
    return True
