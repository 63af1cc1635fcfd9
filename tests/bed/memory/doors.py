"""Stand-ins for the four doors to the machine: commands, files, HTTP, log."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import requests
import urllib3
from requests.adapters import BaseAdapter

from droplan_boot.errors import CommandError
from droplan_boot.host.command import Completed
from droplan_boot.host.doors import Host
from droplan_boot.host.http import Http

__all__ = ["Answer", "Clock", "FakeCommands", "Host", "Lines", "Transport", "answers", "session"]

Reaction = Callable[[Sequence[str], str], Union[str, Completed]]


def ended(argv: Sequence[str], status: int = 0, stdout: str = "", stderr: str = "") -> Completed:
    """Return a command that ended."""
    return Completed(tuple(argv), status, stdout, stderr)


@dataclass
class FakeCommands:
    """A runner that knows the commands it was told of, and remembers what it was asked to run."""

    commands: dict[str, Reaction] = field(default_factory=dict)
    places: dict[str, Path] = field(default_factory=dict)
    ran: list[tuple[str, ...]] = field(default_factory=list)
    environments: list[Mapping[str, str]] = field(default_factory=list)

    def knows(self, name: str, reaction: str | Completed | Reaction = "", at: Path | None = None) -> None:
        """Add a command: what it prints, how it ends, or what it does."""
        if isinstance(reaction, (str, Completed)):
            fixed = reaction
            self.commands[name] = lambda argv, stdin: fixed
        else:
            self.commands[name] = reaction
        self.places[name] = at or Path("/usr/sbin", name)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        timeout: float = 60,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Completed:
        self.ran.append(tuple(argv))
        self.environments.append(environment or {})
        name = argv[0].rsplit("/", 1)[-1]
        if name not in self.commands:
            raise CommandError(f"`{argv[0]}` is missing: run `droplan install` to put it in place")
        done = self.commands[name](argv, stdin)
        if isinstance(done, str):
            done = ended(argv, stdout=done)
        if check and done.status:
            raise done.failure()
        return done

    def which(self, name: str) -> Path | None:
        return self.places.get(name)


@dataclass
class Lines:
    """A log that keeps its lines."""

    said: list[str] = field(default_factory=list)
    complained: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)

    def show(self, text: str) -> None:
        self.shown.append(text)

    def complain(self, text: str) -> None:
        self.complained.append(text)

    def detail(self, text: str) -> None:
        self.details.append(text)


@dataclass
class Clock:
    """Time that passes only when somebody sleeps."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass(frozen=True)
class Answer:
    """What a server sends: JSON unless ``body`` says otherwise."""

    document: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


class Body(io.BytesIO):
    """The bytes of an answer on their way; it tells how far they were read."""

    consumed = 0

    def close(self) -> None:
        if not self.closed:
            self.consumed = self.tell()
        super().close()


Script = Union[Answer, Exception]


class Transport(BaseAdapter):
    """The network: gives scripted answers, in order or by URL, and remembers what was asked."""

    def __init__(self, script: Sequence[Script] | Callable[[str], Script]) -> None:
        super().__init__()
        self.script = script
        self.asked: list[requests.PreparedRequest] = []
        self.bodies: list[Body] = []
        self.timeouts: list[Any] = []

    @property
    def urls(self) -> list[str]:
        return [str(request.url) for request in self.asked]

    def send(
        self, request: requests.PreparedRequest, *args: Any, timeout: Any = None, **kwargs: Any
    ) -> requests.Response:
        self.asked.append(request)
        self.timeouts.append(timeout)
        step = self.script(str(request.url)) if callable(self.script) else self.script[len(self.asked) - 1]
        if isinstance(step, Exception):
            raise step
        body = json.dumps(step.document).encode() if step.body is None else step.body
        self.bodies.append(Body(body))
        response = requests.Response()
        response.status_code = step.status
        response.headers.update(step.headers)
        response.url = str(request.url)
        response.request = request
        response.raw = urllib3.HTTPResponse(
            self.bodies[-1], headers=dict(step.headers), status=step.status, preload_content=False
        )
        return response

    def close(self) -> None:
        pass


def session(
    script: Sequence[Script] | Callable[[str], Script], *, budget: float = 40.0, clock: Clock | None = None
) -> tuple[Http, Transport]:
    """Return the real session with a stand-in for the network below it."""
    clock = clock or Clock()
    http = Http(clock, budget)
    transport = Transport(script)
    http._session.mount("https://", transport)
    http._session.mount("http://", transport)
    return http, transport


def answers(*documents: Any) -> list[Script]:
    """Return answers with these documents, in order."""
    return [Answer(document) for document in documents]
