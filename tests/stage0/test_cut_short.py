"""A file cut short anywhere does nothing and fails."""

from __future__ import annotations

import os
import subprocess
import warnings

import pytest

from tests.bed.stage0.droplet import BOOTSTRAP, SYSTEM_PYTHON, Stage0Droplet
from tests.bed.stage0.server import LoopbackServer
from tests.stage0.conftest import Published

SOURCE = BOOTSTRAP.read_bytes()
LINE_ENDS = [at + 1 for at, byte in enumerate(SOURCE) if byte == ord("\n")]
# A program can only be complete where a statement is. That is at the end of a line, or, as there are no semicolons,
# within one; every byte of the first and the last lines, and one in 23 of the others, stand for the latter.
LENGTHS = sorted(
    {*range(3, 40), *range(40, len(SOURCE), 23), *LINE_ENDS, *range(len(SOURCE) - 400, len(SOURCE) - 1)}
    - {len(SOURCE)}
)
WHAT_COMPILES = """\
import sys
source = open(sys.argv[1], "rb").read()
for length in map(int, sys.stdin.read().split()):
    try:
        compile(source[:length], "part", "exec")
        print(length)
    except SyntaxError:
        pass
"""


def compiles(length: int) -> bool:
    try:
        compile(SOURCE[:length], "part", "exec")
    except SyntaxError:
        return False
    return True


def test_no_part_of_the_file_compiles() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a part may end in what looks like a bad escape
        assert [length for length in LENGTHS if compiles(length)] == []
        assert compiles(len(SOURCE))


def test_no_part_of_the_file_compiles_on_any_python(python: str) -> None:
    sample = [*LENGTHS[:40], *LENGTHS[40:-400:4], *LENGTHS[-400::8], len(SOURCE) - 2, len(SOURCE)]
    answer = subprocess.run(
        [python, "-W", "ignore", "-c", WHAT_COMPILES, BOOTSTRAP],
        input=" ".join(map(str, sample)),
        capture_output=True,
        text=True,
        check=True,
    )

    assert answer.stdout.split() == [str(len(SOURCE))]


@pytest.mark.parametrize("length", [1, 2, 3, 1000, LINE_ENDS[40], len(SOURCE) // 2, LINE_ENDS[-3], len(SOURCE) - 2])
def test_a_part_that_is_run_does_nothing_and_fails(
    length: int, python: str, droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    outcome = droplet.run(python, *published.arguments, environment=published.trust, script=SOURCE[:length])

    assert outcome.code == 1
    assert outcome.stdout == ""
    assert server.requests == []
    assert not droplet.directory.exists()


def test_only_the_last_line_break_may_be_missing(droplet: Stage0Droplet, published: Published) -> None:
    whole = SOURCE.rstrip(b"\n")
    assert len(SOURCE) - len(whole) == len(os.linesep)

    assert droplet.run(SYSTEM_PYTHON, *published.arguments, environment=published.trust, script=whole).installed
