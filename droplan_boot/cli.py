"""Arguments in, exit code out; nothing else. Verbs are imported when they are called: a refresh starts lean."""

from __future__ import annotations

import os
import sys

from droplan_boot import __version__
from droplan_boot.errors import EXIT_DONE, DroplanError

TYPE_CHECKING = False  # typing's own costs a fifth of `droplan --version`
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from droplan_boot.commands import Command
    from droplan_boot.host.doors import Host
    from droplan_boot.host.files import Files
    from droplan_boot.host.log import Log

_NOT_THE_VERBS = ("verb", "scheduled", "force", "unattended")
"""What the parser finds that is no argument of a verb's ``run``: the host holds it."""

_TOKENS = ("DO_KEY", "DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN", "DROPLAN_SHARED_KEY")

_DETAILS = 1000
"""Of what a failed command said, the log keeps so many lines, the last ones."""


def main() -> int:
    """Run the command line; return the exit code (README, "Exit codes")."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"droplan {__version__}\n")
        return EXIT_DONE
    _survive_any_terminal()
    words = sys.argv[1:] or ["refresh"]
    if words[0] == "help":
        return _help(words[1:])
    from droplan_boot import commands

    found = commands.flags(words)
    if found is None:
        try:
            found = vars(_parse(words))
        except SystemExit as ended:
            if ended.code and "--scheduled" in words:
                _schedule_is_wrong(words)
            raise
    command = commands.find(found["verb"] or "refresh")
    assert command, "the parser knows those of the table alone"  # noqa: S101 (tells mypy)
    return _run(command, found)


def _run(command: Command, found: dict[str, Any]) -> int:
    from importlib import import_module

    from droplan_boot.host.doors import Host
    from droplan_boot.host.files import Files

    os.umask(0o022)
    _keep_no_core()
    files = Files()
    scheduled = found.get("scheduled", False) or found.get("repair", False)
    host = Host(
        files=files,
        log=_log(files, scheduled=scheduled, keep=command.logged and not found.get("dry_run", False)),
        environ=dict(os.environ),
        scheduled=scheduled,
        unattended=found.get("unattended", False),
        force=found.get("force", False),
    )
    arguments = {name: value for name, value in found.items() if name not in _NOT_THE_VERBS}
    started = host.clock.time()
    if command.name in ("refresh", "install"):
        # Before our own modules: where the heap ends when urllib3 compiles its patterns decides whether CPython gives
        # an arena back and takes it again 3,000 times (strace: munmap), an eighth of a small run's CPU.
        from droplan_boot.host import lean  # noqa: F401
    try:
        code = import_module(f"droplan_boot.verbs.{command.name}").run(host, **arguments)
    except DroplanError as error:
        return _failed(host, command.name, error, started)
    except KeyboardInterrupt:
        host.log.complain(f"{command.name}: interrupted")
        return 130
    except Exception as error:  # whatever it is, whoever watches the schedule is to see it
        return _failed(host, command.name, _unexpected(host, error), started)
    return EXIT_DONE if code is None else int(code)


def _failed(host: Host, verb: str, error: DroplanError, started: float) -> int:
    """Say what went wrong, keep what failed commands said, and see that the report of a scheduled run says it too."""
    from droplan_boot.errors import said

    host.log.complain(f"{verb}: {error}")
    for line in said(error)[-_DETAILS:]:
        host.log.detail(line)
    if host.scheduled:
        from droplan_boot.flow import reporting
        from droplan_boot.state import report

        last = report.load(host.files)
        if last is None or (last.result, last.error) != ("failed", str(error)) or last.time < started:
            reporting.failed(host, error, host.clock.time() - started)
    return error.exit_code


def _unexpected(host: Host, error: Exception) -> DroplanError:
    """Make a sentence of what nobody thought of; the log gets where it happened. No token is in either."""
    import re
    import traceback

    secrets = [value for name, value in host.environ.items() if name in _TOKENS and value]
    pattern = "|".join([r"\bdo[a-z]_v1_\w+", *map(re.escape, secrets)])
    for line in "".join(traceback.format_exception(type(error), error, error.__traceback__)).splitlines():
        host.log.detail(re.sub(pattern, "(token)", line))
    words = re.sub(pattern, "(token)", str(error)) or "no more is said"
    return DroplanError(
        f"a mistake in droplan ({type(error).__name__}: {words:.200}): run `droplan status` to see how things stand, "
        "and report it with the end of /var/log/droplan.log"
    )


def _schedule_is_wrong(words: list[str]) -> None:
    """Write into log and report that the schedule passes what nobody understands: no verb runs that would."""
    from droplan_boot.errors import UsageError
    from droplan_boot.host.doors import Host
    from droplan_boot.host.files import Files

    os.umask(0o022)
    files = Files()
    host = Host(files=files, log=_log(files, scheduled=True, keep=True), scheduled=True)
    mistake = UsageError(f"the schedule passes what droplan does not know ({' '.join(words)}): run `droplan install`")
    _failed(host, "droplan", mistake, host.clock.time())


def _log(files: Files, *, scheduled: bool, keep: bool) -> Log:
    """Choose where a run's lines go: the schedule's to the log, a person's to the terminal and, if kept, to both."""
    from droplan_boot.host.log import Both, LogFile, Named, Terminal

    if scheduled:
        return Named(LogFile(files), files, schedule=True)
    both = keep and os.geteuid() == 0
    return Named(Both(Terminal(), LogFile(files, aloud=False)) if both else Terminal(), files)


def _survive_any_terminal() -> None:
    """Have what a terminal cannot show spelled out: the names of Droplets and tags are anything, terminals ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _keep_no_core() -> None:
    """Have no core written should Python crash: the token would be in it, in a file that others may read."""
    import resource

    # The soft limit alone, so that a service we start may raise its own.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _help(words: list[str]) -> int:
    """Do ``droplan help [VERB]``, which is ``droplan [VERB] --help``."""
    _parse([*words, "--help"])
    return EXIT_DONE


def _parse(words: list[str]) -> argparse.Namespace:
    """Parse a command line. Of a verb that there is not argparse would list all others, hidden ones too."""
    from droplan_boot.commands import find

    if not words[0].startswith("-") and find(words[0]) is None:
        parser().error(f"there is no verb {words[0]!r}: `droplan --help` lists them")
    return parser(words[0]).parse_args(words)


def parser(only: str = "") -> argparse.ArgumentParser:
    """Make the parser; man page and completions are made from it too.

    Args:
        only: the verb that is called: the others are left out, for each costs time. "" or no verb for all.
    """
    import argparse

    from droplan_boot.commands import COMMANDS, find

    class Paragraphs(argparse.HelpFormatter):
        """Wraps paragraphs of one line, and leaves lists as they are."""

        def _fill_text(self, text: str, width: int, indent: str) -> str:
            parts = text.split("\n\n")
            wrap = super()._fill_text
            return "\n\n".join(part if "\n" in part else wrap(part, width, indent) for part in parts)

    whole = argparse.ArgumentParser(
        prog="droplan",
        description="Close this Droplet's private network interface to everyone but the account's own Droplets.",
        epilog="Without a verb, droplan refreshes. `droplan help VERB` says more about one, with an example. "
        "Settings come from the environment, then from /etc/droplan/droplan.env.",
        formatter_class=Paragraphs,
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"droplan {__version__}", help="tell the version")
    verbs = whole.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    called = find(only)
    for command in (called,) if called else COMMANDS:
        listed: dict[str, Any] = {} if command.hidden else {"help": command.summary}
        verb = verbs.add_parser(
            command.name,
            description="\n\n".join(
                filter(None, (f"{command.summary[0].upper()}{command.summary[1:]}.", command.text))
            ),
            epilog=_epilog(command),
            formatter_class=Paragraphs,
            allow_abbrev=False,
            **listed,
        )
        for names, settings in command.arguments:
            verb.add_argument(*names, **{"help": argparse.SUPPRESS, **settings})
    if not called:
        helper = verbs.add_parser("help", help="say more about a verb", allow_abbrev=False)
        helper.add_argument(
            "about", metavar="VERB", nargs="?", choices=[command.name for command in COMMANDS if not command.hidden]
        )
    return whole


def _epilog(command: Command) -> str:
    from droplan_boot.commands import EXITS

    words = {**EXITS, **dict(command.own)}
    parts = [
        f"example:\n  {command.example}",
        "\n".join(["exit codes:", *(f"  {code}  {words[code]}" for code in command.exits)]),
    ]
    if command.files:
        parts.append("\n".join(["files:", *(f"  {name}" for name in command.files)]))
    return "\n\n".join(parts)
