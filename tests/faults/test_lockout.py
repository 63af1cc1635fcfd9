"""droplan does not cut the SSH session it is started from, unless told to; the schedule is held up by nobody."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.bed import Host, Lab
from tests.bed.cache import CHECKOUT
from tests.bed.harm import Patient
from tests.bed.program import DOWNLOADED, PROGRAM

PORT = 2222
SSHD = (CHECKOUT / "tests/bed/sshd.py").read_text()


class Told(NamedTuple):
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


class Session:
    """An SSH session from a host to the Droplet, over the private or the public network."""

    def __init__(self, lab: Lab, source: Host, link: str = "eth1") -> None:
        to = next(each for each in lab.droplet.links if each.name == link)
        self._token = lab.token
        self._sshd = lab.droplet.popen(["/usr/bin/python3", "-u", "-c", SSHD, to.ipv4, str(PORT)])
        self._socket = source.inside(socket.socket)
        self._lines = self._socket.makefile("rw")
        try:
            assert self._sshd.stdout is not None
            assert self._sshd.stdout.readline() == "listening\n"
            self._socket.settimeout(60)
            self._socket.connect((to.ipv4, PORT))
        except BaseException:
            self.__exit__()  # or a later test, which it has nothing to do with, is told of what is open
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_error: object) -> None:
        self._lines.close()
        self._socket.close()
        os.killpg(self._sshd.pid, signal.SIGKILL)  # nsenter and sshd: of a session that is cut it never hears the end
        self._sshd.communicate()

    def run(self, *words: str, **environment: str) -> Told:
        """Run droplan in the session."""
        return self.command("/usr/bin/python3", DOWNLOADED, *words, **{"DO_KEY": self._token, **environment})

    def command(self, *argv: str, **environment: str) -> Told:
        """Run a command in the session; what it says comes back over the connection.

        Raises:
            TimeoutError: nothing came back.
        """
        self.begin(*argv, **environment)
        return Told(*json.loads(self._lines.readline()))

    def begin(self, *argv: str, **environment: str) -> None:
        """Start a command in the session, and do not wait for what it says."""
        self._lines.write(json.dumps({"argv": argv, "env": {"PATH": "/usr/sbin:/usr/bin", **environment}}) + "\n")
        self._lines.flush()

    def lives(self, patience: float = 10.0) -> bool:
        """Say whether the session still answers."""
        self._socket.settimeout(patience)
        try:
            return self.command("/bin/echo", "alive").stdout == "alive\n"
        except OSError:
            return False


@pytest.fixture(scope="module")
def _guarded() -> Iterator[Patient]:
    with Lab("nft") as lab:
        yield Patient(lab)


@pytest.fixture
def guarded(_guarded: Patient) -> Patient:
    """A Droplet without any rules of ours, where a stranger may still log in."""
    _guarded.flush()
    return _guarded


def allowed(message: str) -> str:
    """Return the DROPLAN_ALLOW that a refusal names."""
    found = re.search(r"put DROPLAN_ALLOW=(\S+) before the command", message)
    assert found, message
    return found[1]


@pytest.mark.parametrize("verb", ["refresh", "install"])
def test_a_session_that_would_be_cut_is_a_reason_to_refuse(guarded: Patient, verb: str) -> None:
    before = guarded.rules()
    with Session(guarded.lab, guarded.lab.stranger) as session:
        told = session.run(verb)
        assert told.status == 4
        assert allowed(told.stderr) == f"tcp/{PORT}@{guarded.lab.stranger.address}"
        assert "--force" in told.stderr
        assert guarded.rules() == before
        assert not guarded.droplet.path(PROGRAM).exists()
        assert session.lives()


def test_the_setting_that_it_names_keeps_the_session(guarded: Patient) -> None:
    with Session(guarded.lab, guarded.lab.stranger) as session:
        setting = allowed(session.run("refresh", DROPLAN_ALLOW="10.9.0.0/16").stderr)
        assert setting == f"10.9.0.0/16,tcp/{PORT}@{guarded.lab.stranger.address}", "what was allowed before still is"
        assert session.run("refresh", DROPLAN_ALLOW=setting).status == 0
        assert session.lives()
        assert "eth1 -j DROP" in guarded.rules()


@pytest.mark.parametrize("words", ["--force", "--scheduled"])  # cron's, if somebody started cron in a session
def test_force_and_the_schedule_go_on_and_the_session_ends(guarded: Patient, words: str) -> None:
    guarded.droplet.path("/srv/code").unlink(missing_ok=True)
    guarded.edit(
        "-A OUTPUT -m conntrack --ctstate INVALID -j RETURN"
    )  # so that the session is tracked from its start
    with Session(guarded.lab, guarded.lab.stranger) as session:
        script = f"/usr/bin/python3 {DOWNLOADED} refresh {words}; echo $? >/srv/code"
        session.begin("/bin/sh", "-c", script, DO_KEY=guarded.lab.token)
        code = guarded.droplet.run(["sh", "-c", "until [ -s /srv/code ]; do sleep 0.1; done; cat /srv/code"]).stdout
        assert code == "0\n"
        assert "eth1 -j DROP" in guarded.rules()
        assert not session.lives(patience=1.5)


def test_the_schedule_and_cloud_init_are_not_held_up(guarded: Patient) -> None:
    with Session(guarded.lab, guarded.lab.stranger):
        assert guarded.schedule().returncode == 0
        assert "eth1 -j DROP" in guarded.rules()
    guarded.flush()
    with Session(guarded.lab, guarded.lab.stranger):
        assert guarded.download("refresh", DO_KEY=guarded.lab.token).returncode == 0, "nobody's session is its parent"


def test_a_peers_session_goes_on_by_itself(guarded: Patient) -> None:
    with Session(guarded.lab, guarded.lab.peers[0]) as session:
        assert session.run("refresh").status == 0
        assert session.lives()
        assert "eth1 -j DROP" in guarded.rules()


def test_a_session_over_the_public_network_matters_only_when_that_is_closed_too(guarded: Patient) -> None:
    with Session(guarded.lab, guarded.lab.stranger, "eth0") as session:
        assert session.run("refresh").status == 0
        assert session.lives()
        told = session.run("refresh", PUBLIC="true")
        assert told.status == 4
        setting = allowed(told.stderr)
        assert setting == f"tcp/{PORT}@{guarded.lab.stranger.public.ipv4}"
        assert session.run("refresh", PUBLIC="true", DROPLAN_ALLOW=setting).status == 0
        assert session.lives()
        assert "eth0 -j DROP" in guarded.rules()


def test_the_variable_that_ssh_sets_is_believed_where_sudo_leaves_it(guarded: Patient) -> None:
    session = f"{guarded.lab.stranger.address} 50022 {guarded.droplet.address} 22"
    done: subprocess.CompletedProcess[str] = guarded.download(
        "refresh", DO_KEY=guarded.lab.token, SSH_CONNECTION=session
    )
    assert done.returncode == 4
    assert allowed(done.stderr) == f"tcp/22@{guarded.lab.stranger.address}"
