"""droplan itself in the lab: the built zipapp on the Droplet, and the firewall it leaves there."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.bed.account import ListedDroplet, fleet
from tests.bed.cache import CHECKOUT
from tests.bed.hosts import Host
from tests.bed.world import Lab

ARCHIVE = Path(os.environ.get("DROPLAN_PYZ", CHECKOUT / "dist" / "droplan.pyz"))
"""The zipapp under test; script/test builds it."""

DOWNLOADED = "/srv/droplan.pyz"
"""Where a person put it on the Droplet; everyone may read it there."""

PROGRAM = "/opt/droplan/droplan"
REFRESH = "/opt/droplan/refresh.sh"
CRON = "/etc/cron.d/droplan"
SETTINGS = "/etc/droplan/droplan.env"
LOG = "/var/log/droplan.log"
SNAPSHOT = "/var/lib/droplan/snapshot.json"
STATUS = "/var/lib/droplan/status.json"
METRICS = "/var/lib/droplan/metrics.prom"
VERIFIED = "/var/lib/droplan/verified.json"
ANSWER = "/var/lib/droplan/answer.json"
SAVED = {4: "/etc/iptables/rules.v4", 6: "/etc/iptables/rules.v6"}

ERRORS = "-A droplan-peers -p icmp -m conntrack --ctstate RELATED -j ACCEPT"
PROTECTED_INPUT = (
    "-A INPUT -i eth1 -m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j ACCEPT",
    "-A INPUT -i eth1 -j droplan-peers",
    "-A INPUT -i eth1 -j DROP",
)

Done = subprocess.CompletedProcess[str]

# Where cron's clock would refresh in the middle of a comparison: runs as cron does, under its name, and does nothing.
CRON_IN_NAME = """#!/bin/sh
while :; do sleep 3600; done </dev/null >/dev/null 2>&1 &
"""

_MESSAGE = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \w+: (?P<sentence>[^\n]+)\n")


class Program:
    """droplan on a lab's Droplet.

    Attributes:
        lab: where it is.
        droplet: the host it runs on.
        said: what the installation printed.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.droplet = lab.droplet
        self.said = ""
        self._pristine: dict[str, str] = {}
        shutil.copy(ARCHIVE, self.droplet.path(DOWNLOADED))

    def download(self, *words: str, **environment: str) -> Done:
        """Run the zipapp as it was downloaded; the exit code is the caller's to look at."""
        return self.droplet.run(["/usr/bin/python3", DOWNLOADED, *words], env=environment, check=False, timeout=200)

    def install(self, *words: str, **environment: str) -> Done:
        """Install with the account's token; it must succeed. Its rules are what ``reset`` goes back to."""
        done = succeeded(self.download("install", *words, **{"DO_KEY": self.lab.token, **environment}))
        self._pristine = {tool: self.droplet.run([f"{tool}-save"]).stdout for tool in ("iptables", "ip6tables")}
        self.said = done.stdout
        return done

    def install_for_many(self, **environment: str) -> None:
        """Install for the tests of a module: cron then runs in name only, or it refreshes in the middle of one."""
        first = self.install(**environment)
        self.still_cron()
        self.install(**environment)
        self.said = first.stdout

    def run(self, *words: str, **environment: str) -> Done:
        """Run the installed program; the exit code is the caller's to look at."""
        return self.droplet.run([PROGRAM, *words], env=environment, check=False, timeout=100)

    def refresh(self, **environment: str) -> Done:
        """Refresh, whoever goes by it: what a person is refused has tests of its own. It must succeed."""
        return succeeded(self.run("refresh", "--force", **environment))

    def status(self) -> dict[str, Any]:
        """Return what ``droplan status --json`` says."""
        return dict(json.loads(self.run("status", "--json").stdout))

    def problems(self) -> list[str]:
        """Return the codes of what ``droplan status`` finds wrong (docs/problems.md)."""
        return [one["code"] for one in self.status()["problems"]]

    def report(self) -> dict[str, Any]:
        """Return what the last refresh wrote about itself."""
        return dict(json.loads(self.read(STATUS)))

    def come(self) -> None:
        """Let the moment of the schedule's next refresh have come, which among many Droplets takes more turns."""
        document = {**self.report(), "not_before": None}
        self.droplet.path(STATUS).write_text(json.dumps(document))

    def read(self, path: str) -> str:
        """Read a file of the Droplet."""
        return self.droplet.path(path).read_text()

    def list_droplets(self, *peers: ListedDroplet) -> None:
        """Let the API list this Droplet and these."""
        self.lab.do.set_droplets([self.lab.own_droplet, *peers])

    def rules(self) -> str:
        """Return all tables of both families, without what changes by itself: counters and the time of day."""
        saved = "".join(self.droplet.run([f"{tool}-save"]).stdout for tool in ("iptables", "ip6tables"))
        return re.sub(r" \[\d+:\d+\]$|^#.*\n", "", saved, flags=re.MULTILINE)

    def filters(self) -> list[str]:
        """Return the rules of both families' filter tables, as iptables-save lists them."""
        saved = "".join(
            self.droplet.run([f"{tool}-save", "-t", "filter"]).stdout for tool in ("iptables", "ip6tables")
        )
        return [line for line in saved.splitlines() if line.startswith("-A ")]

    def chain(self, name: str, tool: str = "iptables") -> list[str]:
        """Return a chain's rules as ``iptables -S`` prints them."""
        listed = self.droplet.run([tool, "-S", name]).stdout.splitlines()
        return [line for line in listed if line.startswith("-A ")]

    def edit(self, *commands: str, tool: str = "iptables") -> None:
        """Run iptables commands, such as ``-D INPUT 1``."""
        for command in commands:
            self.droplet.run([tool, "-w", *command.split()])

    def flush(self) -> None:
        """Take all rules away, the guard too."""
        for tool in ("iptables", "ip6tables"):
            self.edit("-F", "-X", "-t mangle -F", "-t mangle -X", tool=tool)
        self.droplet.run(["nft", "add table inet droplan; delete table inet droplan"])

    def still_cron(self) -> None:
        """Stop cron, and have it run in name only from its next start on."""
        cron = self.droplet.path("/usr/sbin/cron")
        cron.unlink(missing_ok=True)
        cron.write_text(CRON_IN_NAME)
        cron.chmod(0o755)
        self.stop_cron()

    def stop_cron(self) -> None:
        """End cron, by process number, and see that it has ended: a signal is not carried out at once."""
        deadline = time.monotonic() + 30
        while crons := self.crons():
            assert time.monotonic() < deadline, crons
            self.droplet.run(["kill", "-9", *crons], check=False)

    def crons(self) -> list[str]:
        """List the processes that are called cron, by number."""
        listed = self.droplet.run(["ps", "-e", "-o", "pid=,comm="]).stdout
        return re.findall(r"^ *(\d+) cron$", listed, re.MULTILINE)

    def reset(self) -> None:
        """Go back to how the installation left things: same rules, same Droplets, nothing failing."""
        self.lab.do.clear_faults()
        self.lab.do.set_peerings([])
        self.lab.do.set_droplets([self.lab.own_droplet, *self.lab.peer_droplets])
        self.lab.do.set_metadata(self.droplet.public.ipv4, self.lab.metadata())
        for tool, saved in self._pristine.items():
            self.droplet.run([f"{tool}-restore"], input=saved)
        self.refresh()
        self.lab.do.forget_requests()


def scattered(count: int) -> list[ListedDroplet]:
    """Return Droplets of which no two addresses merge into one network, so that each needs a rule of its own."""
    return [
        dataclasses.replace(each, private=f"10.132.{16 + n // 120}.{1 + n % 120 * 2}")
        for n, each in enumerate(fleet(count))
    ]


def succeeded(done: Done) -> Done:
    """Return a command that ended with 0.

    Raises:
        AssertionError: it did not; it shows both outputs.
    """
    assert done.returncode == 0, f"{done.args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def sentence(done: Done) -> str:
    """Return what a failed command says on stderr, which must be one timestamped line and no traceback.

    Raises:
        AssertionError: it is something else.
    """
    found = _MESSAGE.fullmatch(done.stderr)
    assert found, f"not one sentence: {done.stderr!r}"
    return found["sentence"]


def commits(host: Host) -> int:
    """Return how many nf_tables transactions a host's kernel has committed: its ruleset's generation.

    Asked over netlink (NFT_MSG_GETGEN, linux/netfilter/nf_tables.h), because ``nft monitor`` may miss the first ones.
    """
    request = struct.pack("=IHHII", 20, 10 << 8 | 16, 1, 1, 0) + struct.pack("=BBH", 0, 0, 0)

    def ask() -> bytes:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netfilter:
            netfilter.send(request)
            return netfilter.recv(4096)

    # After the headers (16 and 4 bytes) comes the attribute NFTA_GEN_ID: length, type, value.
    answer = host.inside(ask)
    assert struct.unpack_from("=HH", answer, 20) == (8, 1)
    return int(struct.unpack_from("!I", answer, 24)[0])


def traced(program: Program, call: str, *words: str, **environment: str) -> list[str]:
    """Run the installed program under strace; return the lines about one system call, those of its children too."""
    trace = "/root/trace"
    command = ["strace", "-f", "-v", "-s", "4096", "-e", f"trace={call}", "-o", trace, PROGRAM, *words]
    succeeded(program.droplet.run(command, env=environment, check=False))
    return [line for line in program.read(trace).splitlines() if f"{call}(" in line]


def writes(program: Program, **environment: str) -> int:
    """Refresh and return how many transactions the kernel's tables saw, legacy or not, IPv4 and IPv6."""
    before = commits(program.droplet)
    calls = traced(program, "setsockopt", "refresh", "--force", **environment)
    replaced = sum("IPT_SO_SET_REPLACE" in call or "IP6T_SO_SET_REPLACE" in call for call in calls)
    return commits(program.droplet) - before + replaced
