"""The machine droplan runs on: its commands, files, clock, network, lock, distribution, packages and services."""
