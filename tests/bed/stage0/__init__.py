"""Where stage-0 runs: a file system of its own, and an HTTPS server on loopback."""
