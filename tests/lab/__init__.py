"""A Droplet, its peers, a stranger and a stand-in for DigitalOcean, made of namespaces; see ``world.Lab``."""

from __future__ import annotations

from tests.lab.account import Droplet, fleet
from tests.lab.faults import GONE, Fault
from tests.lab.hosts import Host
from tests.lab.reach import Connection, Flows, Reach, connects, probe, probe_all
from tests.lab.world import PUBLISHED_PORT, Lab

__all__ = [
    "GONE",
    "PUBLISHED_PORT",
    "Connection",
    "Droplet",
    "Fault",
    "Flows",
    "Host",
    "Lab",
    "Reach",
    "connects",
    "fleet",
    "probe",
    "probe_all",
]
