"""The watcher's unit: systemd starts it at boot, and again when it fails. A new program it takes up by itself."""

from __future__ import annotations

from typing import Final

from droplan_boot import paths
from droplan_boot.setup.daemon import Daemon

UNIT: Final = Daemon(
    "droplan-watch.service",
    f"""\
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
""",
    waited_for=True,
)
