"""Where the stub of Terraform's provider asks for buckets and keys of the real object store.

Its own network namespace does not reach the store, but a Unix socket reaches into every one. A question is one line
of JSON, so is the answer.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.bed.shared.engine import Engine


class Desk:
    """The desk; use it in a ``with`` statement.

    Args:
        engine: the store that obeys it.
        place: of the socket.
    """

    def __init__(self, engine: Engine, place: Path) -> None:
        self.place = place
        self._obeys: dict[str, Callable[..., object]] = {
            "bucket": engine.private_bucket,
            "delete_bucket": engine.delete_bucket,
            "key": engine.key,
            "delete_key": engine.delete_key,
        }

    def __enter__(self) -> Desk:
        obeys = self._obeys

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                action, arguments = json.loads(self.rfile.readline())
                try:
                    answer: dict[str, Any] = {"result": obeys[action](*arguments)}
                except Exception as error:  # whatever went wrong is Terraform's to show
                    answer = {"error": f"{type(error).__name__}: {error}"}
                self.wfile.write(json.dumps(answer).encode() + b"\n")

        self._server = socketserver.ThreadingUnixStreamServer(str(self.place), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def ask(place: str, action: str, *arguments: str) -> Any:
    """Ask a desk for something, from another process.

    Raises:
        RuntimeError: the store refused.
    """
    with socket.socket(socket.AF_UNIX) as client, client.makefile("rw") as lines:
        client.connect(place)
        lines.write(json.dumps([action, arguments]) + "\n")
        lines.flush()
        answer = json.loads(lines.readline())
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer["result"]
