"""What a test does with a Droplet that really booted, whatever it runs on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bed import account
from tests.bed.booted.container import poll
from tests.bed.hosts import Host, Link

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


@dataclass(frozen=True)
class Identity:
    """What a Droplet is to others.

    Attributes:
        droplet: as the API lists it.
        links: eth0 and eth1 as they will be once it has configured them.
        hosts: host names that it knows, and their addresses.
        nameservers: that it asks for all others.
        files: what its image has besides, by path.
    """

    droplet: account.ListedDroplet
    links: tuple[Link, ...]
    hosts: Mapping[str, str]
    nameservers: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)


class Guest(Host):
    """A Droplet with a systemd of its own; `run`, its maker's to define, is how a command gets into it."""

    def wait_until(self, argv: Sequence[str], *, timeout: float = 60) -> None:
        """Wait until a command in it exits 0.

        Raises:
            TimeoutError: It does not within `timeout` seconds; the message shows what it said last.
        """
        last: list[subprocess.CompletedProcess[str]] = []

        def holds() -> bool:
            last[:] = [self.run(argv, check=False)]
            return last[0].returncode == 0

        poll(holds, timeout, lambda: f"{self.name} never came to this: {last[0]}", interval=0.25)

    def wait_cloud_init(self, *, timeout: float = 300) -> dict[str, Any]:
        """Wait until cloud-init has finished with this boot.

        Returns:
            What `cloud-init status --format json` says; Debian 11's only says the status and the errors.

        Raises:
            TimeoutError: It has not finished after `timeout` seconds.
        """
        # `cloud-init status --wait` exits at once if asked before this boot's generator has run.
        self.wait_until(["test", "-e", "/run/cloud-init/result.json"], timeout=timeout)
        result = json.loads(self.run(["cat", "/run/cloud-init/result.json"]).stdout)["v1"]
        status = self.run(["cloud-init", "status", "--format", "json"], check=False)
        if status.stdout.startswith("{"):
            return dict(json.loads(status.stdout))
        return {"status": "error" if result["errors"] else "done", "errors": result["errors"]}

    def journal(self, *arguments: str) -> str:
        """What its journal holds of this boot; `arguments` as journalctl takes them, such as "--unit=cron"."""
        return self.run(["journalctl", "--boot", "--no-pager", "--output=short-monotonic", *arguments]).stdout
