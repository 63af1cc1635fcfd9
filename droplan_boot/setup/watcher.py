"""The watcher's unit: systemd starts it at boot, and again when it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from droplan_boot import paths
from droplan_boot.host.doors import Host
from droplan_boot.host.services import Services

UNIT_NAME: Final = "droplan-watch.service"
UNIT: Final = Path("/etc/systemd/system") / UNIT_NAME

UNIT_TEXT: Final = f"""\
# Written by `droplan install`, which undoes changes made here.
[Unit]
Description=Let new peers in at once, and repair droplan's firewall rules
Documentation=file:{paths.REFRESH}
RequiresMountsFor={paths.PROGRAM} {paths.STATE}
After=droplan-restore.service netfilter-persistent.service iptables.service ip6tables.service
StartLimitIntervalSec=0

[Service]
ExecStart={paths.PROGRAM} watch
Restart=on-failure
RestartSec=5
# What it decides it runs as its children: they write the firewall, our state, our log and the saved rules, and ask
# the API. They need no more than this.
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_DAC_OVERRIDE CAP_FOWNER
ProtectSystem=strict
ReadWritePaths={paths.STATE} /run /var/log -{paths.SETTINGS.parent} -/etc/iptables -/etc/sysconfig
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectControlGroups=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_NETLINK AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


def problem(host: Host, services: Services) -> str | None:
    """Say what is wrong with the watcher; None when it runs, and at the next boot too."""
    return host.files.problem(UNIT, UNIT_TEXT.encode(), 0o644) or services.problem(UNIT_NAME)


def put(host: Host, services: Services) -> None:
    """Install it, and start it anew: what runs may be of another unit. A new program it takes up by itself."""
    host.files.write(UNIT, UNIT_TEXT.encode(), 0o644)
    services.enable(UNIT_NAME, start=False)
    host.runner.run(["systemctl", "restart", UNIT_NAME])


def remove(host: Host, services: Services) -> None:
    """Take it off this machine, and wait until it has ended: it writes its state once more then."""
    host.runner.run(["systemctl", "stop", UNIT_NAME], check=False)
    services.disable(UNIT_NAME)
    host.files.remove(UNIT)
