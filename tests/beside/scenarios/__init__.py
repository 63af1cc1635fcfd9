"""Programs beside droplan and what happens there, as data: a file a program. docs/beside.md shows all of it."""

from __future__ import annotations

from typing import Final

from tests.bed.beside.program import Program
from tests.beside.scenarios import docker, fail2ban, firewalld, heads, links, podman, saved, ufw

PROGRAMS: Final[tuple[Program, ...]] = (
    *docker.PROGRAMS,
    *podman.PROGRAMS,
    *firewalld.PROGRAMS,
    *ufw.PROGRAMS,
    *fail2ban.PROGRAMS,
    *saved.PROGRAMS,
    *heads.PROGRAMS,
    *links.PROGRAMS,
)
