"""Podman: a published port is DNAT by the network's plugin, CNI's or netavark; no daemon watches over it."""

from __future__ import annotations

from typing import Final

from tests.bed.beside.program import Event, Program
from tests.beside.scenarios import containers

_CONTAINERS: Final = """\
[containers]
pids_limit = 0
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
apparmor_profile = ""
seccomp_profile = "unconfined"
[network]
network_backend = "{network}"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
_FUNCTIONS: Final = f"""
{containers.FUNCTIONS}
serve() {{
    podman run -d --cgroup-parent "$CGROUP" --security-opt seccomp=unconfined --stop-signal KILL {containers.VOLUME} \
        "$@" --rootfs /srv/image {containers.RUN} >/dev/null
}}
"""
_START: Final = f"""
{containers.IMAGE}
ulimit -n 1024
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /var/lib/containers
mount -t tmpfs tmpfs /var/lib/containers
serve --name web -p 8080:80
until_ answers
touch /run/published
"""
_EVENTS: Final = (
    Event("a container restarted", "podman restart -t 0 web >/dev/null\nuntil_ answers", pauses="the container ends"),
    Event("network create", "podman network create other >/dev/null"),
    Event(
        "a container in a network of its own, its port published",
        "serve --name third --network other -p 8082:80\npodman rm -t 0 -f third >/dev/null\n"
        "podman network rm other >/dev/null",
    ),
    Event(
        "network reload",
        "podman network reload --all >/dev/null",
        pauses="it takes its rules out and in again",
        repeats=True,
    ),
)


def _podman(network: str, *, nightly: bool = False) -> Program:
    return Program(
        f"Podman, {network}",
        ("podman", "runc", "containernetworking-plugins", "netavark"),
        _START,
        _EVENTS,
        functions=_FUNCTIONS,
        files={
            **containers.FILES,
            "/etc/containers/containers.conf": _CONTAINERS.format(network=network),
            "/etc/containers/storage.conf": '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\n'
            'graphroot = "/var/lib/containers/storage"\n',
        },
        nightly=nightly,
    )


PROGRAMS: Final = (_podman("netavark"), _podman("cni", nightly=True))
