"""Put droplan in place on this machine, or back in place."""

from __future__ import annotations

from typing import Final

from droplan_boot import paths, settings
from droplan_boot.errors import NoAnswerError, TokenError, UsageError
from droplan_boot.flow import enforce, learn, refreshing, reporting
from droplan_boot.flow.learn import Learned
from droplan_boot.host import distro, lock
from droplan_boot.host.doors import Host
from droplan_boot.setup import program, tokens
from droplan_boot.setup.steps import Installation, steps
from droplan_boot.state import snapshot

LOCK_S: Final = 60.0
FIRST_LIST_S: Final = 120.0
"""How long the first install waits for a fleet's first list: its publisher may be booting too, or be this Droplet."""

_LOOK_S: Final = 5.0

_TOKENLESS: Final = (
    "no API token is set: run this on a terminal, which asks for it, or add `--token-file FILE`, where `-` is stdin "
    "(the setting is DO_KEY)"
)

_BEGUN: Final = b"An install began and has not ended; the schedule goes on with it.\n"


def run(host: Host, *, dry_run: bool = False, token_file: str | None = None) -> None:
    """Install, repair, or (``dry_run``) only say what would be done.

    Args:
        host: this machine.
        dry_run: say what would change, and change nothing.
        token_file: where the API token is; ``-`` for stdin, None for the settings, or for whom is at the terminal.

    Raises:
        DroplanError: a step failed. Those before it hold, and the schedule tries again.
    """
    host.require_root()
    values = settings.merged(host.environ, host.files)
    if token_file is not None:
        values["DO_KEY"] = tokens.from_file(host, token_file)
    elif "DO_KEY" not in values and "DROPLAN_SHARED" not in values:
        asked = tokens.ask(host)
        if asked:
            values["DO_KEY"] = asked
    wanted = settings.parse(values)
    if not (wanted.token or wanted.shared):
        raise UsageError(_TOKENLESS)
    family = distro.family(host.files)
    http = host.session(host.clock)
    here = learn.where(host, http, wanted)
    installation = Installation(host, values, wanted, here, family, program.image(host), dry_run)
    try:
        answer: Learned | NoAnswerError = learn.who(host, http, wanted, here)
    except NoAnswerError as error:
        if isinstance(error, TokenError) and (wanted.observe or not wanted.fail_closed):
            if host.scheduled:
                reporting.failed(host, error)
            raise  # only a person can mend it, so there is nothing for the schedule to go on with
        answer = error
    if dry_run:
        _foretell(installation, answer)
        return
    if isinstance(answer, Learned):
        refreshing.warn(host, answer, snapshot.enforced(host.files))
        refreshing.spare(host, wanted, answer)
    elif _closes(installation):
        refreshing.spare_sessions(host, Learned(here, learn.nobody(wanted, here)))
    begun = host.scheduled and host.files.exists(paths.UNFINISHED)
    with lock.held(host.files.real(paths.LOCK), wait=LOCK_S):
        if begun and not host.files.exists(paths.UNFINISHED):
            host.log.say("The install that was to be ended has ended, or droplan was uninstalled: nothing was done")
            return
        _install(installation, answer)


def _foretell(installation: Installation, answer: Learned | NoAnswerError) -> None:
    """Say what would change in who gets in, then what would change on the machine."""
    from droplan_boot.flow import foretell

    host, wanted = installation.host, installation.settings
    if isinstance(answer, Learned):
        for line in refreshing.objections(host, wanted, answer):
            host.log.say(f"Would be refused without --force: {line}")
        for line in foretell.access(host, answer):
            host.log.say(line)
    else:
        closes = "closed to all but DROPLAN_ALLOW until it is known" if _closes(installation) else "as now"
        host.log.say(f"Who would come in is not known ({answer.why}): it would stay {closes}")
    for step in steps(installation):
        problem = step.missing()
        host.log.say(f"{step.what}: {f'would be {_done(problem)}' if problem else 'unchanged'}")
    if isinstance(answer, Learned):
        for line in enforce.differences(host, wanted, answer.policy):
            host.log.say(f"rules: would be written ({line})")


def _done(problem: str) -> str:
    """Say what is done about a problem of a step: what is missing is made, what is wrong is mended."""
    whole = {"missing": "created", "unknown until tried": "tried"}.get(problem)
    if whole:
        return whole
    packages = problem.removeprefix("missing ")
    return f"fixed (was {problem})" if packages == problem else f"installed ({packages})"


def _install(installation: Installation, answer: Learned | NoAnswerError) -> None:
    host = installation.host
    host.files.write(paths.UNFINISHED, _BEGUN, 0o600)
    for step in steps(installation):
        problem = step.missing()
        if problem:
            step.put()
            host.log.say(f"{step.what}: {_done(problem)}")
        else:
            host.log.show(f"{step.what}: unchanged")
    if isinstance(answer, NoAnswerError):
        closes, first = _closes(installation), _first(installation)
        if closes:
            enforce.closed(host, installation.settings, installation.here)
        if installation.settings.shared and first and not host.scheduled:
            answer = _awaited(installation, answer)
        if isinstance(answer, NoAnswerError):
            answer = answer.closed() if closes else answer
            reporting.failed(host, answer)
            raise answer
    refreshing.now(host, installation.settings, answer)
    host.files.remove(paths.UNFINISHED)
    host.files.remove(paths.BOOTSTRAP_FAILED)


def _awaited(installation: Installation, answer: NoAnswerError) -> Learned | NoAnswerError:
    """Look again for a fleet's first list, for as long as its publisher may take to boot.

    Raises:
        RefusedError: it is there, and would do harm that a person did not ask for.
    """
    host = installation.host
    host.log.say(f"No list yet ({answer.why}): looking again for {FIRST_LIST_S:.0f} s")
    end = host.clock.monotonic() + FIRST_LIST_S
    while host.clock.monotonic() < end:
        host.clock.sleep(_LOOK_S)
        try:
            found = learn.who(host, host.session(host.clock), installation.settings, installation.here)
        except NoAnswerError as error:
            answer = error
        else:
            refreshing.spare(host, installation.settings, found)
            return found
    return answer


def _closes(installation: Installation) -> bool:
    """Whether to close the interface for want of an answer: only if asked to, and if there was none before."""
    return installation.settings.fail_closed and not installation.settings.observe and _first(installation)


def _first(installation: Installation) -> bool:
    """Whether there was no answer before; one of another Droplet, whose image we run, does not count."""
    found = snapshot.load(installation.host.files)
    return found is None or found.droplet_id != installation.here.metadata.droplet_id
