"""Arguments in, exit code out; nothing else. Verbs are imported when they are called: a refresh starts lean."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from droplan_boot import __version__
from droplan_boot.errors import EXIT_DONE, DroplanError

if TYPE_CHECKING:
    import argparse

    from droplan_boot.host.doors import Host


def main() -> int:
    """Run the command line; return the exit code (README, "Exit codes")."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"droplan {__version__}\n")
        return EXIT_DONE
    options = _parse(sys.argv[1:])
    from droplan_boot.host.doors import Host
    from droplan_boot.host.files import Files
    from droplan_boot.host.log import LogFile, Terminal

    os.umask(0o022)
    _keep_no_core()
    scheduled = getattr(options, "scheduled", False) or getattr(options, "repair", False)
    files = Files()
    host = Host(
        files=files,
        log=LogFile(files) if scheduled else Terminal(),
        environ=dict(os.environ),
        scheduled=scheduled,
        force=getattr(options, "force", False),
    )
    try:
        return _verb(options, host)
    except DroplanError as error:
        host.log.complain(f"{options.verb}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        host.log.complain(f"{options.verb}: interrupted")
        return 130


def _keep_no_core() -> None:
    """Have no core written should Python crash: the token would be in it, in a file that others may read."""
    import resource

    # The soft limit alone, so that a service we start may raise its own.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _parse(arguments: list[str]) -> argparse.Namespace:
    import argparse

    parser = argparse.ArgumentParser(
        prog="droplan",
        description="Close this Droplet's private network interface to everyone but the account's own Droplets.",
        epilog="Without a verb, droplan refreshes. Settings: environment, then /etc/droplan/droplan.env.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"droplan {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="verb")
    for name, text in (
        ("refresh", "ask DigitalOcean who the peers are, and write the firewall"),
        ("install", "put droplan in place on this machine, or repair it"),
    ):
        verb = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
        verb.add_argument("--scheduled", action="store_true", help=argparse.SUPPRESS)  # what cron passes
        verb.add_argument("--force", action="store_true", help="go on even if that cuts your own SSH session")
        if name == "install":
            verb.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    status = verbs.add_parser("status", help="tell how things stand; exit 3 when rules drifted", allow_abbrev=False)
    status.add_argument("--json", action="store_true", help="for programs")
    restore = verbs.add_parser(
        "restore", help="put the last good answer's rules back, without any network", allow_abbrev=False
    )
    restore.add_argument("--repair", action="store_true", help=argparse.SUPPRESS)  # what the watcher passes
    restore.add_argument("--links", action="store_true", help=argparse.SUPPRESS)
    blocked = verbs.add_parser("blocked", help="tell who was shut out", allow_abbrev=False)
    blocked.add_argument("--since", metavar="TIME", default="", help="only whom was seen within it: 30s, 10m, 1h, 7d")
    blocked.add_argument("--json", action="store_true", help="for programs")
    verbs.add_parser(
        "watch",
        help="let new peers in at once and repair what others change, until stopped; a service runs it",
        allow_abbrev=False,
    )
    publish = verbs.add_parser("publish", help="list the Droplets for a whole fleet, and sign it", allow_abbrev=False)
    publish.add_argument("--once", action="store_true", help="publish what is there now, and end")
    fleet = verbs.add_parser("fleet", help="tell how a fleet with a shared source is", allow_abbrev=False)
    parts = fleet.add_subparsers(dest="part", metavar="key FILE")
    key = parts.add_parser("key", help="write a private key to FILE and print the public one", allow_abbrev=False)
    key.add_argument("file", metavar="FILE")
    verbs.add_parser("poll")  # the watcher's child
    verbs.add_parser("uninstall", help="take droplan off this machine", allow_abbrev=False)
    return parser.parse_args(arguments or ["refresh"])


def _verb(options: argparse.Namespace, host: Host) -> int:
    if options.verb == "refresh":
        # Before our own modules: where the heap ends when urllib3 compiles its patterns decides whether CPython gives
        # an arena back and takes it again 3,000 times (strace: munmap), an eighth of a small run's CPU.
        from droplan_boot.host import lean  # noqa: F401
        from droplan_boot.verbs import refresh

        refresh.run(host)
    elif options.verb == "install":
        from droplan_boot.verbs import install

        install.run(host, dry_run=options.dry_run)
    elif options.verb == "status":
        from droplan_boot.verbs import status

        return status.run(host, as_json=options.json)
    elif options.verb == "publish":
        from droplan_boot.verbs import publish

        publish.run(host, once=options.once)
    elif options.verb == "fleet":
        from pathlib import Path

        from droplan_boot.verbs import fleet

        if options.part == "key":
            fleet.key(host, Path(options.file))
        else:
            return fleet.run(host)
    elif options.verb == "poll":
        from droplan_boot.verbs import poll

        poll.run(host)
    elif options.verb == "restore":
        from droplan_boot.verbs import restore

        return restore.run(host, repair=options.repair, links=options.links)
    elif options.verb == "blocked":
        from droplan_boot.verbs import blocked

        blocked.run(host, since=options.since, as_json=options.json)
    elif options.verb == "watch":
        from droplan_boot.verbs import watch

        watch.run(host)
    elif options.verb == "uninstall":
        from droplan_boot.verbs import uninstall

        uninstall.run(host)
    return EXIT_DONE
