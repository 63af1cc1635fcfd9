"""The public side of a region's Spaces: files over HTTPS, under a certificate that the lab's Droplets trust.

Run in a network namespace as `python3 -m tests.bed.booted.files CERTIFICATE DIRECTORY`; it says "up" and serves
until its standard input ends. What lies at BUCKET/KEY in the directory is https://BUCKET.nyc3.digitaloceanspaces.com/KEY.
"""

from __future__ import annotations

import http.server
import ssl
import sys
import threading
from pathlib import Path

from tests.bed import ca
from tests.bed.cache import locked

# Every bucket of the region is a name below this.
DOMAIN = "nyc3.digitaloceanspaces.com"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serve a directory in silence."""

    protocol_version = "HTTP/1.1"

    def translate_path(self, path: str) -> str:
        """Look into the bucket that the host's name begins with."""
        bucket = self.headers.get("Host", "").partition(".")[0]
        return super().translate_path(f"/{bucket}{path}")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class names it so)
        """Keep quiet."""


def certificate() -> Path:
    """Make the certificate and its key for every bucket, or find it in the cache."""
    ca.certificates()
    with locked("ca") as folder:
        made = folder / "files.pem"
        if not made.exists():
            ca._sign(folder, "files", "authority", f"*.{DOMAIN}", ["-days", "3650"])
        return made


def main() -> None:
    """Serve until standard input ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])

    def handler(*arguments: object) -> Handler:
        return Handler(*arguments, directory=sys.argv[2])  # type: ignore[arg-type]

    server = http.server.ThreadingHTTPServer(("0.0.0.0", 443), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("up", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
