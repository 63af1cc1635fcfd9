"""An HTTPS server on loopback, with its own CA, that answers as a test says."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

LEAF_EXTENSIONS = """\
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:{name}
"""

CA_CONFIG = """\
[ca]
default_ca = test
[test]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
"""


@dataclass(frozen=True)
class LoopbackCertificates:
    """The files of a certificate authority and what it signed: name of the certificate → PEM with its key."""

    authority: Path
    valid: Path
    expired: Path
    misnamed: Path

    @classmethod
    def make(cls, folder: Path) -> LoopbackCertificates:
        """Make them with the openssl command."""
        config = folder / "ca.cnf"
        config.write_text(CA_CONFIG.format(folder=folder))
        (folder / "index.txt").touch()
        authority, key = folder / "ca.pem", folder / "ca.key"
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=droplan test CA"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", key, "-out", authority),
        )

        def leaf(label: str, name: str, start: str, end: str) -> Path:
            request, certificate, leaf_key = (folder / f"{label}.{kind}" for kind in ("csr", "crt", "key"))
            extensions = folder / f"{label}.ext"
            extensions.write_text(LEAF_EXTENSIONS.format(name=name))
            openssl(
                *("req", "-config", config, "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
                *("-keyout", leaf_key, "-out", request),
            )
            openssl(
                *("ca", "-batch", "-config", config, "-cert", authority, "-keyfile", key, "-notext"),
                *("-in", request, "-out", certificate, "-extfile", extensions),
                *("-startdate", start, "-enddate", end),
            )
            combined = folder / f"{label}.pem"
            combined.write_bytes(certificate.read_bytes() + leaf_key.read_bytes())
            return combined

        always = ("20200101000000Z", "20491231000000Z")
        return cls(
            authority,
            valid=leaf("valid", "localhost", *always),
            expired=leaf("expired", "localhost", "20200101000000Z", "20200102000000Z"),
            misnamed=leaf("misnamed", "elsewhere.test", *always),
        )


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@dataclass(frozen=True)
class Reply:
    """One answer; `declared` is a Content-Length that is not the body's."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    declared: int | None = None


@dataclass
class Pause:
    """An answer that stops half-way until the test lets it go on."""

    body: bytes
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


class LoopbackServer:
    """What each path answers, in turn; the last answer is repeated. `requests` are the paths that were asked for."""

    def __init__(self, certificate: Path | None) -> None:
        self.answers: dict[str, list[Reply | Pause]] = {}
        self.requests: list[str] = []
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that refuses us is the test
        scheme = "https" if certificate else "http"
        self.address = f"{scheme}://localhost:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    def offer(self, path: str, *answers: Reply | Pause) -> str:
        """Set what a path answers; return its address."""
        self.answers[path] = list(answers)
        return self.address + path

    def close(self) -> None:
        for answers in self.answers.values():
            for answer in answers:
                if isinstance(answer, Pause):
                    answer.released.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: LoopbackServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.owner.requests.append(self.path)
        answers = self.owner.answers.get(path, [Reply(status=404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Pause):
            self._head(Reply(answer.body), len(answer.body))
            half = len(answer.body) // 2
            self.wfile.write(answer.body[:half])
            self.wfile.flush()
            answer.reached.set()
            answer.released.wait()
            self.wfile.write(answer.body[half:])
            return
        self._head(answer, len(answer.body) if answer.declared is None else answer.declared)
        self.wfile.write(answer.body)

    def _head(self, reply: Reply, length: int) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the base class's name
        pass
