"""Put firewalld out of the way of iptables.service, as the tutorial does on CentOS, and back again.

The two cannot both load rules at boot: firewalld's unit Conflicts with iptables.service. Where firewalld was running,
iptables.service starts in its stead with the rules that its package brings (SSH, and nothing else from outside), so
that the machine is not left open.
"""

from __future__ import annotations

from typing import Final

from droplan_boot import paths
from droplan_boot.host.services import Services

_NAME: Final = "firewalld"
_LOADERS: Final = ("iptables", "ip6tables")


def problem(services: Services) -> str | None:
    """Say how firewalld stands in the way; None when it does not (or is not installed)."""
    state = services.state(_NAME)
    if state == "masked":
        return "still running" if services.active(_NAME) else None
    return None if state in ("", "not-found") else state


def mask(services: Services) -> None:
    """Mask firewalld, and remember how it was."""
    host = services.host
    if not _before(services):
        words = [services.state(_NAME), "active" if services.active(_NAME) else "inactive"]
        host.files.write(paths.FIREWALLD, " ".join(words).encode() + b"\n", 0o600)
    active = _before(services)[1:] == ["active"]
    if active:
        host.log.say(
            "firewalld gives way to iptables.service, whose stock rules let in SSH only: add your own to those"
        )
        host.runner.run(["systemctl", "start", *_LOADERS])
    host.runner.run(["systemctl", "mask", "--now", _NAME])
    if active:
        # firewalld flushes all rules when it stops, and nothing orders that before the start of iptables.service.
        host.runner.run(["systemctl", "reload-or-restart", *_LOADERS])


def unmask(services: Services) -> bool:
    """Put firewalld back as it was, if we masked it; return whether we had."""
    host = services.host
    words = _before(services)
    if not words:
        return False
    host.runner.run(["systemctl", "unmask", _NAME])
    if words[0] == "enabled":
        host.runner.run(["systemctl", "enable", _NAME])
    if words[1] == "active":
        # First, because iptables.service flushes all rules when it stops, those that firewalld has just written too.
        host.runner.run(["systemctl", "stop", *_LOADERS])
        host.runner.run(["systemctl", "start", _NAME])
    host.files.remove(paths.FIREWALLD)
    return True


def _before(services: Services) -> list[str]:
    """Tell how firewalld was before us, such as ``enabled``, ``active``; [] when we left it alone."""
    words = (services.host.files.read(paths.FIREWALLD) or b"").decode(errors="replace").split()
    return words if len(words) == 2 else []
