"""Importing requests without what no run uses: less is loaded, and nothing is missed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from droplan_boot import __version__, cli

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


def test_to_tell_its_version_it_loads_next_to_nothing() -> None:
    program = (
        "import sys; sys.argv[1:] = ['--version']; from droplan_boot.cli import main; main(); "
        "assert not {'typing', 're', 'dataclasses', 'pathlib'} & set(sys.modules), sorted(sys.modules)"
    )
    # Without site, which loads more than this does on some machines, and knows where this is checked out.
    place = Path(cli.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, check=False, cwd=place
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"droplan {__version__}\n"
