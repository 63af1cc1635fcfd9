"""Run the command from a checkout: ``python3 -m droplan_boot``."""

from __future__ import annotations

import sys

from droplan_boot.cli import main

sys.exit(main())
