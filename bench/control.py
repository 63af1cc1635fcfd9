"""Control plane: what a refresh costs, by backend and number of peers, against one process per rule."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.sample import Samples, table
from tests.bed import Lab, account

HERE = Path(__file__).parent
ROOT = HERE.parent
# The way of one process per rule, by whose rules it writes, with the arguments of per_rule.py.
OUR_RULES, GO_RULES = "one process per rule", "one process per rule, Go droplan's rules"
BASELINES = {OUR_RULES: ("all",), GO_RULES: ()}
BASELINE_LIMIT = 1000  # beyond, it takes minutes

# name → variant of iptables in the lab, DROPLAN_BACKEND
BACKENDS = {
    "iptables-nft": ("nft", "auto"),
    "iptables-legacy": ("legacy", "auto"),
    "nftables": ("nft", "nftables"),
}
CASES = ("first", "unchanged", "1 % changed")
# requests and what it imports, as pip installed them beside this program: compiled, and not as the zipapp has them.
REQUESTS = ("requests", "urllib3", "idna", "certifi", "charset_normalizer")
START = (
    "python3 -I -S -c pass",
    "python3 -I -S -c 'import requests'",
    "droplan --version",
    "droplan refresh, 10 peers, unchanged",
)


@dataclass(frozen=True)
class Cost:
    """What one run cost: seconds of wall and CPU, MB at its peak, processes, API requests."""

    wall: float
    cpu: float
    memory: float
    processes: int
    requests: int


Costs = dict[tuple[str, int, str], list[Cost]]


class Subject:
    """A Droplet with droplan installed on one backend."""

    def __init__(self, lab: Lab, setting: str) -> None:
        self.lab = lab
        self.own = list(lab.do.droplets)
        shutil.copy(ROOT / "dist/droplan.pyz", lab.droplet.path("/root/droplan.pyz"))
        for name in ("meter.py", "per_rule.py"):
            shutil.copy(HERE / name, lab.droplet.path("/root"))
        environment = {"DO_KEY": lab.token, "DROPLAN_BACKEND": setting}
        lab.droplet.run(["/usr/bin/python3", "/root/droplan.pyz", "install"], env=environment, timeout=300)

    def measure(self, *command: str, environment: Mapping[str, str] | None = None) -> Cost:
        """Run a command on the Droplet and tell what it cost.

        Raises:
            RuntimeError: it failed.
        """
        self.lab.do.forget_requests()
        argv = ["/usr/bin/python3", "-I", "-S", "/root/meter.py", *command]
        cost = json.loads(self.lab.droplet.run(argv, env=environment, timeout=600).stdout)
        if cost["status"]:
            raise RuntimeError(f"{command} failed: {cost['said']}")
        requests = len(self.lab.do.requests("api"))
        return Cost(cost["wall"], cost["cpu"], cost["memory"], cost["processes"], requests)

    def refresh(self) -> Cost:
        """Measure a refresh."""
        return self.measure("/opt/droplan/droplan", "refresh", "--force")

    def per_rule(self, words: Sequence[str]) -> Cost:
        """Measure a refresh the way of the Go droplan."""
        argv = ("/usr/bin/python3", "-I", "-S", "/root/per_rule.py", self.packages(), "eth1", *words)
        return self.measure(*argv, environment={"DO_KEY": self.lab.token})

    def packages(self) -> str:
        """Where the program's own packages are on the Droplet."""
        root = self.lab.droplet.path("/var/lib/droplan/zipapp")
        tree = next(place.name for place in root.iterdir() if place.is_dir())
        return f"/var/lib/droplan/zipapp/{tree}/site-packages"

    def installed(self) -> str:
        """Put requests on the Droplet as pip installs it; return where."""
        place = self.lab.droplet.path("/root/installed")
        for name in REQUESTS:
            found = importlib.util.find_spec(name)
            if found is None or found.origin is None:
                raise RuntimeError(f"{name} is not installed: see script/bench")
            shutil.copytree(Path(found.origin).parent, place / name, dirs_exist_ok=True)
        return "/root/installed"

    def forget(self) -> None:
        """Make the next refresh a first one: no rules, no snapshot."""
        self.lab.droplet.run(["sh", "-c", _FORGET])


_FORGET = """
for tool in iptables ip6tables; do $tool -F; $tool -X; done
nft delete table inet droplan 2>/dev/null
rm -f /var/lib/droplan/snapshot.json /etc/iptables/rules.v4 /etc/iptables/rules.v6
"""


def run(sizes: Sequence[int], rounds: int) -> Costs:
    """Measure every backend at every size, ``rounds`` times, interleaved."""
    costs: Costs = defaultdict(list)
    with ExitStack() as stack:
        subjects = {
            name: Subject(stack.enter_context(Lab(variant)), setting) for name, (variant, setting) in BACKENDS.items()
        }
        for size in sizes:
            fleet = account.fleet(size)
            changed = _churn(fleet)
            for _ in range(rounds):
                for name, subject in subjects.items():
                    subject.forget()
                    subject.lab.do.set_droplets([*subject.own[:1], *fleet])
                    costs[name, size, "first"].append(subject.refresh())
                    costs[name, size, "unchanged"].append(subject.refresh())
                    subject.lab.do.set_droplets([*subject.own[:1], *changed])
                    costs[name, size, "1 % changed"].append(subject.refresh())
                subject = subjects["iptables-nft"]
                subject.lab.do.set_droplets([*subject.own[:1], *fleet])
                for name, words in BASELINES.items() if size <= BASELINE_LIMIT else ():
                    subject.forget()
                    costs[name, size, "first"].append(subject.per_rule(words))
        costs.update(_starts(subjects["iptables-nft"], rounds))
    return costs


def _churn(fleet: Sequence[account.ListedDroplet]) -> list[account.ListedDroplet]:
    """Replace 1 % of a fleet, at least one Droplet, by others."""
    chosen = set(random.Random(1).sample(range(len(fleet)), max(1, len(fleet) // 100)))
    return [
        replace(one, id=one.id + 500_000, private=f"10.133.{n // 250}.{1 + n % 250}") if n in chosen else one
        for n, one in enumerate(fleet)
    ]


def _starts(subject: Subject, rounds: int) -> Costs:
    """Measure starts, next to those of a bare Python and of requests."""
    imports = f"import sys; sys.path.insert(0, '{subject.installed()}'); import requests"
    subject.lab.do.set_droplets([*subject.own[:1], *account.fleet(10)])
    subject.refresh()
    commands = (
        ("/usr/bin/python3", "-I", "-S", "-c", "pass"),
        ("/usr/bin/python3", "-I", "-S", "-c", imports),
        ("/opt/droplan/droplan", "--version"),
        ("/opt/droplan/droplan", "refresh", "--force"),
    )
    costs: Costs = defaultdict(list)
    for _ in range(5 * rounds):
        for name, command in zip(START, commands):
            costs[name, 0, "start"].append(subject.measure(*command))
    return costs


def page(costs: Costs) -> str:
    """Write what was measured as Markdown."""
    rows = []
    for (name, size, case), runs in costs.items():
        if case == "start":
            continue
        rows.append(
            [
                name,
                f"{size:,}",
                case,
                Samples([one.wall for one in runs]).told(1e-3),
                Samples([one.cpu for one in runs]).told(1e-3),
                Samples([one.memory for one in runs]).told(),
                Samples([float(one.processes) for one in runs]).told(),
                Samples([float(one.requests) for one in runs]).told(),
            ]
        )
    rows.sort(key=lambda row: int(row[1].replace(",", "")))
    starts = [
        [name, Samples([one.cpu for one in runs]).told(1e-3, 1), Samples([one.wall for one in runs]).told(1e-3, 1)]
        for (name, _, case), runs in costs.items()
        if case == "start"
    ]
    head = ["backend", "peers", "refresh", "wall ms", "CPU ms", "peak MB", "processes", "API requests"]
    return (
        "## Control: a refresh\nFrom start to end, the API's JSON (3 KB a Droplet, gzip on the wire), reading back "
        f"and saving included. Median (minimum-maximum).\n\n{table(head, rows)}\n"
        f"## Start\n\n{table(['command', 'CPU ms', 'wall ms'], starts)}"
    )
