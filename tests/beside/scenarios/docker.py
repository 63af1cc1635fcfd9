"""Docker: its rules go to the head of FORWARD, its published ports pass INPUT by (moby, libnetwork/iptables)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from tests.bed.beside.program import Event, Program
from tests.beside.scenarios import containers

PACKAGES: Final = ("docker.io",)

# Without an init system; the control group is the bed's, which removes it.
_FUNCTIONS: Final = f"""
{containers.FUNCTIONS}
start_docker() {{
    DOCKER_RAMDISK=1 daemon dockerd --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "$CGROUP"
    until_ docker info
}}
serve() {{ # its init ends at once when it is told to
    docker run -d --restart unless-stopped --stop-signal KILL {containers.VOLUME} "$@" \\
        nearly-empty {containers.RUN} >/dev/null
}}
"""
_IMAGE: Final = f"""
{containers.IMAGE}
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /var/lib/docker /var/lib/containerd
mount -t tmpfs tmpfs /var/lib/docker
mount -t tmpfs tmpfs /var/lib/containerd
start_docker
tar -C /srv/image -c . | docker import - nearly-empty >/dev/null
"""
START: Final = _IMAGE + "serve --name web -p 8080:80\nuntil_ answers\ntouch /run/published\n"

_RESTARTS: Final = "its containers end with it and come back"

RESTART: Final = "stop dockerd\nstart_docker\nuntil_ answers"
_EVENTS: Final = (
    Event("restart", RESTART, pauses=_RESTARTS, was_open=True),
    Event(
        "killed, and started again",
        "stop dockerd KILL\nstop containerd KILL\n"
        "rm -f /var/run/docker.pid /var/run/docker/containerd/containerd.pid\n"
        "start_docker\ndocker start web >/dev/null\nuntil_ answers",
        pauses=_RESTARTS,
        nightly=True,
    ),
    Event("network create", "docker network create other >/dev/null", was_open=True),
    Event(
        "a container in a network of its own, its port published",
        "serve --name third --network other -p 8082:80\ndocker rm -f third >/dev/null",
    ),
    Event("network rm", "docker network rm other >/dev/null"),
    Event("a container restarted", "docker restart web >/dev/null\nuntil_ answers", pauses="the container ends"),
    Event(
        "upgrade",
        "stop dockerd\napt_install --reinstall docker.io\nstart_docker\nuntil_ answers",
        pauses=_RESTARTS,
        was_open=True,
        nightly=True,
    ),
)


def _docker(
    what: str,
    start: str = START,
    *,
    events: tuple[Event, ...],
    nightly: bool = False,
    settings: Mapping[str, object] | None = None,
) -> Program:
    return Program(
        f"Docker, {what}",
        PACKAGES,
        start,
        events,
        files={**containers.FILES, "/etc/docker/daemon.json": json.dumps(settings or {})},
        functions=_FUNCTIONS,
        nightly=nightly,
    )


_RESTART_ALONE: Final = (Event("restart", RESTART, pauses=_RESTARTS),)

PROGRAMS: Final = (
    _docker("as it comes", events=_EVENTS),
    _docker(
        "userland-proxy false", events=(_EVENTS[0], _EVENTS[2]), nightly=True, settings={"userland-proxy": False}
    ),
    _docker("iptables false", events=_RESTART_ALONE, nightly=True, settings={"iptables": False}),
    _docker(
        "live-restore",
        events=(
            Event(
                "restart",
                RESTART,
                pauses="the container stays, but its rules are taken out and written again",
                was_open=True,
            ),
        ),
        nightly=True,
        settings={"live-restore": True},
    ),
    _docker(
        "IPv6",
        events=(Event("restart", RESTART, pauses=_RESTARTS, was_open=True),),
        nightly=True,
        settings={"ipv6": True, "fixed-cidr-v6": "fd00:d0c::/64", "experimental": True, "ip6tables": True},
    ),
    _docker(
        "a container with --network host",
        _IMAGE + "PORT=8080 serve --name web --network host\nuntil_ answers\ntouch /run/published\n",
        events=_RESTART_ALONE,
        nightly=True,
    ),
)
