"""docs/tutorial.md, typed line by line on a Droplet of the lab: a newcomer gets where it says."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed import Lab
from tests.bed.program import ARCHIVE
from tests.bed.reach import ECHO_PORT, connects

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
CHAPTERS = {
    int(number): re.findall(
        r"^# (.+)$", "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)), re.MULTILINE
    )
    for number, text in re.findall(r"^## (\d)\. .*?\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        shutil.copy(ARCHIVE, lab.droplet.path("/root/droplan.pyz"))
        token = lab.droplet.path("/root/token")
        token.touch(0o600)
        token.write_text(lab.token)
        yield lab


def typed(lab: Lab, chapter: int) -> list[subprocess.CompletedProcess[str]]:
    """Type a chapter's lines."""
    assert CHAPTERS[chapter]
    return [lab.droplet.run(["env", PATH, "sh", "-c", line], check=False, timeout=300) for line in CHAPTERS[chapter]]


def reached(lab: Lab) -> tuple[bool, bool]:
    """Tell whether a peer and a stranger reach the Droplet."""
    return connects(lab.peers[0], lab.droplet, ECHO_PORT), connects(lab.stranger, lab.droplet, ECHO_PORT)


def test_it_goes_as_the_page_says(lab: Lab) -> None:
    assert sorted(CHAPTERS) == [1, 2, 3, 4, 5, 6]
    (looked,) = typed(lab, 2)
    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert "would be created" in looked.stdout
    assert reached(lab) == (True, True), "nothing is closed before step 3"

    installed, status = typed(lab, 3)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert re.match(r"[A-Z]", status.stdout)
    assert reached(lab) == (True, False)

    peers, explained, blocked = typed(lab, 4)
    assert lab.peer_droplets[0].name in peers.stdout
    assert explained.returncode == 0
    assert blocked.returncode == 0

    tried, stored, explained = typed(lab, 5)
    assert [one.returncode for one in (tried, stored, explained)] == [0, 0, 0]
    assert "DROPLAN_ALLOW=tcp/9100@10.132.7.7" in lab.droplet.path("/etc/droplan/droplan.env").read_text()
    assert "out" not in explained.stdout.splitlines()[0].split()

    foretold, gone = typed(lab, 6)
    assert (foretold.returncode, gone.returncode) == (0, 0)
    assert not lab.droplet.path("/opt/droplan/droplan").exists()
    assert reached(lab) == (True, True)
