"""What droplan remembers between two runs, on disk."""
