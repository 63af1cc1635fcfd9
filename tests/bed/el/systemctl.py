#!/usr/bin/python3 -IS
"""Stands in for systemctl where no systemd runs; it lies at /usr/bin/systemctl of the test's Droplet.

Unit files are the real systemctl's matter (``--root=/`` works without systemd): enable, mask, is-enabled. What would
need systemd itself is done here: which units are active stands in ``/run/units``, one file each; services of type
oneshot are run, others only noted down. Units that conflict are stopped *after* the new one started: systemd does
both at once where no order is declared, and this is the worse outcome. Every call is noted in ``/run/systemctl.log``.
"""

from __future__ import annotations

import configparser
import shlex
import subprocess
import sys
from pathlib import Path

REAL = "/usr/lib/lab/systemctl"
ACTIVE = Path("/run/units")
PLACES = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"))


def main(words: list[str]) -> int:
    """Do what was asked; return systemctl's exit code."""
    with Path("/run/systemctl.log").open("a") as log:
        log.write(shlex.join(words) + "\n")
    ACTIVE.mkdir(exist_ok=True)
    verb, names = words[0], [full(name) for name in words[1:] if not name.startswith("-")]
    if verb in ("enable", "disable", "mask", "unmask", "is-enabled"):
        status = subprocess.run([REAL, "--root=/", verb, *names]).returncode
        if "--now" not in words or status:
            return status
        verb = "start" if verb == "enable" else "stop"
    if verb == "boot":  # not systemctl's: start what is enabled
        names = sorted(link.name for link in Path("/etc/systemd/system/multi-user.target.wants").iterdir())
        names = [name for name in names if not is_masked(name)]
        verb = "start"
    if verb == "is-active":
        active = all((ACTIVE / name).exists() for name in names)
        print("active" if active else "inactive")
        return 0 if active else 3
    verbs = {"start": start, "stop": stop, "restart": restart, "reload-or-restart": reload, "daemon-reload": start}
    return max((verbs[verb](name) for name in names), default=0)


def full(name: str) -> str:
    """Complete a unit's name."""
    return name if "." in name else f"{name}.service"


def is_masked(name: str) -> bool:
    """Whether a unit is masked."""
    return (PLACES[0] / name).is_symlink() and (PLACES[0] / name).resolve() == Path("/dev/null")


def setting(name: str, section: str, key: str) -> str:
    """Read a setting of a unit file; "" when the unit or the setting is not there."""
    for place in PLACES:
        if (place / name).is_file():
            unit = configparser.RawConfigParser(strict=False, interpolation=None)
            unit.optionxform = str  # type: ignore[assignment, method-assign]
            unit.read(place / name)
            return unit.get(section, key, fallback="")
    return ""


def execute(name: str, key: str) -> int:
    """Run a oneshot unit's command."""
    if setting(name, "Service", "Type") != "oneshot":
        return 0
    return subprocess.run(shlex.split(setting(name, "Service", key)), stdin=subprocess.DEVNULL).returncode


def conflicts(name: str) -> list[str]:
    """List the units that a unit says it conflicts with; it holds both ways."""
    return setting(name, "Unit", "Conflicts").split()


def start(name: str) -> int:
    """Start a unit, and stop those that conflict with it."""
    if is_masked(name):
        print(f"Failed to start {name}: Unit {name} is masked.", file=sys.stderr)
        return 1
    if not setting(name, "Service", "ExecStart"):
        print(f"Failed to start {name}: Unit {name} not found.", file=sys.stderr)
        return 5
    if (ACTIVE / name).exists():
        return 0
    status = execute(name, "ExecStart")
    if status:
        print(f"Job for {name} failed because the control process exited with error code.", file=sys.stderr)
        return 1
    for other in sorted(found.name for found in ACTIVE.iterdir()):
        if other in conflicts(name) or name in conflicts(other):
            stop(other)
    (ACTIVE / name).touch()
    return 0


def stop(name: str) -> int:
    """Stop a unit."""
    if (ACTIVE / name).exists():
        (ACTIVE / name).unlink()
        execute(name, "ExecStop")
    return 0


def restart(name: str) -> int:
    """Stop a unit if it runs, and start it."""
    stop(name)
    return start(name)


def reload(name: str) -> int:
    """Reload a unit that is active, start one that is not."""
    return execute(name, "ExecReload") if (ACTIVE / name).exists() else start(name)


sys.exit(main(sys.argv[1:]))
