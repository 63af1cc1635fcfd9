"""Which connections that exist now would end under a policy. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from droplan_boot.access import verdict
from droplan_boot.access.here import Here
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.host.connections import Connection
from droplan_boot.networks import Address
from droplan_boot.plural import counted


@dataclass(frozen=True)
class Cut:
    """Connections of one source to one service that would end.

    Args:
        source: who opened them.
        service: such as ``tcp/5432``.
        count: how many.
    """

    source: Address
    service: str
    count: int

    def line(self, names: Mapping[Address, str]) -> str:
        """Say it, with the source's name if it has one."""
        name = names.get(self.source)
        who = f"{name} {self.source}" if name else str(self.source)
        return f"{counted(self.count, 'connection')} from {who} to {self.service}"


def connections(
    policy: Policy, here: Here, found: Iterable[Connection], former: Policy | None = None
) -> tuple[Cut, ...]:
    """Judge every connection as the rules will: replies are spared only where this Droplet began.

    Args:
        policy: what is to be enforced.
        here: this Droplet; its addresses tell which network a connection comes in by.
        found: what others opened.
        former: what is in force now, if anything: what that shuts out is cut already, and only still remembered.

    Returns:
        Those that end, most connections first.
    """
    if policy.observe:
        return ()
    homes: dict[Address, Segment] = {}
    for segment in policy.segments:
        for interface in here.metadata.public if segment.public else here.metadata.private:
            homes.update(dict.fromkeys(interface.addresses, segment))
    own = set(homes)
    before = {segment.chain: segment for segment in former.segments} if former and not former.observe else {}
    ended: Counter[tuple[Address, str]] = Counter()
    for one in found:
        home = homes.get(one.local)
        if home is None or one.source in own:
            continue
        old = before.get(home.chain)
        if old is not None and not verdict.judge(old, one.source, one.protocol, one.port).accept:
            continue
        if not verdict.judge(home, one.source, one.protocol, one.port).accept:
            ended[one.source, f"{one.protocol}/{one.port}" if one.port else one.protocol] += 1
    return tuple(Cut(source, service, count) for (source, service), count in ended.most_common())
