"""Keep a Droplet's private network interface open to the account's Droplets and closed to everyone else."""

from __future__ import annotations

__version__ = "2.0.0"
