"""The publisher's unit, on a Droplet that has /etc/droplan/publish.env."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from droplan_boot import paths
from droplan_boot.host.doors import Host
from droplan_boot.host.services import Services

UNIT_NAME: Final = "droplan-publish.service"
UNIT: Final = Path("/etc/systemd/system") / UNIT_NAME

UNIT_TEXT: Final = f"""\
# Written by `droplan install`, which undoes changes made here.
[Unit]
Description=List the Droplets for a whole fleet, and sign the list
Documentation=file:{paths.REFRESH}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={paths.PROGRAM} publish
Restart=always
RestartSec=10
# It speaks to the API and to the bucket, runs openssl, and writes no file but the program's own, unpacked.
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_FOWNER
ProtectSystem=strict
ReadWritePaths={paths.STATE} -{paths.SETTINGS.parent}
PrivateTmp=yes
PrivateDevices=yes
ProtectControlGroups=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


def wanted(host: Host) -> bool:
    """Whether this Droplet is to publish."""
    return host.has_systemd() and host.files.exists(paths.PUBLISH)


def problem(host: Host, services: Services) -> str | None:
    """Say what is wrong with the publisher; None when it runs, and at the next boot too."""
    return host.files.problem(UNIT, UNIT_TEXT.encode(), 0o644) or services.problem(UNIT_NAME)


def put(host: Host, services: Services) -> None:
    """Install it, and start it anew: what runs may be of another unit."""
    host.files.write(UNIT, UNIT_TEXT.encode(), 0o644)
    services.enable(UNIT_NAME, start=False)
    host.runner.run(["systemctl", "restart", UNIT_NAME])


def remove(host: Host, services: Services) -> None:
    """Stop it and take it away."""
    services.disable(UNIT_NAME)
    host.files.remove(UNIT)
