"""Put droplan in place on this machine, or back in place."""

from __future__ import annotations

from typing import Final

from droplan_boot import paths, settings
from droplan_boot.errors import NoAnswerError, TokenError
from droplan_boot.flow import learn
from droplan_boot.flow.learn import Learned
from droplan_boot.host import distro, lock
from droplan_boot.host.doors import Host, require_root
from droplan_boot.host.http import Http
from droplan_boot.setup import program
from droplan_boot.setup.steps import Plan, steps
from droplan_boot.state import snapshot
from droplan_boot.verbs import refresh

LOCK_S: Final = 60.0

_BEGUN: Final = b"An install began and has not ended; the schedule goes on with it.\n"


def run(host: Host, *, dry_run: bool = False) -> None:
    """Install, repair, or (``dry_run``) only say what would be done.

    Raises:
        DroplanError: a step failed. Those before it hold, and the schedule tries again.
    """
    require_root()
    values = settings.merged(host.environ, host.files)
    wanted = settings.parse(values)
    family = distro.detect().family
    http = Http()
    here = learn.where(http, wanted, host.runner)
    plan = Plan(host, values, wanted, here, family, program.image(), dry_run)
    try:
        answer: Learned | NoAnswerError = Learned(here, learn.who(http, wanted, here))
    except NoAnswerError as error:
        if isinstance(error, TokenError) and not wanted.fail_closed:
            if host.scheduled:
                refresh.failed(host, error)
            raise  # only a person can mend it, so there is nothing for the schedule to go on with
        answer = error
    if isinstance(answer, Learned):
        refresh.spare_session(host, answer)
    elif _closes(plan):
        refresh.spare_session(host, Learned(here, learn.nobody(wanted, here)))
    if dry_run:
        for step in steps(plan):
            problem = step.missing()
            host.log.say(f"{step.what}: {f'{problem}, would be put in place' if problem else 'in place'}")
        return
    with lock.held(host.files.real(paths.LOCK), wait=LOCK_S):
        _install(plan, answer)


def _install(plan: Plan, answer: Learned | NoAnswerError) -> None:
    host = plan.host
    host.files.write(paths.UNFINISHED, _BEGUN, 0o600)
    for step in steps(plan):
        problem = step.missing()
        if problem:
            step.put()
        host.log.say(f"{step.what}: {f'put in place (was {problem})' if problem else 'in place'}")
    if isinstance(answer, NoAnswerError):
        if _closes(plan):
            refresh.close(host, plan.settings, plan.here)
            answer = answer.closed()
        refresh.failed(host, answer)
        raise answer
    refresh.now(host, plan.settings, answer)
    host.files.remove(paths.UNFINISHED)
    host.files.remove(paths.BOOTSTRAP_FAILED)


def _closes(plan: Plan) -> bool:
    """Whether to close the interface for want of an answer: only if asked to, and if there was none before.

    An earlier answer of another Droplet, whose image we run, does not count.
    """
    found = snapshot.load(plan.host.files)
    return plan.settings.fail_closed and (found is None or found.droplet_id != plan.here.machine.droplet_id)
