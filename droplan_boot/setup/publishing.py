"""The publisher's unit, on a Droplet that has /etc/droplan/publish.env."""

from __future__ import annotations

from typing import Final

from droplan_boot import paths
from droplan_boot.setup.daemon import Daemon

UNIT: Final = Daemon(
    "droplan-publish.service",
    f"""\
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
""",
)
