"""What can be said on the command line: one entry a verb. Help, man page, completions and parser are made from it.

No argparse here: the table is data, and a verb that another room brings is one more entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple


class Argument(NamedTuple):
    """An argument of a verb, as argparse takes it; its ``dest`` is the name of ``run``'s parameter.

    Args:
        names: such as ``("--json",)``, or ``("who",)`` for a positional one.
        settings: the keywords of ``add_argument``; without ``help`` it is hidden.
    """

    names: tuple[str, ...]
    settings: dict[str, Any]


class Command(NamedTuple):
    """A verb: ``droplan_boot.verbs.NAME.run(host, **arguments)`` does it.

    Args:
        name: as it is typed.
        summary: what it does, in a line.
        example: a command to copy.
        text: more, where there is more to say.
        arguments: what follows it.
        exits: its exit codes.
        files: what it reads or writes.
        logged: whether it changes the machine, so that its lines go to the log as well.
        own: codes that mean something else than :data:`EXITS` says.
        hidden: whether only another part of droplan calls it.
    """

    name: str
    summary: str
    example: str
    text: str = ""
    arguments: tuple[Argument, ...] = ()
    exits: tuple[int, ...] = (0, 1)
    files: tuple[str, ...] = ()
    logged: bool = False
    own: tuple[tuple[int, str], ...] = ()
    hidden: bool = False


EXITS: Final = {
    0: "done, all is well",
    1: "failed; the rules are as they were",
    2: "usage: the command line or a setting is wrong",
    3: "the rules are not what they should be (drift)",
    4: "refused for safety; --force goes on",
    5: "the rules are right, but something else needs you",
}

_ENV: Final = "/etc/droplan/droplan.env"
_LOG: Final = "/var/log/droplan.log"
_SNAPSHOT: Final = "/var/lib/droplan/snapshot.json"
_REPORT: Final = "/var/lib/droplan/status.json"
_METRICS: Final = "/var/lib/droplan/metrics.prom"


def _flag(name: str, text: str | None, dest: str | None = None) -> Argument:
    settings: dict[str, Any] = {"action": "store_true"}
    return Argument((name,), {**settings, **({"help": text} if text else {}), **({"dest": dest} if dest else {})})


_JSON: Final = _flag("--json", "for programs: one JSON document", "as_json")
_FORCE: Final = _flag("--force", "go on where droplan refuses for safety")
_SCHEDULED: Final = _flag("--scheduled", None)  # what cron passes
_ASKED: Final = _flag("--asked", None)  # what the watcher passes: now, however often the schedule may
_UNATTENDED: Final = _flag("--unattended", None)  # what user data's stage-0 passes
_TOKEN_FILE: Final = Argument(
    ("--token-file",), {"metavar": "FILE", "help": "read the API token from FILE; - reads it from stdin"}
)

COMMANDS: Final = (
    Command(
        "refresh",
        "ask who the peers are, and write the firewall",
        "sudo droplan refresh --dry-run",
        "What cron runs. A setting in the environment holds for this run only; settings that are to stay go into "
        "/etc/droplan/droplan.env.",
        (
            _flag("--dry-run", "say who would come in and who would go, and change nothing"),
            _FORCE,
            _SCHEDULED,
            _ASKED,
        ),
        (0, 1, 2, 4),
        (_ENV, _SNAPSHOT, _REPORT, _METRICS, _LOG),
        logged=True,
    ),
    Command(
        "install",
        "put droplan in place on this machine, or repair it",
        "sudo python3 droplan.pyz install --dry-run",
        "Settings of the environment are stored. On a terminal it asks for the API token if none is known.",
        (
            _flag("--dry-run", "say who would come in, who would go and what would change, and change nothing"),
            _TOKEN_FILE,
            _FORCE,
            _SCHEDULED,
            _UNATTENDED,
        ),
        (0, 1, 2, 4),
        ("/opt/droplan/droplan", "/etc/cron.d/droplan", _ENV, _LOG),
        logged=True,
    ),
    Command(
        "status",
        "tell how things stand, on one screen",
        "sudo droplan status",
        arguments=(_JSON,),
        exits=(0, 1, 3, 5),
        files=(_SNAPSHOT, _REPORT),
    ),
    Command(
        "peers",
        "list the Droplets that may come in, and why",
        "sudo droplan peers",
        arguments=(_JSON,),
        files=(_SNAPSHOT,),
    ),
    Command(
        "explain",
        "say whether somebody gets in, and every step of why",
        "sudo droplan explain 10.132.0.7 tcp/5432",
        "It looks in the last answer first, and asks DigitalOcean about whom that does not know.",
        (
            Argument(("who",), {"metavar": "WHO", "help": "an address, or a Droplet's name or number"}),
            Argument(
                ("service",),
                {
                    "metavar": "SERVICE",
                    "nargs": "?",
                    "help": "such as tcp/5432, tcp/8000-8010, icmp or proto/47; without it, everything at once",
                },
            ),
            _JSON,
        ),
        (0, 1, 2),
        (_SNAPSHOT,),
    ),
    Command(
        "blocked",
        "tell who was shut out",
        "sudo droplan blocked --since 1h",
        arguments=(
            Argument(
                ("--since",),
                {"metavar": "TIME", "default": "", "help": "only whom was seen within it: 30s, 10m, 1h, 7d"},
            ),
            _JSON,
        ),
        exits=(0, 1, 2),
        files=("/var/lib/droplan/blocked.json",),
    ),
    Command(
        "watch",
        "let new peers in at once and repair what others change, until stopped",
        "sudo droplan watch",
        "droplan-watch.service runs it.",
        files=(_SNAPSHOT, "/var/lib/droplan/blocked.json"),
    ),
    Command(
        "metrics",
        "print the metrics for Prometheus, or write them to a file",
        "droplan metrics",
        arguments=(
            Argument(
                ("file",), {"metavar": "FILE", "nargs": "?", "help": "write them there; without it, print them"}
            ),
        ),
        files=(_METRICS,),
    ),
    Command(
        "check",
        "answer a monitoring system as its plugins do",
        "droplan check --warning 900 --critical 3600",
        "Needs no root: it reads what the last run wrote.",
        (
            Argument(
                ("--warning",),
                {"metavar": "SECONDS", "type": int, "help": "age of the last good answer that warns (3 intervals)"},
            ),
            Argument(
                ("--critical",), {"metavar": "SECONDS", "type": int, "help": "age that is critical (12 intervals)"}
            ),
        ),
        (0, 1, 2, 3),
        (_REPORT, _METRICS),
        own=((0, "OK"), (1, "WARNING"), (2, "CRITICAL"), (3, "UNKNOWN")),
    ),
    Command(
        "token",
        "change the API token, after trying the new one",
        "sudo droplan token --token-file /root/token",
        "On a terminal it asks for the token and shows nothing of it.",
        (_TOKEN_FILE,),
        (0, 1, 2),
        (_ENV,),
        logged=True,
    ),
    Command(
        "publish",
        "list the Droplets for a whole fleet, and sign the list",
        "sudo droplan publish --once",
        "It reads /etc/droplan/publish.env alone, neither the environment nor droplan.env.",
        (_flag("--once", "publish what is there now, and end"),),
        (0, 1, 2),
        ("/etc/droplan/publish.env",),
    ),
    Command(
        "fleet",
        "tell how a fleet with a shared source is, or make a key for one",
        "droplan fleet key /root/fleet.key",
        "Who publishes and who stands by, version, age and size of the list, how often members look, what the API was"
        " asked, and the changes of late; 1 when the list has expired. `fleet key FILE` writes a private key to FILE "
        "(0600) and prints the public one, for DROPLAN_SHARED_TRUST.",
        (
            _JSON,
            Argument(("part",), {"metavar": "key", "nargs": "?", "choices": ["key"], "help": "make a key pair"}),
            Argument(("file",), {"metavar": "FILE", "nargs": "?", "help": "where the private key goes"}),
        ),
        (0, 1, 2),
        (_ENV,),
    ),
    Command("poll", "ask the fleet's list again and again", "droplan poll", hidden=True),  # the watcher's child
    Command(
        "restore",
        "put the last good answer's rules back, without any network",
        "sudo droplan restore",
        arguments=(_flag("--repair", None), _flag("--links", None)),  # what the watcher passes
        exits=(0, 1),
        files=(_SNAPSHOT,),
        logged=True,
    ),
    Command(
        "uninstall",
        "take droplan off this machine",
        "sudo droplan uninstall --dry-run",
        "Rules, files and saved rules go; packages and the log stay.",
        (_flag("--dry-run", "say what would go and who could come in then, and change nothing"),),
        exits=(0, 1),
        logged=True,
    ),
)


def find(name: str) -> Command | None:
    """Find a verb's entry."""
    return next((command for command in COMMANDS if command.name == name), None)


def flags(words: Sequence[str]) -> dict[str, Any] | None:
    """Read a verb that takes flags alone, such as the schedule's ``refresh --scheduled``.

    The parser says the same of these, but to load and build it takes 3 % of a small refresh's CPU.

    Args:
        words: the command line.

    Returns:
        What was found, by ``dest``; None where the parser has to look: for values, for help, for what is wrong.
    """
    command = find(words[0])
    if command is None or any(settings.get("action") != "store_true" for _, settings in command.arguments):
        return None
    known = {
        name: settings.get("dest", name.lstrip("-").replace("-", "_"))
        for names, settings in command.arguments
        for name in names
    }
    given = words[1:]
    if not known.keys() >= set(given):
        return None
    return {"verb": command.name, **dict.fromkeys(known.values(), False), **{known[word]: True for word in given}}
