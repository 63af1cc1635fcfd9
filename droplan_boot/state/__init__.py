"""What droplan remembers between two runs, on disk, and what can be wrong with how things stand."""
