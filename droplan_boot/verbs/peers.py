"""List the Droplets that may come in, by name, and why each may."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Final

from droplan_boot import settings
from droplan_boot.access import reasons
from droplan_boot.errors import DroplanError
from droplan_boot.host.doors import Host
from droplan_boot.settings import Settings
from droplan_boot.sources.listing import Droplet
from droplan_boot.state import snapshot
from droplan_boot.state.snapshot import Snapshot
from droplan_boot.verbs import words

SCHEMA: Final = 1
_HEADS: Final = ("NAME", "ID", "PRIVATE", "REGION", "TAGS")


def run(host: Host, *, as_json: bool = False) -> None:
    """Print them.

    Raises:
        DroplanError: nobody knows them.
    """
    host.require_root()
    found = snapshot.load(host.files)
    if found is None or not found.answered:
        raise DroplanError("no answer has named the peers yet: run `sudo droplan refresh`")
    wanted, _ = settings.tolerant(host.environ, host.files)
    if as_json:
        sys.stdout.write(json.dumps(document(found, wanted), indent=1) + "\n")
    else:
        sys.stdout.write(words.printable(render(found, wanted, host.clock.time())))


def document(found: Snapshot, wanted: Settings) -> dict[str, Any]:
    """Make the JSON document, docs/schemas/peers.json."""
    return {
        "schema": SCHEMA,
        "answered": found.written,
        "networks": [
            {
                "network": "public" if segment.public else "private",
                "chain": segment.chain,
                "interfaces": list(segment.interfaces),
                "addresses": [str(address) for address in segment.peers],
            }
            for segment in found.policy.segments
        ],
        "peers": [{**one.to_json(), "why": reasons.why_peer(wanted.scope, wanted.tags)} for one in found.peers],
    }


def render(found: Snapshot, wanted: Settings, now: float) -> str:
    """Lay them out for a person."""
    private = found.policy.segments[0]
    age = words.ago(now - found.written)
    count = len(found.peers)
    if not count and private.peers:
        lines = [f"{len(private.peers)} addresses may come in; their names are known after the next refresh:", ""]
        return "\n".join([*lines, *(str(address) for address in private.peers)]) + "\n"
    who = "1 Droplet" if count == 1 else f"{count} Droplets" if count else "No Droplet"
    head = f"{who} may come in by {', '.join(private.interfaces)} (as of {age} ago): {words.because(wanted)}"
    rows = [_row(one) for one in found.peers]
    table = words.table([_HEADS, *rows]) if rows else []
    return "\n".join([*words.wrap(head), *([""] if table else []), *table]) + "\n"


def _row(one: Droplet) -> Sequence[str]:
    private = ", ".join(str(address) for address in one.private) or "none yet"
    tags = "may not be seen" if one.tags is None else ", ".join(one.tags) or "-"
    return one.name or "-", str(one.id), private, one.region, tags
