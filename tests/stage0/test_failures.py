"""Every failure has an exit code and a sentence of its own, runs nothing and leaves nothing behind."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.bed.stage0.droplet import BOOTSTRAP, SYSTEM_PYTHON, Stage0Droplet
from tests.bed.stage0.server import LoopbackCertificates, LoopbackServer, Pause, Reply
from tests.stage0.conftest import Published

WRONG = hashlib.sha256(b"another version").hexdigest()


@dataclass(frozen=True)
class Scenario:
    """How the download goes wrong, and how that must end."""

    name: str
    answer: Callable[[Published], Reply]
    code: int
    sentence: str
    requests: int = 1
    sha256: str = ""


SCENARIOS = [
    Scenario("not-found", lambda _: Reply(status=404), 12, "answered 404 Not Found"),
    Scenario("forbidden", lambda _: Reply(status=403), 12, "answered 403 Forbidden"),
    Scenario("unavailable", lambda _: Reply(status=503), 12, "answered 503", requests=6),
    Scenario("too-many-requests", lambda _: Reply(status=429), 12, "answered 429", requests=6),
    Scenario("wrong-hash", lambda r: Reply(r.body), 13, f"not {WRONG}: it was removed", sha256=WRONG),
    Scenario("altered", lambda r: Reply(r.body + b"\0"), 13, "it was removed and not run"),
    Scenario(
        "cut-short",
        lambda r: Reply(r.body[:-1], declared=len(r.body)),
        *(13, "was cut short"),
        requests=6,
    ),
    Scenario(
        "redirected-to-http",
        lambda _: Reply(status=302, headers=(("Location", "http://localhost/droplan.pyz"),)),
        *(11, "leads to http://localhost/droplan.pyz, which is not https"),
    ),
    Scenario(
        "redirected-to-a-file",
        lambda _: Reply(status=302, headers=(("Location", "file:///etc/passwd"),)),
        *(12, "answered 302"),
    ),
    Scenario(
        "redirected-in-a-circle",
        lambda _: Reply(status=302, headers=(("Location", "/droplan.pyz"),)),
        *(12, "answered 302"),
        requests=5,
    ),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_download_that_goes_wrong(
    scenario: Scenario, python: str, droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    server.offer("/droplan.pyz", scenario.answer(published))

    outcome = droplet.run(
        *(python, "--url", published.url, "--sha256", scenario.sha256 or published.sha256),
        environment=published.trust,
    )

    assert (outcome.code, outcome.stdout) == (scenario.code, ""), outcome.stderr
    assert scenario.sentence in outcome.last_line
    assert "Traceback" not in outcome.stderr
    assert len(server.requests) == scenario.requests
    assert droplet.left_behind == []


@pytest.mark.parametrize("certificate", ["expired", "misnamed", "untrusted"])
def test_a_certificate_that_is_not_valid_is_refused_at_once(
    certificate: str, python: str, droplet: Stage0Droplet, published: Published, certificates: LoopbackCertificates
) -> None:
    other = LoopbackServer(getattr(certificates, certificate, certificates.valid))
    try:
        url = other.offer("/droplan.pyz", Reply(published.body))
        trust = {} if certificate == "untrusted" else published.trust
        outcome = droplet.run(python, "--url", url, "--sha256", published.sha256, environment=trust)
    finally:
        other.close()

    assert outcome.code == 11, outcome.stderr
    assert "has no valid certificate" in outcome.last_line
    assert (droplet.waited, other.requests, droplet.left_behind) == ([], [], [])


def test_a_server_that_speaks_no_tls(python: str, droplet: Stage0Droplet, published: Published) -> None:
    plain = LoopbackServer(None)
    try:
        url = plain.address.replace("http:", "https:") + "/droplan.pyz"
        outcome = droplet.run(python, "--url", url, "--sha256", published.sha256, environment=published.trust)
    finally:
        plain.close()

    assert outcome.code == 11, outcome.stderr
    assert "does not speak TLS" in outcome.last_line


def test_a_server_that_cannot_be_reached_is_tried_six_times(
    python: str, droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    server.close()

    outcome = droplet.run(python, *published.arguments, environment=published.trust)

    assert outcome.code == 10, outcome.stderr
    assert "cannot be reached" in outcome.last_line
    assert droplet.waited == [1, 2, 4, 8, 16]


def test_a_server_that_stops_answering(
    python: str, droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    server.offer("/droplan.pyz", Pause(published.body))
    impatient = BOOTSTRAP.read_bytes().replace(b"TIMEOUT = 30", b"TIMEOUT = 0.3")

    outcome = droplet.run(python, *published.arguments, environment=published.trust, script=impatient)

    assert outcome.code == 10, outcome.stderr
    assert "timed out" in outcome.last_line
    assert len(server.requests) == 6
    assert droplet.left_behind == []


def test_a_server_that_takes_for_ever_without_ever_being_silent_for_long(
    python: str, droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    server.offer("/droplan.pyz", Pause(published.body))
    busy = BOOTSTRAP.read_bytes().replace(b"LONGEST = 900", b"LONGEST = 1").replace(b"TIMEOUT = 30", b"TIMEOUT = 600")

    outcome = droplet.run(python, *published.arguments, environment=published.trust, script=busy)

    assert outcome.code == 10, outcome.stderr
    assert "had not come after 1 s" in outcome.last_line
    assert len(server.requests) == 6
    assert droplet.left_behind == []


def test_a_server_that_sends_more_than_anything_wanted_here_has(
    python: str, droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    server.offer("/droplan.pyz", Reply(published.body * 2))
    small = BOOTSTRAP.read_bytes().replace(b"LARGEST = 256 << 20", b"LARGEST = %d" % len(published.body))

    outcome = droplet.run(python, *published.arguments, environment=published.trust, script=small)

    assert outcome.code == 13, outcome.stderr
    assert "sends more than" in outcome.last_line
    assert len(server.requests) == 1
    assert droplet.left_behind == []


def test_a_name_that_cannot_be_one(python: str, droplet: Stage0Droplet, published: Published) -> None:
    outcome = droplet.run(
        *(python, "--url", "https://two..dots/droplan.pyz", "--sha256", published.sha256),
        environment=published.trust,
    )

    assert outcome.code == 10, outcome.stderr
    assert "https://two..dots/droplan.pyz cannot be reached" in outcome.last_line


def test_a_full_disk(python: str, droplet: Stage0Droplet, published: Published) -> None:
    droplet.give("64k")

    outcome = droplet.run(python, *published.arguments, environment=published.trust)

    assert outcome.code == 15, outcome.stderr
    assert outcome.last_line == (
        "droplan bootstrap: the disk is full: make room for /opt/droplan and run this again."
    )


def test_a_disk_that_cannot_be_written_to(droplet: Stage0Droplet, published: Published) -> None:
    droplet.mounts.append("mount -o remount,bind,ro /opt")

    outcome = droplet.run(SYSTEM_PYTHON, *published.arguments, environment=published.trust)

    assert outcome.code == 18, outcome.stderr
    assert "Read-only file system" in outcome.last_line


def test_somebody_other_than_root(droplet: Stage0Droplet, published: Published) -> None:
    as_nobody = b"import os; os.setuid(65534)\n" + BOOTSTRAP.read_bytes()

    outcome = droplet.run(SYSTEM_PYTHON, *published.arguments, script=as_nobody)

    assert outcome.code == 17, outcome.stderr
    assert outcome.last_line == "droplan bootstrap: this must run as root: use sudo."


GOOD = ("--url", "https://localhost/droplan.pyz", "--sha256", "0" * 64)

COMMAND_LINES = {
    "nothing": ((), "--url is missing"),
    "no-hash": (GOOD[:2], "--sha256 is missing"),
    "no-value": (("--url",), "--url must be an address"),
    "http": (("--url", "http://localhost/x", *GOOD[2:]), "--url must be an address that begins with https://"),
    "no-host": (("--url", "https:///x", *GOOD[2:]), "--url must be an address"),
    "bad-port": (("--url", "https://localhost:99999999/x", *GOOD[2:]), "--url must be an address"),
    "port-out-of-range": (("--url", "https://localhost:65536/x", *GOOD[2:]), "--url must be an address"),
    "password": (("--url", "https://me:secret@localhost/x", *GOOD[2:]), "--url must be an address"),
    "line-break": (("--url", "https://localhost/x\r\nHost: y", *GOOD[2:]), "--url must be an address"),
    "short-hash": ((*GOOD[:3], "0" * 63), "--sha256 must be 64 hexadecimal digits"),
    "python-without-hash": ((*GOOD, "--python-url", "https://x/y"), "--python-sha256 is missing"),
    "hash-without-python": ((*GOOD, "--python-sha256", "0" * 64), "--python-url is missing"),
    "python-by-http": (
        (*GOOD, "--python-url", "http://x/y", "--python-sha256", "0" * 64),
        "--python-url must be an address",
    ),
    "ours-after-install's": (("--dry-run", *GOOD), "--url is missing (it goes before"),
}


@pytest.mark.parametrize(("arguments", "sentence"), COMMAND_LINES.values(), ids=COMMAND_LINES.keys())
def test_a_command_line_that_is_wrong(
    arguments: tuple[str, ...], sentence: str, python: str, droplet: Stage0Droplet
) -> None:
    outcome = droplet.run(python, *arguments)

    assert outcome.code == 2, outcome.stderr
    assert sentence in outcome.last_line
    assert not droplet.directory.exists()


def test_help_lists_every_exit_code(droplet: Stage0Droplet, python: str) -> None:
    outcome = droplet.run(python, "--help")

    assert outcome.code == 0
    for code in (2, *range(10, 21)):
        assert f"\n  {code:2}  " in outcome.stdout
