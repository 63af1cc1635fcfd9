"""A Droplet on which other programs that write firewall rules run, the real ones, with knocks from all sides.

    with BesideBed(DOCKER, droplan_first=True) as bed:
        seen = bed.play(event)
    assert not seen.strangers_in

The programs are Debian's own packages. They are installed on the Droplet, by apt, from what the machine's apt has
fetched into the cache; nothing of them is left on the machine.
"""

from __future__ import annotations

from tests.bed.beside.knocking import Knock, Knocking, Target
from tests.bed.beside.program import Event, Program
from tests.bed.beside.stage import BesideBed, Seen, kernel_has

__all__ = ["BesideBed", "Event", "Knock", "Knocking", "Program", "Seen", "Target", "kernel_has"]
