"""The loops and the settings of the how-to pages do what the pages say, as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from droplan_boot import settings
from droplan_boot.host.files import Files

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
HOSTS = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
TOKEN = "dop_v1_" + "0" * 64
# Stands for ssh and scp: writes down what it is asked and what it reads, which is all that there is, as with ssh.
STAND_IN = """#!/bin/sh
printf '%s' "${0##*/}" >>"$RECORD"
printf ' %s' "$@" >>"$RECORD"
case $1 in -n | -q) ;; *) printf ' <%s>' "$(cat)" >>"$RECORD" ;; esac
echo >>"$RECORD"
case "$*" in *"$FAILING"*) echo "BLIND  no answer" >&2; exit 5 ;; *) echo OK ;; esac
"""


def loops(page: str) -> dict[str, str]:
    """Read the loops of a page, by the chapter that each stands in; "" for the page's own."""
    found = {}
    for chapter in ("\n" + (HOW_TO / page).read_text()).split("\n## "):
        loop = re.search(r"^```sh\n(while .*?)^```", chapter, re.MULTILINE | re.DOTALL)
        if loop:
            found[chapter.partition("\n")[0]] = loop[1]
    return found


def typed(place: Path, loop: str, *, failing: str = "nobody") -> tuple[list[str], str]:
    """Type a loop where there are three hosts; return what ssh and scp were asked, and what was shown."""
    for name in ("ssh", "scp"):
        (place / name).write_text(STAND_IN)
        (place / name).chmod(0o755)
    (place / "hosts").write_text("".join(f"{host}\n" for host in HOSTS))
    (place / "token").write_text(f"{TOKEN}\n")
    record = place / "record"
    record.write_text("")
    environment = {"PATH": f"{place}:{os.environ['PATH']}", "RECORD": str(record), "FAILING": failing}
    done = subprocess.run(
        ["sh", "-c", loop], cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    return record.read_text().splitlines(), done.stdout + done.stderr


class TestAnExistingFleet:
    LOOPS = loops("existing-fleet.md")

    def test_it_has_a_loop_for_each_step(self) -> None:
        assert [*self.LOOPS] == ["Look", "Observe", "All", "See only what is not OK"]

    @pytest.mark.parametrize(
        ("chapter", "command"),
        [
            ("Look", "python3 /root/droplan.pyz install --dry-run --token-file -"),
            ("Observe", "DROPLAN_MODE=observe python3 /root/droplan.pyz install --token-file -"),
        ],
    )
    def test_each_droplet_is_asked_once_and_gets_the_token_by_stdin_alone(
        self, chapter: str, command: str, tmp_path: Path
    ) -> None:
        asked, _ = typed(tmp_path, self.LOOPS[chapter])
        assert [one for one in asked if one.startswith("ssh")] == [
            f"ssh root@{host} {command} <{TOKEN}>" for host in HOSTS
        ]

    def test_the_program_is_on_a_droplet_before_it_is_run(self, tmp_path: Path) -> None:
        asked, _ = typed(tmp_path, self.LOOPS["Look"])
        assert asked[::2] == [f"scp -q droplan.pyz root@{host}:/root/droplan.pyz" for host in HOSTS]

    def test_all_ends_at_the_first_that_fails(self, tmp_path: Path) -> None:
        asked, _ = typed(tmp_path, self.LOOPS["All"], failing=HOSTS[1])
        assert asked == [f"ssh -n root@{host} DROPLAN_MODE=enforce droplan install" for host in HOSTS[:2]]

    def test_it_shows_only_what_is_not_ok(self, tmp_path: Path) -> None:
        asked, shown = typed(tmp_path, self.LOOPS["See only what is not OK"], failing=HOSTS[1])
        assert len(asked) == len(HOSTS)
        assert shown == f"== {HOSTS[1]}\nBLIND  no answer\n"


def test_another_token_goes_to_each_by_stdin_and_those_that_kept_the_old_one_are_named(tmp_path: Path) -> None:
    asked, shown = typed(tmp_path, loops("token.md")[""], failing=HOSTS[1])
    assert asked == [f"ssh root@{host} droplan token --token-file - <{TOKEN}>" for host in HOSTS]
    assert [line for line in shown.splitlines() if line.startswith("not changed")] == [f"not changed: {HOSTS[1]}"]


def written() -> list[tuple[str, dict[str, str]]]:
    """Read what the pages write into droplan.env, or put before a command, a block or a word in backquotes each."""
    found = []
    for path in sorted(HOW_TO.glob("*.md")):
        text = path.read_text()
        files = re.findall(r"# /etc/droplan/droplan\.env\n((?: *[A-Z_]+=.*\n)+)", text)
        words = re.findall(r"`((?:[A-Z_]+=\S+ ?)+)`", text)
        for block in (*files, *words):
            found.append((path.stem, dict(re.findall(r"([A-Z_]+)=(\S+)", block))))
    return found


@pytest.mark.parametrize(("page", "environ"), written(), ids=lambda value: value if isinstance(value, str) else "")
def test_settings_are_ones_that_are_taken(page: str, environ: dict[str, str], files: Files) -> None:
    told = {
        name: value.replace("CLUSTER_UUID", "0" * 8 + "-0000-0000-0000-" + "0" * 12)
        for name, value in environ.items()
    }
    settings.load({"DO_KEY": TOKEN, **told}, files)


def test_settings_were_found() -> None:
    assert len(written()) > 15
