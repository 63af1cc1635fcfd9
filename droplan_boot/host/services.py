"""Enable and start services, under systemd or without it (containers)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from droplan_boot.host.machine import Host

_ENABLED: Final = ("enabled", "enabled-runtime", "static", "alias", "generated", "indirect")


@dataclass(frozen=True)
class Services:
    """The services of a machine."""

    host: Host

    def problem(self, name: str, *, start: bool = True) -> str | None:
        """Say what is wrong with a service; None when it is enabled and (with ``start``) running."""
        if not self.host.has_systemd():
            return None if not start or self._running(name) else "stopped"
        state = self.state(name)
        if state not in _ENABLED:
            return state or "missing"
        return "stopped" if start and not self.active(name) else None

    def state(self, name: str) -> str:
        """Say how a unit is enabled, in systemctl's words; "" when there is no such unit."""
        return self.host.runner.run(["systemctl", "is-enabled", name], check=False).stdout.strip()

    def active(self, name: str) -> bool:
        """Whether a unit is running."""
        return self.host.runner.run(["systemctl", "is-active", name], check=False).status == 0

    def enable(self, name: str, *, start: bool = True) -> None:
        """Enable a service and start it.

        Raises:
            CommandError: that did not work.
        """
        if self.host.has_systemd():
            self.host.runner.run(["systemctl", "daemon-reload"])
            self.host.runner.run(["systemctl", "enable", *(["--now"] if start else []), name])
        elif start:
            # Without systemd there is nothing to enable; the init script starts it until the container ends.
            script = Path("/etc/init.d") / name
            self.host.runner.run([str(script), "start"])

    def disable(self, name: str) -> None:
        """Disable a service, which need not be there."""
        if self.host.has_systemd():
            # Not stopped in one go with it: it may be the unit that we run in.
            self.host.runner.run(["systemctl", "disable", name], check=False)
            self.host.runner.run(["systemctl", "--no-block", "stop", name], check=False)
            self.host.runner.run(["systemctl", "daemon-reload"])

    def _running(self, name: str) -> bool:
        for place in Path("/proc").glob("[0-9]*/comm"):
            try:
                if place.read_text().strip() == name:
                    return True
            except OSError:
                continue
        return False
