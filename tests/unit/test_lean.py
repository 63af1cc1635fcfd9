"""Importing requests without what no run uses: less is loaded, and nothing is missed."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from droplan_boot.host import http
from droplan_boot.host.clock import MachineClock

loaded = {name for name in ("charset_normalizer", "chardet") if sys.modules.get(name)}
assert not loaded, loaded
response = http.requests.Response()
response._content = '{"name": "wëb"}'.encode()
assert response.json() == {"name": "wëb"}
assert response.apparent_encoding == "utf-8"
print(http.requests.__version__)
"""


def test_what_is_left_out_is_missed_by_nobody_and_nothing_is_said_of_it() -> None:
    # With warnings as errors, so that none of requests' own reaches a person's terminal.
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
