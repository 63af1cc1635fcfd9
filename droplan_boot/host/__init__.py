"""The machine droplan runs on: its commands, files, lock, distribution, packages and services."""
