"""The publisher of a fleet: one reads the API for all, signs what it read, and writes it where members read it.

``merge``, ``pace`` and ``lease`` decide, pure; ``asking``, ``holding`` and ``publisher`` do.
"""
