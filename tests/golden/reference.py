"""Write docs/reference from what the program itself goes by: commands, settings, exit codes, JSON, the API budget.

    .cache/quick-venv/bin/python -m tests.golden.reference

does so, after a change that is meant. What a setting means to people is said here, and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from droplan_boot import settings
from droplan_boot.commands import COMMANDS, EXITS, Command
from droplan_boot.state import budget

CHECKOUT: Final = Path(__file__).parents[2]
FOLDER: Final = CHECKOUT / "docs" / "reference"
_MADE: Final = "Written by `python -m tests.golden.reference` from the program; a test compares them."

MEANINGS: Final = {
    "DO_KEY": ("API token, scope `droplet:read`; kept in `/etc/droplan/droplan.env` (0600) and nowhere else", ""),
    "DIGITALOCEAN_TOKEN": ("read where `DO_KEY` is not set", ""),
    "DIGITALOCEAN_ACCESS_TOKEN": ("read where neither of them is set", ""),
    "DO_TAG": ("only Droplets with this tag are peers; several by comma: with any of them", "all Droplets"),
    "PUBLIC": ("`true`: close the public interface too, to all but the peers' public addresses", "`false`"),
    "DROPLAN_SCOPE": (
        "`region`: Droplets of this region; `vpc`: of this VPC and those actively peered with it; `account`: all",
        "`region`",
    ),
    "DROPLAN_PEER_PORTS": (
        "what peers may reach: `everything`, `none`, or services such as `tcp/80,udp/53,tcp/8000-8100,icmp`",
        "`everything`",
    ),
    "DROPLAN_ALLOW": (
        "who else may come in, by comma or space: `SOURCE`, `SERVICE@SOURCE`, `SERVICE` ([the words](../access.md))",
        "nobody",
    ),
    "DROPLAN_ALLOW_PUBLIC": ("the same for the public network; `none` for nobody", "as `DROPLAN_ALLOW`"),
    "DROPLAN_MODE": (
        (
            "`enforce`; `observe`: nobody is shut out or let in by droplan, and `droplan blocked` names "
            "who would be shut out"
        ),
        "`enforce`",
    ),
    "DROPLAN_BACKEND": ("`auto`, `iptables` or `nftables` ([which, and why](../guard.md#where-it-stands))", "`auto`"),
    "DROPLAN_INTERVAL": (
        (
            "minutes between refreshes, 1 to 60; more where the fleet would use up its token "
            "([when](../access.md#what-it-costs-at-digitalocean))"
        ),
        "`5`",
    ),
    "DROPLAN_FAIL_CLOSED": (
        (
            "`true`: user data closes the interface before it fetches anything, and install's first "
            "refresh opens it to peers; without an answer it stays closed"
        ),
        "`false`",
    ),
    "DROPLAN_WATCH": (
        (
            "`true`: where systemd runs, let a new peer in at its second try and put back within seconds "
            "what others change"
        ),
        "`true`",
    ),
    "DROPLAN_LOCK_METADATA": (
        "`true`: only root and DigitalOcean's own agents may reach the metadata service, which shows user data",
        "`false`",
    ),
    "DROPLAN_SHARED": (
        "https address of the bucket where a fleet's publisher writes; no token then ([fleets](../scale.md))",
        "",
    ),
    "DROPLAN_SHARED_KEY": ("`ID:SECRET` that may read there", ""),
    "DROPLAN_SHARED_TRUST": ("the publisher's public keys, one or two", ""),
    "DROPLAN_METADATA_URL": ("another metadata service, for tests", "DigitalOcean's"),
    "DIGITALOCEAN_API_URL": ("another API, for tests", "DigitalOcean's"),
}


def settings_page() -> str:
    """Every setting, in the order of the settings file."""
    rows = [f"| `{name}` | {MEANINGS[name][0]} | {MEANINGS[name][1]} |" for name in settings.NAMES]
    return "\n".join(
        [
            "# Settings",
            "",
            "From the environment, else from `/etc/droplan/droplan.env`, where `install` stores",
            "them; `NAME=value`, a line each.",
            "An empty value takes a setting back to its default. In the environment of `refresh` a",
            "setting holds for that run",
            "only, and it says so. After a change in the file: `sudo droplan refresh`; `sudo droplan install` for",
            "`DROPLAN_INTERVAL` and `DROPLAN_WATCH`. " + _MADE,
            "",
            "| setting | meaning | default |",
            "|---|---|---|",
            *rows,
            "",
            "A publisher of a fleet reads `/etc/droplan/publish.env` alone: [large fleets](../scale.md#set-it-up).",
            "",
        ]
    )


def commands_page() -> str:
    """Every verb, as `droplan help` tells it."""
    shown = [command for command in COMMANDS if not command.hidden]
    return "\n".join(
        [
            "# Commands",
            "",
            "`droplan` alone is `droplan refresh`. `droplan help VERB` and `man droplan` say the",
            "same on the Droplet. All but",
            "`check`, `metrics` and `help` want root. " + _MADE,
            *(line for command in shown for line in _command(command)),
            "",
        ]
    )


def _command(command: Command) -> Iterator[str]:
    yield from ("", f"## {command.name}", "", f"{command.summary[0].upper()}{command.summary[1:]}.")
    if command.text:
        yield from ("", command.text)
    yield from ("", "```console", f"$ {command.example}", "```")
    told = [argument for argument in command.arguments if argument.settings.get("help")]
    if told:
        yield from ("", "| argument | |", "|---|---|")
        for argument in told:
            value = argument.settings.get("metavar", "")
            name = argument.names[0] if argument.names[0].startswith("-") else ""
            yield f"| `{f'{name} {value}'.strip()}` | {argument.settings['help']} |"
    own = dict(command.own)
    yield from (
        "",
        "Ends with " + ", ".join(f"{code} ({own.get(code, EXITS[code])})" for code in command.exits) + ".",
    )
    if command.files:
        yield from ("", "Files: " + ", ".join(f"`{file}`" for file in command.files) + ".")


def exits_page() -> str:
    """Every exit code."""
    return "\n".join(
        [
            "# Exit codes",
            "",
            _MADE,
            "",
            "| code | meaning | commands |",
            "|---|---|---|",
            *(
                f"| {code} | {meaning} | "
                + ", ".join(
                    f"`{one.name}`" for one in COMMANDS if code in one.exits and not one.own and not one.hidden
                )
                + " |"
                for code, meaning in EXITS.items()
            ),
            "",
            "Drift (3) goes before 5; [what 5 can mean](../problems.md). `status`, `restore` and",
            "`uninstall` never fail for a",
            "mistake in the settings. `explain` ends with 0 whichever the verdict. `check` speaks",
            "the monitoring plugins' language:",
            "0 OK, 1 warning, 2 critical, 3 unknown.",
            "",
        ]
    )


def json_page() -> str:
    """Every key that programs may read."""
    lines = ["# Keys of the JSON", "", f"From the schemas in [schemas](../schemas/README.md). {_MADE}"]
    for path in sorted((CHECKOUT / "docs" / "schemas").glob("*.json")):
        lines += ["", f"## droplan {path.stem} --json", "", "| key | type | |", "|---|---|---|"]
        lines += _keys("", json.loads(path.read_text()))
    return "\n".join([*lines, ""])


def _keys(before: str, schema: dict[str, Any]) -> Iterator[str]:
    for name, value in schema.get("properties", {}).items():
        kinds = value.get("anyOf", [value])
        kind = " or ".join(dict.fromkeys(_kind(one) for one in kinds))
        yield f"| `{before}{name}` | {kind} | {value.get('description', '').replace('|', chr(92) + '|')} |"
        for one in kinds:
            yield from _keys(f"{before}{name}.", one)
            if isinstance(one.get("items"), dict):
                yield from _keys(f"{before}{name}[].", one["items"])


def _kind(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    found = schema.get("type", "anything")
    return " or ".join(found) if isinstance(found, list) else str(found)


def budget_page() -> str:
    """What fleets of a size ask for, where every Droplet lists all of them itself."""
    wanted = settings.Settings().interval
    rows = []
    for droplets in (1, 10, 40, 100, budget.largest(wanted), 200, 201, 1000):
        each, every = budget.requests(droplets), budget.interval(droplets, wanted)
        rows.append(f"| {droplets:,} | {each} | {droplets * each * 60 // wanted:,} | {every} min |")
    return "\n".join(
        [
            "# API budget",
            "",
            f"DigitalOcean grants a token {budget.HOURLY:,} requests an hour and",
            f"{budget.BY_THE_MINUTE} a minute, to all who use it together. A refresh",
            "asks one request for each 200 Droplets and one for GPU Droplets; with",
            "`DROPLAN_SCOPE=vpc` one more, for the peerings.",
            "Where each Droplet lists all of them itself:",
            "",
            f"| Droplets | requests a refresh | requests an hour, every {wanted} minutes | it refreshes every |",
            "|---|---|---|---|",
            *rows,
            "",
            f"droplan plans with {budget.PERCENT} % of both limits, and stretches the interval where",
            "that would not do",
            "([details](../access.md#what-it-costs-at-digitalocean)); from 201 on, 5 minutes would",
            "be more than a token has at all. A",
            "[shared source](../scale.md) needs neither. A tag that is all that matters costs less.",
            "Minutes and seconds are",
            f"spread over a fleet by the Droplet's number, so that not all ask at once. {_MADE}",
            "",
        ]
    )


PAGES: Final = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "exit-codes.md": exits_page,
    "json.md": json_page,
    "api-budget.md": budget_page,
}


if __name__ == "__main__":
    for _name, _page in PAGES.items():
        (FOLDER / _name).write_text(_page())
