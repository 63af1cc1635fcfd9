"""Start the watcher in a Python that has nothing else in it; ``verbs.watch`` puts this in its own place."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.dirname(os.path.dirname(here)))

    from droplan_boot.watch.loop import main

    sys.exit(main(sys.argv[1:]))
