from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from tests.bed.stage0.droplet import BOOTSTRAP, SYSTEM_PYTHON, Stage0Droplet
from tests.bed.stage0.server import LoopbackCertificates, LoopbackServer, Reply

RECORDER = """\
import json, os, sys
umask = os.umask(0)
files = [os.path.realpath("/proc/self/fd/" + name) for name in os.listdir("/proc/self/fd")]
json.dump({
    "arguments": sys.argv[1:], "environment": dict(os.environ), "input": os.path.realpath("/proc/self/fd/0"),
    "umask": umask, "files": files,
    "isolated": sys.flags.isolated, "no_site": sys.flags.no_site, "python": sys.executable,
    "version": sys.version_info[:2], "library": os.__file__,
}, sys.stdout)
"""


def interpreters() -> dict[str, str]:
    """Find one interpreter of each version, on the PATH or made by pyenv: version → path.

    /opt is left out: the tests' machine has its own.
    """
    names = ["python2.7", *(f"python3.{minor}" for minor in range(6, 15))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [SYSTEM_PYTHON, *map(str, sorted(pyenv.glob("versions/*/bin/python")))]
    candidates += [path for path in map(shutil.which, names) if path]
    found: dict[str, str] = {}
    for candidate in candidates:
        ask = "import sys; print('%d.%d' % sys.version_info[:2] + ' ' + sys.executable)"
        answer = subprocess.run([candidate, "-c", ask], capture_output=True, text=True, check=False)
        version, _, path = answer.stdout.strip().partition(" ")
        if answer.returncode == 0 and not path.startswith("/opt/"):
            found.setdefault(version, path)
    return found


INTERPRETERS = interpreters()
BY_AGE = sorted(INTERPRETERS, key=lambda version: [int(part) for part in version.split(".")])
# 2.7, the oldest 3 and the newest: what is between them understands what these do, and is asked at night.
ENDS = {*BY_AGE[:2], BY_AGE[-1]}


@pytest.fixture(
    params=[
        pytest.param(INTERPRETERS[version], id=version, marks=[] if version in ENDS else [pytest.mark.nightly])
        for version in BY_AGE
    ]
)
def python(request: pytest.FixtureRequest) -> str:
    """Each interpreter at hand."""
    return str(request.param)


@pytest.fixture
def droplet(tmp_path: Path) -> Stage0Droplet:
    return Stage0Droplet(tmp_path)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> LoopbackCertificates:
    return LoopbackCertificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server(certificates: LoopbackCertificates) -> Iterator[LoopbackServer]:
    server = LoopbackServer(certificates.valid)
    yield server
    server.close()


@dataclass(frozen=True)
class Published:
    """A droplan.pyz that says what it saw, where it is offered, and how stage-0 is told to fetch it."""

    body: bytes
    url: str
    sha256: str
    trust: dict[str, str]

    @property
    def arguments(self) -> tuple[str, ...]:
        return "--url", self.url, "--sha256", self.sha256


@pytest.fixture
def published(server: LoopbackServer, certificates: LoopbackCertificates) -> Published:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("__main__.py", RECORDER)
        archive.writestr("padding", bytes(300_000))
    body = packed.getvalue()
    url = server.offer("/droplan.pyz", Reply(body))
    return Published(body, url, hashlib.sha256(body).hexdigest(), {"SSL_CERT_FILE": str(certificates.authority)})


@pytest.fixture
def stage0() -> ModuleType:
    """bootstrap.py as a module, for what can be tested without a Droplet."""
    spec = importlib.util.spec_from_file_location("stage0_bootstrap", BOOTSTRAP)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
