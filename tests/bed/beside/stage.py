"""The Droplet with the program on it, hosts that knock, and what was seen while something happened."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.bed import packages
from tests.bed.beside.knocking import Knock, Knocking, Target
from tests.bed.beside.program import Event, Program
from tests.bed.hosts import Link
from tests.bed.program import Program as Droplan
from tests.bed.program import succeeded
from tests.bed.reach import ECHO_PORT, answers_to
from tests.bed.world import PUBLISHED_PORT, Lab

# How long knocks go on before and after what happens, in seconds: some dozens of knocks.
_AROUND = 0.4
# So long a program may go on with what it does when its command has ended. droplan acts later, after _AROUND.
_ENDING = 0.3
_SCRIPTS = "/root/beside.sh"

# What the programs' scripts share. They run on the Droplet, where a name is a process of its own namespace only.
_SHELL = """
export DEBIAN_FRONTEND=noninteractive
# Run a daemon, with its output in a file; it ends with the Droplet.
daemon() { setsid nohup "$@" >>"/var/log/$1.out" 2>&1 </dev/null & }
until_() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 1800 ] || { echo "never came about: $*" >&2; cat /var/log/*.out >&2; return 1; }
        sleep 0.05
    done
}
gone() { ! pidof -x "$1" >/dev/null; }
# End a daemon as its unit would, and wait for it.
stop() { if pid=$(pidof -x "$1"); then kill -"${2:-TERM}" $pid; until_ gone "$1"; fi; }
apt_install() { apt-get -qq -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Options::=--force-confold \
    --no-install-recommends install "$@" >/dev/null; }
"""

# Lines of ours in what iptables-save prints: our chains, jumps into them, and the door's two others.
_OURS = re.compile(
    r"droplan|^-A INPUT -i \S+ (-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j ACCEPT|-j DROP)$"
)


@dataclass(frozen=True)
class Seen:
    """What was seen while something happened, and then at a run of droplan.

    Attributes:
        knocks: all of them.
        begin: when it began to happen, end: when it had happened, run: when droplan had run after it.
        before: everybody else's rules just before droplan ran, after: just after that.
        said: what ``droplan status`` printed then, with its exit code.
    """

    knocks: tuple[Knock, ...]
    begin: float
    end: float
    run: float
    before: str
    after: str
    said: tuple[int, str]

    @property
    def strangers_in(self) -> list[str]:
        """Where strangers got in and when, in seconds since it began."""
        return self._told(knock for knock in self.knocks if knock.who == "stranger" and knock.answered)

    @property
    def strangers_in_after_the_run(self) -> list[str]:
        """The same, for knocks that began after droplan had run."""
        late = (knock for knock in self.knocks if knock.at > self.run)
        return self._told(knock for knock in late if knock.who == "stranger" and knock.answered)

    @property
    def peers_out(self) -> list[str]:
        """Where a peer did not get in, and when."""
        return self._told(knock for knock in self.knocks if knock.who != "stranger" and not knock.answered)

    @property
    def peers_out_otherwise(self) -> list[str]:
        """The same, without knocks that were under way while it happened, or just after: droplan acts later."""
        knocks = (knock for knock in self.knocks if not self.begin - 1 < knock.at < self.end + _ENDING)
        return self._told(knock for knock in knocks if knock.who != "stranger" and not knock.answered)

    def knocked(self, who: str) -> dict[str, int]:
        """How often somebody knocked, by target: the other properties mean nothing where nobody did."""
        counted: dict[str, int] = {}
        for knock in self.knocks:
            if knock.who == who:
                counted[knock.target] = counted.get(knock.target, 0) + 1
        return counted

    def _told(self, knocks: Iterator[Knock]) -> list[str]:
        return [f"{knock.who} at {knock.target}, {knock.at - self.begin:+.2f} s" for knock in knocks]


class BesideBed:
    """A Droplet with a program and with droplan, whichever came first.

    Args:
        program: the program.
        droplan_first: whether droplan was installed before the program was.
        without_droplan: whether droplan is not installed at all: what the program does by itself.

    Attributes:
        installed: what was seen while the second of the two was installed.
        open_before: at which targets the stranger got in as long as droplan was not there.
    """

    def __init__(self, program: Program, *, droplan_first: bool, without_droplan: bool = False) -> None:
        self.program = program
        self.droplan_first = droplan_first
        self.without_droplan = without_droplan
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> BesideBed:
        with contextlib.ExitStack() as undo:
            self.lab = undo.enter_context(Lab(self.program.iptables))
            self.droplet = self.lab.droplet
            # What containers are counted in is the machine's: nothing of it may stay.
            self._cgroup = f"droplan-beside-{os.getpid()}-{self.droplet.pid}"
            undo.callback(self._remove_cgroup)
            undo.callback(self.droplet.stop)
            self.droplan = Droplan(self.lab)
            self._prepare()
            self._add_cards()
            self.open_before: set[str] = set()
            if self.without_droplan:
                self.start_program()
            elif self.droplan_first:
                self.open_before = self._open()
                self.droplan.install()
                self.installed = self.play(Event("install", ""), self.start_program)
            else:
                # A program that refuses even peers shuts strangers out by itself: that they knock is seen without it.
                self.open_before = set() if self.program.peers_in else self._open()
                self.start_program()
                self.open_before = self.open_before or self._open()
                self.installed = self.play(Event("install", ""), self._install_droplan)
            self._exit = undo.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._exit.close()

    def sh(self, script: str, *, timeout: float = 120) -> str:
        """Run a script on the Droplet, with the helpers that the programs' scripts use; it must succeed."""
        return self.droplet.run(["sh", "-ec", f". {_SCRIPTS}\n{script}"], timeout=timeout).stdout

    def start_program(self) -> None:
        """Install the program and have it run."""
        if self.program.packages:
            self.sh(f"apt_install {' '.join(self.program.packages)}")
        for path, text in self.program.files.items():
            target = self.droplet.path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.write_text(text)
        self.sh(self.program.start)

    def play(self, event: Event, act: Callable[[], object] | None = None) -> Seen:
        """Let something happen while all knock, and then have droplan run as cron would have it."""
        peers = self.peer_targets() if self.program.peers_in else []
        with Knocking({self.lab.stranger: self.stranger_targets(), self.lab.peers[0]: peers}) as knocking:
            time.sleep(_AROUND)
            begin = time.monotonic()
            if act:
                act()
            else:
                self.sh(event.script)
            end = time.monotonic()
            time.sleep(_AROUND)
            before = self.others()
            said = (0, "")
            if not self.without_droplan:
                succeeded(self.droplan.run("refresh"))
            run = time.monotonic()
            after = self.others()
            if not self.without_droplan:
                status = self.droplan.run("status")
                said = (status.returncode, status.stdout + status.stderr)
            time.sleep(_AROUND)
        return Seen(tuple(knocking.knocks), begin, end, run, before, after, said)

    def peer_targets(self) -> list[Target]:
        """Where the peer knocks: all that it may reach at all times."""
        address = self.droplet.address
        targets = [Target("the host", (address, ECHO_PORT))]
        if self.program.publishes and self._published:
            targets.append(Target("the published port", (address, PUBLISHED_PORT)))
        return targets

    def stranger_targets(self) -> list[Target]:
        """Where the stranger knocks: by IPv4, by IPv6, and at the private address over the public network."""
        stranger = self.lab.stranger
        local = (self.droplet.link_local, stranger.scope(stranger.private))
        found = []
        for name, port in (("the host", ECHO_PORT), ("the published port", PUBLISHED_PORT)):
            found.append(Target(name, (self.droplet.address, port)))
            found.append(Target(f"{name} by IPv6", (local[0], port, 0, local[1])))
            found.append(
                Target(f"{name} over the public network", (self.droplet.address, port), stranger.public.ipv4)
            )
        for address in self.program.addresses:
            found.append(Target(f"the host at {address}", (address, ECHO_PORT)))
        for number, name in enumerate(self.program.cards):
            card = (_card(number, name).link_local, ECHO_PORT, 0, local[1])
            found.append(Target(f"the host by IPv6 at {name}", card))
        return found

    def others(self) -> str:
        """Return everybody else's rules, in their order and without counters."""
        found = []
        for tool in ("iptables", "ip6tables"):
            for line in self.droplet.run([f"{tool}-save"]).stdout.splitlines():
                if not line.startswith("#") and not _OURS.search(line):
                    found.append(re.sub(r" ?\[\d+:\d+\]", "", line))
        for table in self.droplet.run(["nft", "list", "tables"]).stdout.splitlines():
            family, name = table.split()[1:3]
            if (family, name) != ("inet", "droplan") and family not in ("ip", "ip6"):
                listed = self.droplet.run(["nft", "list", "table", family, name]).stdout
                found.append(re.sub(r"counter packets \d+ bytes \d+", "counter", listed))
        # A table that is empty is as good as none.
        return re.sub(r"\*\w+\n(:\w+ ACCEPT\n)*COMMIT\n", "", "\n".join(found) + "\n")

    @property
    def _published(self) -> bool:
        return bool(self.droplet.path("/run/published").exists())

    def _install_droplan(self) -> None:
        self.droplan.install()

    def _open(self) -> set[str]:
        """Where the stranger gets in now."""
        found = set()
        for target in self.stranger_targets():
            if not target.source and answers_to(self.lab.stranger, target.address, "tcp", 1.0):
                found.add(target.name)
        return found

    def _prepare(self) -> None:
        self.droplet.path(_SCRIPTS).write_text(f"{_SHELL}\nCGROUP=/{self._cgroup}\n{self.program.functions}")
        if self.program.packages:
            # A cache of its own for each choice of packages, as apt made it.
            name = f"beside-{'-'.join(self.program.packages)}"
            where = f"/var/cache/{name}"
            shutil.copytree(packages.repository(name, self.program.packages), self.droplet.path(where))
            with self.droplet.path("/etc/apt/sources.list").open("a") as sources:
                sources.write(f"deb [trusted=yes] file:{where} ./\n")
            self.sh("apt-get -qq update")
        # The stranger asks for the private address over the public network: the kernel answers on any card.
        stranger = self.lab.stranger
        stranger.ip(
            f"route add {self.droplet.address}/32 dev eth0 table 7\nrule add from {stranger.public.ipv4} lookup 7\n"
        )

    def _add_cards(self) -> None:
        for number, name in enumerate(self.program.cards):
            self.lab.network.plug(self.droplet, _card(number, name), "private")
            # Tells the others at once when an address of theirs is to be found elsewhere.
            self.sh(f"echo 1 >/proc/sys/net/ipv4/conf/{name}/arp_notify")

    def _remove_cgroup(self) -> None:
        script = f"""
            mount -t cgroup2 cgroup2 /mnt 2>/dev/null || exit 0
            [ ! -d /mnt/{self._cgroup} ] || find /mnt/{self._cgroup} -depth -type d -exec rmdir '{{}}' +
        """
        for _ in range(600):  # what was in it ends with the Droplet, but not at once
            done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True)
            if done.returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError(f"the control group stayed: {done.stderr}")


def kernel_has(kind: str) -> bool:
    """Say whether the machine's kernel knows a kind of link; asked in a namespace of its own."""
    command = ["unshare", "--net", "ip", "link", "add", "probe", "type", kind]
    return subprocess.run(command, capture_output=True).returncode == 0


def _card(number: int, name: str) -> Link:
    return Link(name, f"0a:00:0a:84:01:{number:02x}", ())
