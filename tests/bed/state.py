"""What the stand-in knows: accounts with their Droplets, metadata documents, faults, and who asked for what."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.bed import account
from tests.bed.faults import Armed, Fault

Json = dict[str, Any]


@dataclass
class Account:
    """What one token shows."""

    droplets: list[Json] = field(default_factory=list)
    peerings: list[Json] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self._encoded: dict[tuple[Any, ...], bytes] = {}

    def changed(self) -> None:
        """Forget the encoded pages."""
        self._encoded.clear()

    def page(self, target: str, host: str, zipped: bool) -> bytes:
        """Return one encoded page of Droplets; encoding 10,000 of them once costs as much as a refresh.

        Args:
            target: path and query of the request.
            host: the host that was asked, for ``links``.
            zipped: whether the client takes gzip.
        """
        key = (target, host, zipped)
        if key not in self._encoded:
            body = json.dumps(self.listing(target, host)).encode()
            self._encoded[key] = gzip.compress(body, 1) if zipped else body
        return self._encoded[key]

    def listing(self, target: str, host: str) -> Json:
        """Return the answer to GET /v2/droplets."""
        asked = dict(parse_qsl(urlsplit(target).query))
        per_page = min(max(int(asked.get("per_page", 20)), 1), 200)
        number = max(int(asked.get("page", 1)), 1)
        wanted = [droplet for droplet in self.droplets if _wanted(droplet, asked)]
        last = max(1, -(-len(wanted) // per_page))
        links = {}
        if number < last:
            links = {"next": _page_url(host, asked, number + 1), "last": _page_url(host, asked, last)}
        if 1 < number <= last:
            links.update(first=_page_url(host, asked, 1), prev=_page_url(host, asked, number - 1))
        return {
            "droplets": wanted[(number - 1) * per_page : number * per_page],
            "links": {"pages": links} if links else {},
            "meta": {"total": len(wanted)},
        }

    def find(self, number: int) -> Json | None:
        """Return the Droplet with this id."""
        return next((droplet for droplet in self.droplets if droplet.get("id") == number), None)


def _wanted(droplet: Json, asked: Mapping[str, str]) -> bool:
    gpu = "gpu_info" in (droplet.get("size") or {})
    if gpu != (asked.get("type") == "gpus"):
        return False
    # The real API does not combine the two: the tag is ignored.
    return gpu or "tag_name" not in asked or asked["tag_name"] in (droplet.get("tags") or ())


def _page_url(host: str, asked: Mapping[str, str], number: int) -> str:
    return f"https://{host}/v2/droplets?{urlencode({**asked, 'page': number})}"


class State:
    """Everything the stand-in's servers answer from; the control channel changes it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.accounts: dict[str, Account] = {}
        self.documents: dict[str, Json] = {}
        self.faults: list[Armed] = []
        self.requests: list[Json] = []
        self._new_ids = itertools.count(500_000_001)

    def record(self, **what: Any) -> None:
        """Add a request to the log."""
        with self.lock:
            self.requests.append({**what, "time": time.time()})

    def fault_for(self, service: str, target: str) -> Fault | None:
        """Return the first fault that strikes this request; each fault that matches counts it."""
        with self.lock:
            struck = [armed.fault for armed in self.faults if armed.strikes(service, target)]
        return struck[0] if struck else None

    def connection_fault(self, service: str) -> Fault | None:
        """Return the fault that concerns the listening socket itself."""
        with self.lock:
            faults = [armed.fault for armed in self.faults]
        return next((f for f in faults if f.service == service and not f.of_requests), None)

    def create(self, owner: Account, request: Json) -> Json:
        """Add a Droplet to an account, as POST /v2/droplets does, and return the answer's body."""
        with self.lock:
            number = next(self._new_ids)
            taken = {net["ip_address"] for d in owner.droplets for net in d["networks"]["v4"]}
            free = (f"10.132.{high}.{low}" for high in range(8, 16) for low in range(1, 255))
            private = next(address for address in free if address not in taken)
            droplet = account.created(request, number, private)
            owner.droplets.append(droplet.listing())
            owner.changed()
            nic = account.Nic("02:10:84:00:08:01", private, "255.255.0.0", "nil")
            self.documents[private] = account.metadata(
                droplet, None, nic, user_data=str(request.get("user_data") or "")
            )
        action = {"id": number, "rel": "create", "href": f"https://api.digitalocean.com/v2/actions/{number}"}
        return {"droplet": account.unborn(droplet).listing(), "links": {"actions": [action]}}

    def delete(self, owner: Account, number: int) -> bool:
        """Remove a Droplet from an account; False when it is not there."""
        with self.lock:
            before = len(owner.droplets)
            owner.droplets[:] = [droplet for droplet in owner.droplets if droplet.get("id") != number]
            owner.changed()
            return len(owner.droplets) < before
