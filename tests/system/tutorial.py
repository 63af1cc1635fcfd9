"""Type docs/tutorial.md's lines: on a Droplet that boots, on its peer, and on a machine that is none.

    sudo .cache/venv/bin/python -m tests.system.tutorial

pastes what is said into the page, after a change of the page or of what droplan says. Where only times and counts
differ, what the page shows stays as it is.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from tests.bed.booted.region import Region
from tests.bed.cache import CHECKOUT
from tests.bed.hosts import Host

PAGE: Final = CHECKOUT / "docs" / "tutorial.md"
RELEASE: Final = "trixie"
PORTS: Final = (80, 9100)

_BLOCK: Final = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
_PROMPT: Final = re.compile(r"^([a-z0-9-]+)# (.+)$")
# What is another each time, and what stands for it where two runs are compared.
_OTHER: Final = (
    (r"\d{4}/\d\d/\d\d \d\d:\d\d(:\d\d)?", "TIME"),
    (r"\b\d+(\.\d+)? (s|min)\b", "AGE"),
    (r"\b\d+ of 5000 requests left; the token's users took \d+\b", "BUDGET"),
    (r"\b\d+ packets?\b|\(\d+\)", "PACKETS"),
)


@dataclass(frozen=True)
class Line:
    """A line that is typed.

    Args:
        chapter: of which chapter.
        place: on whom.
        command: what is typed.
        shown: what stands below it in the page, or what was said, stdout before stderr.
        code: what it ended with; the page does not tell.
    """

    chapter: int
    place: str
    command: str
    shown: str = ""
    code: int | None = None

    @property
    def settled(self) -> str:
        """What was said, without what is another each time."""
        text = self.shown
        for pattern, name in _OTHER:
            text = re.sub(pattern, name, text)
        return text


def lines(page: str) -> Iterator[Line]:
    """Read the page's lines, in order."""
    chapters = re.split(r"^## (\d)\. ", page, flags=re.MULTILINE)
    for number, text in zip(chapters[1::2], chapters[2::2]):
        for block in _BLOCK.findall(text):
            found: Line | None = None
            for row in block.splitlines(keepends=True):
                typed = _PROMPT.match(row)
                if typed:
                    if found:
                        yield found
                    found = Line(int(number), typed[1], typed[2])
                elif found:
                    found = replace(found, shown=found.shown + row)
            if found:
                yield found


def pasted(page: str, said: list[Line]) -> str:
    """Return the page with what was said in it, where that differs in more than times and counts."""
    rest = iter(zip(lines(page), said))

    def block(old: re.Match[str]) -> str:
        typed = len([row for row in old[0].splitlines() if _PROMPT.match(row)])
        pairs = [next(rest) for _ in range(typed)]
        kept = [before if before.settled == after.settled else after for before, after in pairs]
        return "".join(f"{one.place}# {one.command}\n{one.shown}" for one in kept)

    return _BLOCK.sub(block, page)


def typed(page: str, pyz: bytes) -> Iterator[Line]:
    """Follow the page: yield each line as it was answered, before the next one is typed."""
    with Region() as region:
        droplet = region.droplet(RELEASE, "web-1", tags=("tutorial",))
        peer, monitor = region.host("db-1"), region.stranger
        listed = region.listing(monitor)
        region.do.add(region.listing(peer, tags=("tutorial",)))
        region.do.add(replace(listed, name="monitor"))
        places: dict[str, Host] = {"web-1": droplet, "db-1": peer, "monitor": monitor}
        droplet.boot()
        droplet.wait_cloud_init()
        droplet.path("/root/droplan.pyz").write_bytes(pyz)
        token = droplet.path("/root/token")
        token.touch(0o600)
        token.write_text(region.token)
        for line in lines(page):
            if line.command == "droplan blocked":  # whoever types takes longer than the watcher does
                droplet.wait_until(["sh", "-c", "droplan blocked | grep tcp/9100"])
            # A shell complains that is put into a namespace, and so is in no directory.
            login = ["env", "--chdir=/root", "bash", "-c", line.command]
            done = places[line.place].run(login, check=False)
            yield replace(line, shown=done.stdout + done.stderr, code=done.returncode)
            if "http.server" in line.command:
                listening = " && ".join(f"ss -Hltn sport = :{port} | grep -q ." for port in PORTS)
                droplet.wait_until(["sh", "-c", listening])


def main() -> int:
    """Write the page anew."""
    subprocess.run([CHECKOUT / "script" / "roots", RELEASE], check=True)
    subprocess.run([CHECKOUT / "script" / "build"], check=True, stdout=subprocess.DEVNULL)
    page = PAGE.read_text()
    said = []
    for line in typed(page, (CHECKOUT / "dist" / "droplan.pyz").read_bytes()):
        print(f"{line.place}# {line.command}\n{line.shown}", end="", flush=True)
        said.append(line)
    PAGE.write_text(pasted(page, said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
