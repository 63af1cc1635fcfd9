"""A program of ours that runs all the time: its unit, put in place, repaired, taken away."""

from __future__ import annotations

from pathlib import Path

from droplan_boot.host.services import Services


class Daemon:
    """One of them.

    Args:
        name: its unit's, as systemctl calls it.
        text: what the unit's file holds.
        waited_for: whether to wait for its end where it is taken away, for it writes our state once more then.
    """

    def __init__(self, name: str, text: str, *, waited_for: bool = False) -> None:
        self.name = name
        self.text = text
        self.waited_for = waited_for

    @property
    def path(self) -> Path:
        """Where its unit is."""
        return Path("/etc/systemd/system") / self.name

    def problem(self, services: Services) -> str | None:
        """Say what is wrong with it; None when it runs, and at the next boot too."""
        return services.host.files.problem(self.path, self.text.encode(), 0o644) or services.problem(self.name)

    def put(self, services: Services) -> None:
        """Install it, and start it anew: what runs may be of another unit.

        Raises:
            DroplanError: that did not work.
        """
        services.host.files.write(self.path, self.text.encode(), 0o644)
        services.enable(self.name, start=False)
        services.host.runner.run(["systemctl", "restart", self.name])

    def remove(self, services: Services) -> None:
        """Stop it and take it off this machine."""
        if self.waited_for:
            services.host.runner.run(["systemctl", "stop", self.name], check=False)
        services.disable(self.name)
        services.host.files.remove(self.path)
