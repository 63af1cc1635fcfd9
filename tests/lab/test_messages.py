"""A mistake of the user's gets one sentence that says what to do, and the rules stay byte for byte as they were."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from _pytest.mark import ParameterSet  # pytest.param() returns it, and pytest names it nowhere else

from tests.bed import GONE, Fault, Lab
from tests.bed.program import DOWNLOADED, PROGRAM, SETTINGS, SNAPSHOT, Done, Program, sentence

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
METADATA = "/metadata/v1.json"


@dataclass(frozen=True)
class Mistake:
    """What is wrong, and what is said about it.

    Attributes:
        words: these are in the sentence: what is wrong, and what to do.
        code: the exit code.
        environment: settings of the run; TOKEN stands for the account's token.
        settings: what the settings file holds, if it holds something else than usual; TOKEN alike.
        faults: what goes wrong at DigitalOcean.
        prefix: a command that runs the program.
    """

    words: tuple[str, ...]
    code: int
    environment: Mapping[str, str] = field(default_factory=dict)
    settings: str | None = None
    faults: tuple[Fault, ...] = ()
    prefix: tuple[str, ...] = ()


MISTAKES = {
    "no token": Mistake(("no API token is set", "DO_KEY"), 2, settings=""),
    "an empty token": Mistake(("no API token is set", "DO_KEY"), 2, settings="DO_KEY=\n"),
    "a wrong token": Mistake(("refuses the token", "make a token"), 1, {"DO_KEY": "dop_v1_" + "f" * 64}),
    "a token with a blank in it": Mistake(("DO_KEY is no API token", "paste it again"), 2, {"DO_KEY": "dop v1"}),
    "a token that may not list Droplets": Mistake(
        ("403", "droplet:read"), 1, faults=(Fault(status=403, body='{"id": "Forbidden", "message": "no"}'),)
    ),
    "not root": Mistake(("must run as root", "sudo"), 1, prefix=NOBODY),
    "no metadata service": Mistake(
        ("DigitalOcean Droplets only",), 1, faults=(Fault(service="metadata", status=404, body="not found"),)
    ),
    "another cloud's metadata service": Mistake(
        ("DigitalOcean Droplets only",), 1, faults=(Fault(service="metadata", status=200, body="ami-id\nhostname"),)
    ),
    "no private interface": Mistake(
        ("no private interface", "VPC"), 1, faults=(Fault(service="metadata", patch={"/interfaces/private": GONE}),)
    ),
    "an empty list of private interfaces": Mistake(
        ("no private interface", "VPC"), 1, faults=(Fault(service="metadata", patch={"/interfaces/private": []}),)
    ),
    "a private interface that this machine does not have": Mistake(
        ("no interface of this machine", "02:00:00:00:00:99"),
        1,
        faults=(
            Fault(
                service="metadata",
                patch={
                    "/interfaces/private/0/mac": "02:00:00:00:00:99",
                    "/interfaces/private/0/ipv4/ip_address": "10.132.0.99",
                },
            ),
        ),
    ),
    "no public interface though PUBLIC is set": Mistake(
        ("no public interface", "PUBLIC"),
        1,
        {"PUBLIC": "true"},
        faults=(Fault(service="metadata", patch={"/interfaces/public": GONE}),),
    ),
    "an unknown setting in the environment": Mistake(
        ("unknown setting DROPLAN_SCOPES", "did you mean DROPLAN_SCOPE?"), 2, {"DROPLAN_SCOPES": "vpc"}
    ),
    "an unknown setting in the file": Mistake(
        ("unknown setting DO_TAGS", "did you mean DO_TAG?"), 2, settings="DO_KEY=TOKEN\nDO_TAGS=web\n"
    ),
    "a line that is no setting": Mistake(("line 2", "NAME=value"), 2, settings="DO_KEY=TOKEN\nexport\n"),
    "an unknown scope": Mistake(("DROPLAN_SCOPE=world", "region, vpc or account"), 2, {"DROPLAN_SCOPE": "world"}),
    "an unknown backend": Mistake(("DROPLAN_BACKEND=pf", "auto, iptables or nftables"), 2, {"DROPLAN_BACKEND": "pf"}),
    "neither true nor false": Mistake(("PUBLIC=yes", "neither true nor false"), 2, {"PUBLIC": "yes"}),
    "a tag that is none": Mistake(("DO_TAG=a b", "no tag"), 2, {"DO_TAG": "a b"}),
    "no minutes": Mistake(("DROPLAN_INTERVAL=0", "from 1 to 60"), 2, {"DROPLAN_INTERVAL": "0"}),
    "no address": Mistake(("10.0.0/8", "10.0.0.0/24"), 2, {"DROPLAN_ALLOW": "10.0.0/8"}),
    "a host for a network": Mistake(("10.1.2.3/8", "write 10.0.0.0/8"), 2, {"DROPLAN_ALLOW": "10.1.2.3/8"}),
    "everyone allowed": Mistake(("would let everyone in",), 2, {"DROPLAN_ALLOW": "0.0.0.0/0"}),
    "no port": Mistake(("tcp/99999", "from 1 to 65535"), 2, {"DROPLAN_ALLOW": "tcp/99999"}),
    "an API without TLS": Mistake(
        ("DIGITALOCEAN_API_URL", "https"), 2, {"DIGITALOCEAN_API_URL": "http://api.digitalocean.com"}
    ),
}


def on_a_fresh_droplet() -> Iterator[ParameterSet]:
    """Those mistakes that need no settings file; the others' settings come from the environment."""
    for name, mistake in MISTAKES.items():
        if mistake.settings is None:
            environment = {"DO_KEY": "TOKEN", **mistake.environment}
            yield pytest.param(dataclasses.replace(mistake, environment=environment), id=name)
        elif "TOKEN" not in mistake.settings:
            yield pytest.param(mistake, id=name)


# No rule is written here, and no sentence differs: legacy tables tell the same at night.
@pytest.fixture(scope="module", params=["nft", pytest.param("legacy", marks=pytest.mark.nightly)])
def installed(request: pytest.FixtureRequest) -> Iterator[Program]:
    with Lab(request.param) as lab:
        program = Program(lab)
        program.install_for_many()
        program.reset()
        yield program


@pytest.fixture
def program(installed: Program) -> Iterator[Program]:
    settings = installed.read(SETTINGS)
    yield installed
    installed.droplet.path(SETTINGS).write_text(settings)
    installed.lab.do.clear_faults()


@pytest.fixture(scope="module")
def fresh() -> Iterator[Program]:
    with Lab() as lab:
        yield Program(lab)


def commit(program: Program, mistake: Mistake, *command: str) -> Done:
    """Make the mistake."""
    token = program.lab.token
    program.lab.do.fault(*mistake.faults)
    environment = {name: value.replace("TOKEN", token) for name, value in mistake.environment.items()}
    return program.droplet.run([*mistake.prefix, *command], env=environment, check=False)


@pytest.mark.parametrize("mistake", [pytest.param(mistake, id=name) for name, mistake in MISTAKES.items()])
@pytest.mark.parametrize("verb", ["refresh", "install"])
def test_a_mistake_gets_one_sentence_and_changes_no_rule(program: Program, mistake: Mistake, verb: str) -> None:
    if mistake.settings is not None:
        program.droplet.path(SETTINGS).write_text(mistake.settings.replace("TOKEN", program.lab.token))
    settings = program.read(SETTINGS)
    before = program.rules(), program.read(SNAPSHOT)

    done = commit(program, mistake, PROGRAM, verb)

    said = sentence(done)
    assert done.returncode == mistake.code, said
    assert [word for word in mistake.words if word not in said] == [], said
    assert program.lab.token not in done.stdout + done.stderr
    assert (program.rules(), program.read(SNAPSHOT)) == before
    assert program.read(SETTINGS) == settings


@pytest.mark.parametrize("mistake", list(on_a_fresh_droplet()))
def test_on_a_fresh_droplet_a_mistake_leaves_nothing_behind(fresh: Program, mistake: Mistake) -> None:
    done = commit(fresh, mistake, "/usr/bin/python3", DOWNLOADED, "install")
    fresh.lab.do.clear_faults()
    said = sentence(done)
    assert done.returncode == mistake.code, said
    assert [word for word in mistake.words if word not in said] == [], said
    assert fresh.filters() == []
    left = ["/opt/droplan", "/etc/droplan", "/etc/cron.d/droplan", "/etc/iptables"]
    assert [path for path in left if fresh.droplet.path(path).exists()] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["refrehs"], "refrehs", id="an unknown verb"),
        pytest.param(["install", "--dryrun"], "--dryrun", id="an unknown option"),
        pytest.param(["status", "--js"], "--js", id="an option cut short"),
    ],
)
def test_a_bad_command_line_ends_with_2(program: Program, words: list[str], says: str) -> None:
    before = program.rules()
    done = program.run(*words)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert program.rules() == before


def test_verbs_that_need_the_installation_say_so(fresh: Program) -> None:
    restored = fresh.download("restore")
    assert restored.returncode == 1
    assert "no snapshot" in sentence(restored)
    refreshed = fresh.download("refresh")
    assert refreshed.returncode == 2
    assert "no API token" in sentence(refreshed)


def test_a_refresh_that_fails_is_told_by_status(program: Program) -> None:
    program.lab.do.fault(Fault(status=403))
    assert program.run("refresh").returncode == 1
    report = program.report()
    assert report["result"] == "failed"
    assert "403" in report["error"]
    status = program.run("status")
    assert status.returncode == 5
    assert status.stdout.startswith("FAILED  the last refresh failed: ")
    assert "403" in status.stdout
    assert program.status()["drift"] == [], "the rules are those of the last good answer"
    program.lab.do.clear_faults()
    program.refresh()
    status = program.run("status")
    assert status.returncode == 0
    assert "403" not in status.stdout


def test_a_session_that_would_be_cut_is_refused_with_what_keeps_it(program: Program) -> None:
    lab = program.lab
    session = f"{lab.stranger.address} 50022 {lab.droplet.address} 22"
    before = program.rules()
    done = program.run("refresh", SSH_CONNECTION=session)
    assert done.returncode == 4
    allow = f"tcp/22@{lab.stranger.address}"
    assert f"DROPLAN_ALLOW={allow}" in sentence(done)
    assert program.rules() == before
    program.refresh(SSH_CONNECTION=session, DROPLAN_ALLOW=allow)
    program.refresh()
