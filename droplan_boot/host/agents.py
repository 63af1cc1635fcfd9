"""DigitalOcean's own agents on this machine, and whom they run as: they ask the metadata service at every start.

do-agent (graphs and alerts) runs as ``do-agent``, or as ``nobody`` where its unit says so
(github.com/digitalocean/do-agent, packaging); droplet-agent (the console) as root.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from droplan_boot.host.files import Files

_NAMES: Final = ("do-agent", "droplet-agent")
_UNITS: Final = tuple(
    Path(place) for place in ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
)
_PASSWD: Final = Path("/etc/passwd")


def users(files: Files) -> tuple[int, ...]:
    """List the users, by number, that the installed agents run as; root, who may ask anyway, left out.

    A unit names its user; one in /etc goes before the package's. Where no unit is, the package's user counts if it
    exists: such a package may bring the agent up in another way.
    """
    passwd = (files.read(_PASSWD) or b"").decode(errors="replace")
    numbers = {name: int(uid) for name, uid in re.findall(r"^([^:\n]+):[^:\n]*:(\d{1,9}):", passwd, re.MULTILINE)}
    wanted = (_user(files, agent) for agent in _NAMES)
    return tuple(sorted({numbers[name] for name in wanted if name in numbers} - {0}))


def _user(files: Files, agent: str) -> str:
    for folder in _UNITS:
        data = files.read(folder / f"{agent}.service")
        if data is not None:
            found = re.findall(r"^[ \t]*User[ \t]*=[ \t]*(\S+)", data.decode(errors="replace"), re.MULTILINE)
            return str(found[-1]) if found else "root"
    return agent
