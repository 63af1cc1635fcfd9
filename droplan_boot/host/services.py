"""Enable and start services, under systemd or without it (containers)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from droplan_boot import paths
from droplan_boot.host.doors import Host

ENABLED: Final = ("enabled", "enabled-runtime", "static", "alias", "generated", "indirect")
"""How systemctl says that a unit starts at boot, or that it is not its own to say."""

_RECORD: Final = paths.STATE / "services"
"""A line for each service that was not enabled before us: its name and how it was, in systemctl's words."""


class Services:
    """The services of a machine."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def problem(self, name: str, *, start: bool = True) -> str | None:
        """Say what is wrong with a service; None when it is enabled and (with ``start``) running."""
        if not self.host.has_systemd():
            return None if not start or self.running(name) else "stopped"
        state = self.state(name)
        if state not in ENABLED:
            return state or "missing"
        return "stopped" if start and not self.active(name) else None

    def state(self, name: str) -> str:
        """Say how a unit is enabled, in systemctl's words; "" when there is no such unit."""
        return self.host.runner.run(["systemctl", "is-enabled", name], check=False).stdout.strip()

    def active(self, name: str) -> bool:
        """Whether a unit is running."""
        return self.host.runner.run(["systemctl", "is-active", name], check=False).status == 0

    def enable(self, name: str, *, start: bool = True) -> None:
        """Enable a service and start it; how it was is remembered, for :meth:`put_back`.

        Raises:
            CommandError: that did not work.
        """
        run = self.host.runner.run
        if self.host.has_systemd():
            run(["systemctl", "daemon-reload"])
            state = self.state(name)
            self._remember(name, state)
            if state == "masked":
                run(["systemctl", "unmask", name])
            run(["systemctl", "enable", *(["--now"] if start else []), name])
        elif start:
            # Without systemd there is nothing to enable: it runs until the container ends. Enterprise Linux has no
            # init scripts; its daemons go to the background by themselves, as Debian's do.
            script = Path("/etc/init.d") / name
            run([str(script), "start"] if self.host.files.exists(script) else [name])

    def put_back(self) -> None:
        """Disable, or mask, those services again that we enabled. What runs goes on until the next boot."""
        for name, state in self.remembered().items():
            self.disable(name)
            if state == "masked":
                self.host.runner.run(["systemctl", "mask", name])
        self.host.files.remove(_RECORD)

    def remembered(self) -> dict[str, str]:
        """Tell how those services were, by name, that were not enabled before us."""
        lines = (self.host.files.read(_RECORD) or b"").decode(errors="replace").splitlines()
        return {words[0]: words[1] for words in (line.split() for line in lines) if len(words) == 2}

    def _remember(self, name: str, state: str) -> None:
        known = self.remembered()
        if state in ("disabled", "masked") and name not in known:
            text = "".join(f"{each} {was}\n" for each, was in {**known, name: state}.items())
            self.host.files.write(_RECORD, text.encode(), 0o600)

    def disable(self, name: str) -> None:
        """Disable a service, which need not be there."""
        if self.host.has_systemd():
            # Not stopped in one go with it: it may be the unit that we run in.
            self.host.runner.run(["systemctl", "disable", name], check=False)
            self.host.runner.run(["systemctl", "--no-block", "stop", name], check=False)
            self.host.runner.run(["systemctl", "daemon-reload"])

    def running(self, name: str) -> bool:
        """Whether a process of that name runs, for where no systemd tells."""
        for place in self.host.files.real(Path("/proc")).glob("[0-9]*/comm"):
            try:
                if place.read_text().strip() == name:
                    return True
            except OSError:
                continue
        return False
