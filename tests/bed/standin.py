"""The stand-in for DigitalOcean: its API over HTTPS and its metadata service, answering as the real ones do.

Run in a network namespace as ``python3 -m tests.bed.standin CERTIFICATES``. It listens on ports 443 and 80 of every
address there, takes one JSON command a line on standard input, answers each with a line on standard output, and
ends when standard input does: it cannot outlive the lab that started it. ``control.py`` is the other end.
"""

from __future__ import annotations

import gzip
import http.server
import json
import re
import socket
import ssl
import struct
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.bed import ca
from tests.bed.faults import Armed, Fault, patched
from tests.bed.state import Account, State

API_PORT = 443
METADATA_PORT = 80
# As the real API announces it. It is not enforced: tests refresh more often than a real fleet may.
HOURLY_LIMIT = 5000


@dataclass
class Answer:
    """An answer before it is put on the wire."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json; charset=utf-8"})

    @classmethod
    def of(cls, document: Any, status: int = 200) -> Answer:
        """Return an answer with a JSON document."""
        return cls(status, json.dumps(document).encode())

    @classmethod
    def error(cls, status: int, name: str, message: str) -> Answer:
        """Return an error in the API's shape."""
        return cls.of({"id": name, "message": message, "request_id": str(uuid.uuid4())}, status)


class Server(http.server.ThreadingHTTPServer):
    """A listening socket of the stand-in."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, handler: type[Handler], state: State) -> None:
        self.state = state
        self._serving: threading.Thread | None = None
        super().__init__(("0.0.0.0", port), handler)

    def serve(self) -> None:
        """Take connections, in a thread; until then they wait in the kernel's queue."""
        self._serving = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._serving.start()

    def end(self) -> None:
        """Stop listening."""
        if self._serving is not None:
            self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent when a client goes away; say it when the stand-in itself is at fault."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection. Answers come from ``answer``; a fault may bend them on the way out."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    service: str
    server: Server

    def answer(self, target: str) -> Answer:
        """Return the true answer to the request for this path and query."""
        raise NotImplementedError

    def handle_any(self) -> None:
        """Read the request, log it, and send the answer or what the fault makes of it."""
        self.content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.state.record(
            service=self.service,
            method=self.command,
            target=self.path,
            client=self.client_address[0],
            headers={name: value for name, value in self.headers.items() if name != "Authorization"},
            authorized=self.headers.get("Authorization", "")[7:] in self.server.state.accounts,
        )
        fault = self.server.state.fault_for(self.service, self.path) or Fault()
        time.sleep(fault.delay)
        if fault.reset:
            self._reset()
            return
        self._send(self._bent(self.answer(fault.repeat or self.path), fault), fault)

    do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 (the base class looks for these names)

    def _bent(self, answer: Answer, fault: Fault) -> Answer:
        body, usual = answer.body, dict(answer.headers)
        if (fault.patch or fault.size) and usual.pop("Content-Encoding", "") == "gzip":
            body = gzip.decompress(body)
        if fault.patch:
            body = json.dumps(patched(json.loads(body), fault.patch)).encode()
        if fault.body is not None or fault.status is not None:
            usual.pop("Content-Encoding", None)
            body = (fault.body or "").encode(errors="surrogateescape")
        return Answer(fault.status or answer.status, body, {**usual, **fault.headers})

    def _send(self, answer: Answer, fault: Fault) -> None:
        size = max(len(answer.body), fault.size)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(size))
        self.end_headers()
        self._send_body(answer.body, size, fault)

    def _send_body(self, body: bytes, size: int, fault: Fault) -> None:
        if fault.cut is not None:
            self.wfile.write(body[: fault.cut])
            self.close_connection = True
        elif fault.drip:
            piece = max(1, len(body) // 64)
            for start in range(0, len(body), piece):
                self.wfile.write(body[start : start + piece])
                time.sleep(fault.drip)
        else:
            self.wfile.write(body)
            blank = b" " * 65536
            for start in range(len(body), size, len(blank)):
                self.wfile.write(blank[: size - start])

    def _reset(self) -> None:
        self.close_connection = True
        # Lingering for zero seconds makes close() send a TCP reset (socket(7)).
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # close() waits for the files made of the socket; detach() does not.
        socket.close(self.connection.detach())

    def finish(self) -> None:
        """End the connection; after a reset there is nothing to flush."""
        if self.connection.fileno() != -1:
            super().finish()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class names it so)
        """Keep quiet: ``State.requests`` is the log."""


class Api(Handler):
    """https://api.digitalocean.com, as far as Droplets go."""

    service = "api"

    def setup(self) -> None:
        """Speak TLS first, in this connection's own thread: one slow client must not hold up the others."""
        assert isinstance(self.server, ApiServer)
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def answer(self, target: str) -> Answer:
        """Return the answer to an API request."""
        owner = self.server.state.accounts.get(self.headers.get("Authorization", "").replace("Bearer ", "", 1))
        if owner is None:
            return Answer.error(401, "Unauthorized", "Unable to authenticate you")
        owner.asked += 1
        answer = self._routed(owner, target)
        remaining = max(1, HOURLY_LIMIT - owner.asked)
        answer.headers["ratelimit-limit"] = str(HOURLY_LIMIT)
        answer.headers["ratelimit-remaining"] = str(remaining)
        answer.headers["ratelimit-reset"] = str(int(time.time()) + 3600)
        return answer

    def _routed(self, owner: Account, target: str) -> Answer:
        path = urlsplit(target).path
        state = self.server.state
        if path == "/v2/droplets":
            return self._post(owner) if self.command == "POST" else self._list(owner, target)
        if path == "/v2/vpc_peerings":
            total = len(owner.peerings)
            return Answer.of({"vpc_peerings": owner.peerings, "links": {}, "meta": {"total": total}})
        one = re.fullmatch(r"/v2/droplets/(\d+)", path)
        if one and self.command == "DELETE" and state.delete(owner, int(one[1])):
            return Answer(204, b"")
        droplet = owner.find(int(one[1])) if one else None
        if droplet is not None and self.command == "GET":
            return Answer.of({"droplet": droplet})
        return Answer.error(404, "not_found", "The resource you were accessing could not be found.")

    def _list(self, owner: Account, target: str) -> Answer:
        zipped = "gzip" in self.headers.get("Accept-Encoding", "")
        with self.server.state.lock:
            answer = Answer(200, owner.page(target, self.headers.get("Host", ca.API_HOST), zipped))
        if zipped:
            answer.headers["Content-Encoding"] = "gzip"
        return answer

    def _post(self, owner: Account) -> Answer:
        request = json.loads(self.content)
        missing = [name for name in ("name", "region", "size", "image") if not request.get(name)]
        if missing:
            return Answer.error(422, "unprocessable_entity", f"{missing[0].capitalize()} can't be blank")
        return Answer.of(self.server.state.create(owner, request), 202)


class ApiServer(Server):
    """The API's listening socket, with the certificate it shows."""

    def __init__(self, tls: ssl.SSLContext, state: State) -> None:
        self.tls = tls
        super().__init__(API_PORT, Api, state)


class Metadata(Handler):
    """http://169.254.169.254: each Droplet is told about itself, known by the address it asks from."""

    service = "metadata"

    def answer(self, target: str) -> Answer:
        """Return the Droplet's document, or the plain 404 of the real service."""
        document = self.server.state.documents.get(self.client_address[0])
        if document is None or urlsplit(target).path not in ("/metadata/v1.json", "/metadata/v1/id"):
            return Answer(404, b"not found", {"Content-Type": "text/plain; charset=utf-8"})
        if target.endswith("/id"):
            return Answer(200, str(document["droplet_id"]).encode(), {"Content-Type": "text/plain; charset=utf-8"})
        return Answer.of(document)


class Standin:
    """Both servers and the commands that change what they say."""

    def __init__(self, certificates: Path) -> None:
        self.state = State()
        self.tls = {name: _context(certificates / f"{name}.pem") for name in ca.NAMES}
        self.servers: dict[str, Server | None] = {"api": None, "metadata": None}
        self.listen()

    def listen(self) -> None:
        """Open and close the listening sockets, and choose the certificate, as the faults want it."""
        for service, server in self.servers.items():
            fault = self.state.connection_fault(service) or Fault()
            if server is not None:
                server.end()
            self.servers[service] = None if fault.refuse else self._opened(service, fault)

    def _opened(self, service: str, fault: Fault) -> Server:
        server = (
            ApiServer(self.tls[fault.certificate or "trusted"], self.state)
            if service == "api"
            else Server(METADATA_PORT, Metadata, self.state)
        )
        if not fault.deaf:
            server.serve()
        return server

    def obey(self, command: dict[str, Any]) -> Any:
        """Do what one line of standard input asks, and return what the answer's line shall hold."""
        action = command.pop("do")
        with self.state.lock:
            return getattr(self, f"do_{action}")(**command)

    def do_account(self, token: str, droplets: list[Any], peerings: list[Any] | None = None) -> None:
        """Set what a token shows."""
        owner = self.state.accounts.setdefault(token, Account())
        owner.droplets = droplets
        owner.peerings = owner.peerings if peerings is None else peerings
        owner.changed()

    def do_add(self, token: str, droplet: dict[str, Any]) -> None:
        """Add a Droplet to those a token shows."""
        self.state.accounts[token].droplets.append(droplet)
        self.state.accounts[token].changed()

    def do_remove(self, token: str, number: int) -> bool:
        """Remove a Droplet."""
        return self.state.delete(self.state.accounts[token], number)

    def do_forget(self, token: str) -> None:
        """Revoke a token."""
        del self.state.accounts[token]

    def do_droplets(self, token: str) -> list[Any]:
        """Tell which Droplets a token shows."""
        return self.state.accounts[token].droplets

    def do_metadata(self, address: str, document: Any) -> None:
        """Set the document that is served to an address; null takes it away."""
        if document is None:
            self.state.documents.pop(address, None)
        else:
            self.state.documents[address] = document

    def do_fault(self, faults: list[dict[str, Any]]) -> None:
        """Add faults."""
        new = [Armed(Fault.from_json(fault)) for fault in faults]
        self.state.faults += new
        if not all(armed.fault.of_requests for armed in new):
            self.listen()

    def do_clear_faults(self) -> None:
        """Take all faults away."""
        listening = all(armed.fault.of_requests for armed in self.state.faults)
        self.state.faults = []
        if not listening:
            self.listen()

    def do_requests(self) -> list[Any]:
        """Tell who asked for what."""
        return self.state.requests

    def do_forget_requests(self) -> None:
        """Empty the log of requests."""
        self.state.requests.clear()


def _context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def main() -> None:
    """Serve until standard input ends."""
    program = Standin(Path(sys.argv[1]))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        try:
            answer = {"result": program.obey(json.loads(line))}
        except Exception as error:  # whatever went wrong is the test's to see
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
