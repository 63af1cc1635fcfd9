"""An account that changes while it is read, behind HTTP on loopback: pages, single Droplets, actions."""

from __future__ import annotations

import http.server
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from tests.bed.account import ListedDroplet


@dataclass
class Api:
    """The account; use it in a ``with`` statement.

    Attributes:
        tokens: those that the API knows.
        actions_allowed: whether they may see actions.
        actions_status: answer the list of actions with this; 200 for the truth.
        newest_first: in which order Droplets are listed.
        status: answer everything with this instead; 200 for the truth.
        gpus_status: answer the list of GPU Droplets with this.
        before: is called with each request's path before it is answered.
        asked: paths and when, oldest first.
        delay: seconds that each answer takes.
    """

    tokens: set[str] = field(default_factory=lambda: {"token"})
    actions_allowed: bool = True
    actions_status: int = 200
    newest_first: bool = True
    status: int = 200
    before: Callable[[str], None] = field(default=lambda path: None)
    asked: list[str] = field(default_factory=list)
    delay: float = 0.0

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.droplets: dict[int, ListedDroplet] = {}
        self._encoded: dict[int, bytes] = {}
        self._actions: list[dict[str, object]] = []

    def __enter__(self) -> Api:
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def create(self, *droplets: ListedDroplet, acted: bool = True) -> None:
        """List Droplets, and have an action tell of each."""
        with self.lock:
            for droplet in droplets:
                self.droplets[droplet.id] = droplet
                self._encoded[droplet.id] = json.dumps(droplet.listing()).encode()
                if acted:
                    self._act("create", droplet.id)

    def destroy(self, *numbers: int, acted: bool = True) -> None:
        """List Droplets no more."""
        with self.lock:
            for number in numbers:
                del self.droplets[number], self._encoded[number]
                if acted:
                    self._act("destroy", number)

    def _act(self, kind: str, number: int) -> None:
        action = {
            "id": len(self._actions) + 1,
            "status": "completed",
            "type": kind,
            "started_at": "2026-11-25T00:00:00Z",
            "resource_id": number,
            "resource_type": "droplet",
        }
        self._actions.append(action)

    def answer(self, target: str) -> tuple[int, bytes]:
        """Answer a request."""
        parts = urlsplit(target)
        asked = dict(parse_qsl(parts.query))
        with self.lock:
            if parts.path == "/v2/actions":
                if self.actions_status != 200:
                    return self.actions_status, b"{}"
                if not self.actions_allowed:
                    return 403, b'{"id":"forbidden","message":"You are not authorized"}'
                return 200, json.dumps({"actions": self._actions[::-1][:200], "links": {}, "meta": {}}).encode()
            if parts.path == "/v2/vpc_peerings":
                return 200, b'{"vpc_peerings":[],"links":{},"meta":{"total":0}}'
            if parts.path == "/v2/droplets":
                return 200, self._page(asked)
            one = re.fullmatch(r"/v2/droplets/(\d+)", parts.path)
            if one and int(one[1]) in self._encoded:
                return 200, b'{"droplet":' + self._encoded[int(one[1])] + b"}"
        return 404, b'{"id":"not_found","message":"The resource you were accessing could not be found."}'

    def _page(self, asked: dict[str, str]) -> bytes:
        gpus = asked.get("type") == "gpus"
        numbers = [number for number, droplet in self.droplets.items() if droplet.gpu == gpus]
        numbers.sort(reverse=self.newest_first)
        size, page = int(asked.get("per_page", "20")), int(asked.get("page", "1"))
        shown = b",".join(self._encoded[number] for number in numbers[(page - 1) * size : page * size])
        return b'{"droplets":[' + shown + b'],"links":{},"meta":{"total":%d}}' % len(numbers)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: Api) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent when a client goes away."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        api = self.server.api
        time.sleep(api.delay)
        api.before(self.path)
        api.asked.append(self.path)
        known = self.headers.get("Authorization", "")[7:] in api.tokens
        status, body = api.answer(self.path) if known else (401, b'{"id":"Unauthorized","message":"no"}')
        if api.status != 200:
            status, body = api.status, b"{}"
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ratelimit-remaining", "4000")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class names it so)
        """Keep quiet: ``Api.asked`` is the log."""
