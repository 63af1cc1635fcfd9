"""A Droplet, its peers, a stranger and a stand-in for DigitalOcean, made of namespaces.

    with Lab(iptables="legacy") as lab:
        shutil.copy("dist/droplan.pyz", lab.droplet.path("/root/droplan.pyz"))
        lab.droplet.run(["python3", "/root/droplan.pyz", "install"], env={"DO_KEY": lab.token})
        assert probe(lab.stranger, lab.droplet).nothing
        lab.do.fault(Fault(path=r"page=2", status=503, times=1))     # what goes wrong, as data
        with Flows(lab.peers[0], lab.droplet) as flows:              # every packet is a new flow
            lab.droplet.run(["/opt/droplan/droplan", "refresh"])
        assert flows.lost == 0

It takes root, half a second, and nothing of the machine's: see ``hosts`` for why nothing can be left behind.
"""

from __future__ import annotations

from tests.bed.account import ListedDroplet, fleet
from tests.bed.faults import GONE, Fault
from tests.bed.hosts import Host
from tests.bed.reach import Connection, Flows, Reach, connects, probe, probe_all
from tests.bed.world import PUBLISHED_PORT, Lab

__all__ = [
    "GONE",
    "PUBLISHED_PORT",
    "Connection",
    "Fault",
    "Flows",
    "Host",
    "Lab",
    "ListedDroplet",
    "Reach",
    "connects",
    "fleet",
    "probe",
    "probe_all",
]
