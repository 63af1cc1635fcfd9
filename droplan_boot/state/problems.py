"""All that can be wrong while droplan runs, in one table: what `status` says of each, what to do, and its exit code.

A new problem is a new row here, and a call of :func:`problem` with its code where it is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from droplan_boot.errors import EXIT_ATTENTION, EXIT_DONE, EXIT_DRIFT


class Kind(NamedTuple):
    """A kind of problem.

    Args:
        code: what ``--json`` calls it: a contract.
        verdict: the word that begins status when this is the worst problem; "" where all is well all the same.
        sentence: what is wrong, with ``{names}`` of what is known only then.
        remedy: what to do about it, with names likewise.
        exit_code: of ``status``.
    """

    code: str
    verdict: str
    sentence: str
    remedy: str
    exit_code: int


KINDS: Final = (  # the worst first: the first that is found gives the verdict
    Kind(
        "drift", "DRIFT", "the rules are not what the last answer asks: {what}", "run `droplan refresh`", EXIT_DRIFT
    ),
    Kind(
        "not-installed",
        "NOT INSTALLED",
        "droplan is not installed here: nothing keeps the rules up to date, if there are any",
        "run `sudo python3 droplan.pyz install`",
        EXIT_ATTENTION,
    ),
    Kind(
        "unknown-snapshot",
        "BLIND",
        "the last answer is of format {version}, which a later droplan wrote and this one does not read",
        "install that droplan again, or run `droplan refresh`",
        EXIT_ATTENTION,
    ),
    Kind(
        "unanswered",
        "BLIND",
        "no answer has named the peers yet: closed to all but DROPLAN_ALLOW",
        "run `droplan refresh`, and see what it says",
        EXIT_ATTENTION,
    ),
    Kind(
        "observing",
        "OBSERVING",
        "DROPLAN_MODE=observe: nobody is shut out",
        "see `droplan blocked`; `sudo DROPLAN_MODE=enforce droplan install` says whom it cuts, and enforces",
        EXIT_ATTENTION,
    ),
    Kind(
        "cards",
        "NOT GUARDED",
        "the rules guard {card}, but {why}: who comes in by another card is not judged",
        "run `droplan refresh`, which finds the card again; `ip link` shows what became of it",
        EXIT_ATTENTION,
    ),
    Kind(
        "stale",
        "STALE",
        "the last good answer is {age} old: Droplets that were made or destroyed since are not known",
        "see the last refresh; run `droplan refresh`",
        EXIT_ATTENTION,
    ),
    Kind(
        "failed",
        "FAILED",
        "the last refresh failed: {error}",
        "if the next one fails too, do what it says; /var/log/droplan.log has the rest",
        EXIT_ATTENTION,
    ),
    Kind("fleet", "BLIND", "{what}", "see `droplan fleet`, and run `droplan refresh`", EXIT_ATTENTION),
    Kind(
        "settings-mistake",
        "FAILED",
        "{mistake}",
        "mend /etc/droplan/droplan.env; until then the rules stay as they are",
        EXIT_ATTENTION,
    ),
    Kind(
        "unscheduled",
        "UNSCHEDULED",
        "{what}, so nothing refreshes",
        "run `droplan install`, which puts it back",
        EXIT_ATTENTION,
    ),
    Kind(
        "cron-missing",
        "UNSCHEDULED",
        "no cron is installed, so nothing refreshes",
        "run `droplan install`, which installs one",
        EXIT_ATTENTION,
    ),
    Kind(
        "cron-disabled",
        "UNSCHEDULED",
        "{name} is {state}, so nothing refreshes after the next boot",
        "run `droplan install`, or `systemctl unmask {name}; systemctl enable --now {name}`",
        EXIT_ATTENTION,
    ),
    Kind(
        "cron-stopped",
        "UNSCHEDULED",
        "{name} is not running, so nothing refreshes",
        "run `droplan install`, which starts it, and see why it ended",
        EXIT_ATTENTION,
    ),
    Kind(
        "root-expired",
        "UNSCHEDULED",
        "root's {what}, and PAM refuses to run root's cron jobs, droplan's among them",
        "set a new password (`passwd root`) or take its age away (`chage -d $(date +%F) -M -1 -E -1 root`)",
        EXIT_ATTENTION,
    ),
    Kind(
        "unwatched",
        "NOT WATCHING",
        "{name} is {what}: a new peer waits for the schedule, and nobody notes who is shut out",
        "run `droplan install`, which starts it; with DROPLAN_WATCH=false before it, droplan does without",
        EXIT_ATTENTION,
    ),
    Kind(
        "no-loader",
        "NOT PERSISTENT",
        "{what}: the next boot comes up without our rules",
        "run `droplan install`, which puts it in place",
        EXIT_ATTENTION,
    ),
    Kind(
        "saved-other",
        "NOT PERSISTENT",
        "{path}, which the next boot loads, is not as droplan saved it: {what}",
        "run `droplan refresh`, which saves our rules into it again and leaves the rest of it",
        EXIT_ATTENTION,
    ),
    Kind(
        "nftables-flush",
        "NOT PERSISTENT",
        "{path} flushes all rules, ours too, whenever {service} starts or reloads, and does not include ours",
        'run `droplan install`, which adds `include "/etc/droplan/*.nft"` at its end (add it yourself where that is '
        "a link)",
        EXIT_ATTENTION,
    ),
    Kind(
        "firewalld-refuses",
        "PEERS CUT",
        "firewalld's rules ({table}) refuse what peers send by {card}",
        "`firewall-cmd --permanent --zone=trusted --change-interface={card} && firewall-cmd --reload`: droplan goes "
        "on shutting out everyone but peers there",
        EXIT_ATTENTION,
    ),
    Kind(
        "table-refuses",
        "PEERS CUT",
        "another program's table ({table}, chain {chain}) refuses what peers send by {card}",
        'let that chain begin with `iifname "{card}" accept`, in {where}; droplan goes on shutting out everyone '
        "but peers there",
        EXIT_ATTENTION,
    ),
    Kind(
        "settings-unapplied",
        "",
        "/etc/droplan/droplan.env was changed after the last refresh, which does not know of it",
        "run `droplan refresh` (`droplan install` for DROPLAN_INTERVAL)",
        EXIT_DONE,
    ),
    Kind(
        "quarrel",
        "QUARREL",
        "{program} undoes our rules each time, so the watcher leaves them until the next refresh",
        "see what it does to the firewall, and stop that",
        EXIT_ATTENTION,
    ),
    Kind(
        "cron-missed",
        "UNSCHEDULED",
        "cron has missed its refreshes, and the watcher runs them",
        "see that cron runs and is let run root's jobs (`journalctl -t CRON`)",
        EXIT_ATTENTION,
    ),
    Kind(
        "bootstrap-failed",
        "",
        "the bootstrap failed: {error}",
        "the timer droplan-bootstrap tries again, or run `droplan install`",
        EXIT_DONE,
    ),
    Kind(
        "unfinished",
        "",
        "an install has not ended",
        "the schedule goes on with it, or run `droplan install` now",
        EXIT_DONE,
    ),
    Kind("name", "", "{what}", "see DROPLAN_ALLOW and DO_TAG in /etc/droplan/droplan.env", EXIT_DONE),
    Kind(
        "guests",
        "",
        "{names}: what is behind is in the private network by itself, and passes this machine's firewall by",
        "run droplan inside, or give it a network that this machine routes",
        EXIT_DONE,
    ),
    Kind("stray", "DRIFT", "rules of ours also stand in {backend}", "run `droplan refresh`", EXIT_DRIFT),
)

_BY_CODE: Final = {kind.code: kind for kind in KINDS}
_RANK: Final = {kind.code: rank for rank, kind in enumerate(KINDS)}


@dataclass(frozen=True)
class Problem:
    """Something that is wrong.

    Args:
        code: of its kind.
        sentence: what is wrong.
        remedy: what to do about it.
    """

    code: str
    sentence: str
    remedy: str

    @property
    def verdict(self) -> str:
        """The word that begins status when it is the worst; "" where all is well all the same."""
        return _BY_CODE[self.code].verdict

    @property
    def exit_code(self) -> int:
        """What ``status`` ends with when it is the worst."""
        return _BY_CODE[self.code].exit_code


def problem(code: str, **words: object) -> Problem:
    """Make a problem of a kind.

    Args:
        code: of its kind.
        words: what its sentence and remedy name.
    """
    kind = _BY_CODE[code]
    return Problem(code, kind.sentence.format(**words), kind.remedy.format(**words))


def worst(found: tuple[Problem, ...]) -> Problem | None:
    """Find the one that gives the verdict; None where all is well."""
    return min((one for one in found if one.verdict), key=lambda one: _RANK[one.code], default=None)


def exit_code(found: tuple[Problem, ...]) -> int:
    """Decide the exit code: drift goes before all else."""
    codes = {one.exit_code for one in found}
    return EXIT_DRIFT if EXIT_DRIFT in codes else max(codes, default=EXIT_DONE)
