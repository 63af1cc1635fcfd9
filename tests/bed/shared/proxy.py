"""A proxy before the object store, which breaks what passes as a fault says; with TLS where droplan insists on it."""

from __future__ import annotations

import http.client
import http.server
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True)
class StoreFault:
    """One way in which the store misbehaves; fields combine.

    Attributes:
        path: a regular expression searched for in method and path, such as ``PUT .*/head``.
        after: so many requests pass that match before the first that the fault strikes.
        times: only so many requests are struck; None is for ever.
        delay: hang so many seconds before the answer.
        status: answer with this instead; ``done`` says whether the store had done it all the same.
        done: see status and reset.
        reset: end the connection without an answer.
        cut: announce the whole body, send only so many bytes.
        body: give this body instead.
    """

    path: str = ""
    after: int = 0
    times: int | None = None
    delay: float = 0.0
    status: int | None = None
    done: bool = False
    reset: bool = False
    cut: int | None = None
    body: bytes | None = None


@dataclass(frozen=True)
class Passed:
    """A request that passed, or was stopped.

    Attributes:
        sent, received: bytes on the wire of this request and its answer, headers included.
    """

    method: str
    path: str
    status: int
    sent: int
    received: int


@dataclass
class Proxy:
    """The proxy; use it in a ``with`` statement.

    Attributes:
        upstream: the store, such as ``http://127.0.0.1:7480``.
        listener: where it listens, in whichever namespace that was made; None for a port of loopback.
        tls: speaks it, if any.
        faults: what goes wrong; may be changed at any time.
        passed: what was asked, oldest first.
    """

    upstream: str
    listener: socket.socket | None = None
    tls: ssl.SSLContext | None = None
    faults: list[StoreFault] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)

    def __enter__(self) -> Proxy:
        self._struck: dict[int, int] = {}
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def fault(self, *faults: StoreFault) -> None:
        """Let only these faults happen from now on."""
        with self._lock:
            self._struck = {}
            self.faults = list(faults)

    def strikes(self, request: str) -> StoreFault:
        """Choose the fault that strikes a request, the first that does."""
        with self._lock:
            for number, fault in enumerate(self.faults):
                if not re.search(fault.path, request):
                    continue
                count = self._struck[number] = self._struck.get(number, 0) + 1
                if count > fault.after and (fault.times is None or count <= fault.after + fault.times):
                    return fault
        return StoreFault()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=proxy.listener is None)
        if proxy.listener is not None:
            self.socket.close()
            self.socket = proxy.listener
            self.server_address = proxy.listener.getsockname()

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent when a client goes away."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        if self.server.proxy.tls is not None:
            self.request = self.server.proxy.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()  # the server knows the socket below TLS alone

    def handle_any(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy = self.server.proxy
        fault = proxy.strikes(f"{self.command} {self.path}")
        time.sleep(fault.delay)
        status, body = 0, b""
        headers: Mapping[str, str] = {}
        if fault.done or (fault.status is None and not fault.reset):
            status, headers, body = self._upstream(content)
        if fault.status is not None:
            status, headers, body = fault.status, {}, b""
        body = body if fault.body is None else fault.body
        head = sum(len(name) + len(value) + 4 for name, value in self.headers.items()) + len(self.requestline) + 4
        back = sum(len(name) + len(value) + 4 for name, value in headers.items()) + 19
        proxy.passed.append(Passed(self.command, self.path, status, head + len(content), back + len(body)))
        if fault.reset:
            self.close_connection = True
            return
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "keep-alive"):
                self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if fault.cut is None else body[: fault.cut])
        self.close_connection = self.close_connection or fault.cut is not None

    do_GET = do_PUT = do_DELETE = do_HEAD = handle_any  # noqa: N815 (the base class looks for these names)

    def _upstream(self, content: bytes) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.server.proxy.upstream).netloc, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "connection":
                    connection.putheader(name, value)
            connection.endheaders(content or None)
            answer = connection.getresponse()
            headers: dict[str, str] = dict(answer.getheaders())
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class names it so)
        """Keep quiet: ``Proxy.passed`` is the log."""
