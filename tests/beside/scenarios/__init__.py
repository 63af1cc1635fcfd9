"""Programs beside droplan and what happens there, as data: a file a program. docs/beside.md shows all of it."""

from __future__ import annotations

from typing import Final

from tests.beside.scenarios import docker, fail2ban, firewalld, heads, podman, saved, ufw
from tests.bed.beside.program import Program

PROGRAMS: Final[tuple[Program, ...]] = (
    *docker.PROGRAMS,
    *podman.PROGRAMS,
    *firewalld.PROGRAMS,
    *ufw.PROGRAMS,
    *fail2ban.PROGRAMS,
    *saved.PROGRAMS,
    *heads.PROGRAMS,
)
