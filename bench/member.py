"""What a member of a fleet costs its Droplet, beside one that lists the account: ``sudo script/bench member``."""

from __future__ import annotations

import argparse
import json
import shutil
import ssl
import statistics
import time
from pathlib import Path

from tests.bed import Lab, account, ca
from tests.bed.droplet import API_ADDRESS
from tests.bed.program import PROGRAM, Program, succeeded
from tests.bed.shared.engine import OWNER, READER, Engine
from tests.bed.shared.proxy import Proxy

HOST, PORT = "nyc3.digitaloceanspaces.com", 8443
FLEET = f"https://{HOST}:{PORT}/bench/prod"


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="script/bench member", description=__doc__)
    parser.add_argument("--droplets", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--polls", type=int, default=10)
    options = parser.parse_args()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(ca.server(HOST))
    with Engine() as engine, Lab("nft") as lab, Proxy(engine.url, lab.listener(PORT), tls) as proxy:
        engine.bucket("bench")
        subject = Subject(lab, proxy)
        peers = account.fleet(options.droplets)
        costs: dict[str, list[float]] = {}
        for turn in range(options.rounds):
            # Others than in the turn before: one in a hundred goes, and comes back.
            step = peers[turn::100]
            changed = [peer for peer in peers if peer not in step]
            for name, environment in subject.ways.items():
                lab.do.set_droplets([lab.own_droplet, *peers])
                subject.publish()
                subject.refresh(environment)
                lab.do.set_droplets([lab.own_droplet, *changed])
                subject.publish()
                costs.setdefault(f"{name}, changed, CPU s", []).append(subject.refresh(environment))
                costs.setdefault(f"{name}, unchanged, CPU s", []).append(subject.refresh(environment))
            lab.droplet.path("/var/lib/droplan/shared.base").unlink()
            costs.setdefault("member, base read anew, CPU s", []).append(subject.refresh(subject.ways["member"]))
        found = {name: round(statistics.median(values), 3) for name, values in costs.items()}
        print(json.dumps({**found, **subject.poll(options.polls)}, indent=1))


class Subject:
    """A Droplet that is measured."""

    def __init__(self, lab: Lab, proxy: Proxy) -> None:
        self.lab, self.proxy = lab, proxy
        self.program = Program(lab)
        shutil.copy(Path(__file__).with_name("meter.py"), lab.droplet.path("/root"))
        hosts = lab.droplet.path("/etc/hosts")
        hosts.write_text(f"{hosts.read_text()}{API_ADDRESS} {HOST}\n")
        trust = succeeded(self.program.download("fleet", "key", "/root/fleet.key")).stdout.strip()
        member = {
            "DROPLAN_SHARED": FLEET,
            "DROPLAN_SHARED_KEY": ":".join(READER),
            "DROPLAN_SHARED_TRUST": trust,
        }
        self.ways = {"API": {"DO_KEY": lab.token, "DROPLAN_SHARED": ""}, "member": member}
        lab.droplet.path("/etc/droplan").mkdir(mode=0o755)
        publish = {**member, "DO_KEY": lab.token, "DROPLAN_SHARED_KEY": ":".join(OWNER)}
        publish["DROPLAN_SIGNING_KEY"] = "/root/fleet.key"
        place = lab.droplet.path("/etc/droplan/publish.env")
        place.write_text("".join(f"{name}={value}\n" for name, value in publish.items()))
        place.chmod(0o600)
        succeeded(self.program.download("publish", "--once"))
        succeeded(self.program.download("install", **member))

    def publish(self) -> None:
        """Publish what the API lists now."""
        succeeded(self.program.run("publish", "--once"))

    def refresh(self, environment: dict[str, str]) -> float:
        """Refresh, whoever goes by it; return the CPU seconds that took, children's included."""
        argv = ["/usr/bin/python3", "-I", "-S", "/root/meter.py", PROGRAM, "refresh", "--force"]
        cost = json.loads(self.lab.droplet.run(argv, env=environment, timeout=600).stdout)
        if cost["status"]:
            raise RuntimeError(cost["said"])
        return float(cost["cpu"])

    def poll(self, polls: int) -> dict[str, float]:
        """Let the polling child poll; return what it costs."""
        child = self.lab.droplet.popen([PROGRAM, "poll"])
        try:
            self._unchanged(3)
            entered = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
            process = Path("/proc", entered[0] if entered else str(child.pid))
            before = _cpu(process)
            self._unchanged(polls)
            spent = (_cpu(process) - before) / polls
            rollup = dict(
                line.split(":", 1) for line in (process / "smaps_rollup").read_text().splitlines() if "kB" in line
            )
        finally:
            child.kill()
            child.wait()
        last = [each for each in self.proxy.passed if each.status == 304][-1]
        return {
            "polling child, PSS MB": round(int(rollup["Pss"].split()[0]) / 1024, 1),
            "unchanged poll, CPU ms": round(spent * 1000, 2),
            "unchanged poll, bytes both ways, without TLS": last.sent + last.received,
        }

    def _unchanged(self, polls: int) -> None:
        self.proxy.passed.clear()
        while sum(1 for each in self.proxy.passed if each.status == 304) < polls:
            time.sleep(0.5)


def _cpu(process: Path) -> float:
    """Seconds of CPU that a process has had, by the scheduler's count in nanoseconds."""
    return int((process / "schedstat").read_text().split()[0]) / 1e9


if __name__ == "__main__":
    main()
