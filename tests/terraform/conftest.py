"""What the Terraform tests share: input values, a fake API, the stub provider, and the real cloud-init."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pytest

from tests.bed import account
from tests.bed.cache import CHECKOUT
from tests.bed.terraform import tf

Json = dict[str, Any]


@pytest.fixture
def token() -> str:
    """Return a token that is told apart from everything else in an output, and belongs to nobody."""
    return "dop_v1_" + hashlib.sha256(b"a token of the tests").hexdigest()


@pytest.fixture
def inputs(token: str) -> dict[str, str]:
    """Return the three inputs that the module requires."""
    return {
        "do_key": token,
        "droplan_url": "https://example.com/droplan.pyz",
        "droplan_sha256": hashlib.sha256(b"droplan.pyz").hexdigest(),
    }


@pytest.fixture
def module(tmp_path: Path, inputs: dict[str, str]) -> tf.Terraform:
    """Return the module as a configuration of its own, initialised."""
    configuration = tf.Terraform(tf.copy_sources(tmp_path), inputs)
    configuration.run("init")
    return configuration


@pytest.fixture(scope="session")
def renderer() -> ModuleType:
    """Return cloud-init/render.py, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location("render", CHECKOUT / "cloud-init" / "render.py")
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


class Render(Protocol):
    """Renders user data with the module."""

    def __call__(self, **variables: str) -> str: ...


@pytest.fixture
def render(module: tf.Terraform) -> Render:
    """Return a function that renders user data with the module, given variables beyond the required ones."""

    def rendered(**variables: str) -> str:
        module.run("apply", "-auto-approve", **variables)
        return module.run("output", "-raw", "user_data")

    return rendered


class FakeApi(http.server.ThreadingHTTPServer):
    """An account's Droplets, on loopback; ``created`` holds the body of each POST.

    ``refusal`` is what a POST is answered instead, if it is set.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.created: list[Json] = []
        self.droplets: dict[int, Json] = {}
        self.refusal: str | None = None
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Return its base address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def create(self, request: Json) -> Json:
        """Add a Droplet that is active at once."""
        self.created.append(request)
        number = 1000 + len(self.created)
        self.droplets[number] = account.created(request, number, f"10.110.0.{len(self.created)}").listing()
        return self.droplets[number]

    def names(self) -> list[str]:
        """Return the names of the Droplets that exist."""
        return sorted(droplet["name"] for droplet in self.droplets.values())


class Handler(http.server.BaseHTTPRequestHandler):
    """The three requests that Terraform makes."""

    server: FakeApi

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.refusal:
            self._answer(422, {"id": "unprocessable_entity", "message": self.server.refusal})
        else:
            self._answer(202, {"droplet": self.server.create(request)})

    def do_GET(self) -> None:
        droplet = self.server.droplets.get(int(self.path.rpartition("/")[2]))
        self._answer(200 if droplet else 404, {"droplet": droplet} if droplet else {"id": "not_found"})

    def do_DELETE(self) -> None:
        self.server.droplets.pop(int(self.path.rpartition("/")[2]))
        self._answer(204, None)

    def _answer(self, status: int, document: Json | None) -> None:
        self.send_response(status)
        self.end_headers()
        if document is not None:
            self.wfile.write(json.dumps(document).encode())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class names it so)
        """Keep quiet."""


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Return a fake API that is being served."""
    with FakeApi() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def spaces(tmp_path: Path) -> Path:
    """Return the folder that stands for Spaces."""
    folder = tmp_path / "spaces"
    folder.mkdir()
    return folder


@pytest.fixture
def reattach(api: FakeApi, spaces: Path) -> Iterator[str]:
    """Start the stub provider; return the value for TF_REATTACH_PROVIDERS."""
    environment = {
        **os.environ,
        "DIGITALOCEAN_API_URL": api.url,
        "DIGITALOCEAN_TOKEN": "terraform's own",
        "STUB_SPACES": str(spaces),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bed.terraform.stubprovider"],
        cwd=CHECKOUT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as stub:
        assert stub.stdin
        assert stub.stdout
        yield stub.stdout.readline().strip()
        stub.stdin.close()
