#!/usr/bin/python3 -IS
"""Stands in for systemctl where no systemd runs; it lies at /usr/bin/systemctl of the test's Droplet.

Unit files are the real systemctl's matter (``--root=/`` works without systemd): enable, mask, is-enabled. What would
need systemd itself is done here: which units are active stands in ``/run/units``, one file each; services of type
oneshot are run, daemons of type dbus are started and count as active once they have their name on the bus, others are
only noted down. Units that conflict are stopped *after* the new one started: systemd does both at once where no order
is declared, and this is the worse outcome. Every call is noted in ``/run/systemctl.log``.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

REAL = "/usr/lib/lab/systemctl"
ACTIVE = Path("/run/units")
PLACES = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"))
BUS = Path("/run/dbus")  # where its socket is
PATIENCE_S = 60.0


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
    if verb == "boot":  # not systemctl's: start the bus, and what is enabled
        BUS.mkdir(exist_ok=True)
        subprocess.run(["dbus-daemon", "--system", "--fork", "--nopidfile"], stdin=subprocess.DEVNULL, check=True)
        names = sorted(link.name for link in Path("/etc/systemd/system/multi-user.target.wants").iterdir())
        names = [name for name in names if not is_masked(name)]
        verb = "start"
    if verb == "is-active":
        active = all(is_active(name) for name in names)
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


def is_active(name: str) -> bool:
    """Whether a unit is active: a daemon that was started here must not have ended."""
    return (ACTIVE / name).exists() and ((pid := daemon(name)) is None or running(pid))


def daemon(name: str) -> int | None:
    """Tell the process of a unit's daemon; None where none was started."""
    text = (ACTIVE / name).read_text() if (ACTIVE / name).exists() else ""
    return int(text) if text else None


def running(pid: int) -> bool:
    """Whether a process is there; one that has ended is, until somebody has taken note of it.

    Its first thread may have ended before the others, which hold its connections.
    """
    for thread in Path("/proc").glob(f"{pid}/task/*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if thread.read_text().rpartition(")")[2].split()[0] != "Z":
                return True
    return False


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


def launch(name: str) -> str | None:
    """Start a unit's daemon and wait until it has its name on the bus; return its process, None when it ended."""
    words = shlex.split(setting(name, "Service", "ExecStart"))
    with Path(f"/run/{name}.log").open("ab") as log:
        started = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
        )
    until = time.monotonic() + PATIENCE_S
    while owner(setting(name, "Service", "BusName")) != started.pid:
        if started.poll() is not None or time.monotonic() > until:
            return None
        time.sleep(0.05)
    return str(started.pid)


def owner(bus_name: str) -> int | None:
    """Tell the process that has a name on the bus; None for nobody."""
    ask = ["dbus-send", "--system", "--print-reply=literal", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"]
    words = [*ask, "org.freedesktop.DBus.GetConnectionUnixProcessID", f"string:{bus_name}"]
    answer = subprocess.run(words, capture_output=True, text=True).stdout.split()
    return int(answer[-1]) if answer else None


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
    if is_active(name):
        return 0
    process: str | None = ""
    if setting(name, "Service", "Type") == "dbus":
        process = launch(name)
    if process is None or execute(name, "ExecStart"):
        print(f"Job for {name} failed because the control process exited with error code.", file=sys.stderr)
        return 1
    for other in sorted(found.name for found in ACTIVE.iterdir()):
        if other in conflicts(name) or name in conflicts(other):
            stop(other)
    (ACTIVE / name).write_text(process)
    return 0


def stop(name: str) -> int:
    """Stop a unit; a daemon has ended then."""
    if (ACTIVE / name).exists():
        pid = daemon(name)
        (ACTIVE / name).unlink()
        execute(name, "ExecStop")
        if pid is not None:
            end(pid)
    return 0


def end(pid: int) -> None:
    """End a daemon as systemd does: it is asked to, once, and killed if it does not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if running(pid):
            os.kill(pid, number)
        until = time.monotonic() + PATIENCE_S
        while running(pid) and time.monotonic() < until:
            time.sleep(0.05)


def restart(name: str) -> int:
    """Stop a unit if it runs, and start it."""
    stop(name)
    return start(name)


def reload(name: str) -> int:
    """Reload a unit that is active, start one that is not."""
    return execute(name, "ExecReload") if (ACTIVE / name).exists() else start(name)


sys.exit(main(sys.argv[1:]))
