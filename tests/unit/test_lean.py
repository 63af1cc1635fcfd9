"""Importing requests without what no run uses: less is loaded, and nothing is missed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from droplan_boot.host import lean

unused = ("charset_normalizer", "chardet", "importlib.metadata", "zipfile")
loaded = {name for name in unused if sys.modules.get(name)}
assert not loaded, loaded

import importlib.metadata
import zipfile

assert zipfile.ZipInfo and importlib.metadata.PackageNotFoundError  # whoever imports them now has the whole of them
assert not lean.requests.utils.zipfile.is_zipfile("/dev/null")
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    archive.writestr("cacert.pem", "certificates")
with open(lean.requests.utils.extract_zipped_paths(sys.argv[1] + "/cacert.pem")) as extracted:
    assert extracted.read() == "certificates"
assert lean.urllib3.http2.version("requests") == lean.requests.__version__

from droplan_boot.host import http

response = http.requests.Response()
response._content = '{"name": "wëb"}'.encode()
assert response.json() == {"name": "wëb"}
assert response.apparent_encoding == "utf-8"
print(http.requests.__version__)
"""


def test_what_is_left_out_is_missed_by_nobody_and_nothing_is_said_of_it(tmp_path: Path) -> None:
    # With warnings as errors, so that none of requests' own reaches a person's terminal.
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path / "archive.zip")]
    scratch = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=scratch)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
