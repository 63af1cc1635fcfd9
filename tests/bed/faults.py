"""What can go wrong between a Droplet and DigitalOcean, as data that tests hand to the stand-in."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Gone:
    """In a patch: the field is not there at all, which JSON's null is not."""


GONE = Gone()
_GONE_ON_THE_WIRE = {"$": "gone"}


@dataclass(frozen=True)
class Fault:
    """One way in which answers differ from the truth. Fields combine: slow *and* cut, for example.

    Which requests it concerns:

    Attributes:
        service: ``api`` or ``metadata``.
        path: a regular expression searched for in path and query, such as ``[?&]page=2``.
        nth: only the n-th request that matches, from 1, counted since the fault was set.
        times: only so many requests, then the truth again; None is for ever.

    What happens instead of the answer:

        refuse: nothing listens; every connection is refused.
        deaf: connections come about and then nobody speaks, not even TLS.
        certificate: show this one of ``ca.NAMES``. To these three ``path``, ``nth`` and ``times`` do not apply.
        delay: hang for so many seconds before the answer.
        reset: end the connection with a TCP reset instead of answering.
        status, headers, body: replace those of the answer; headers are added to the usual ones. Bytes that are no
            UTF-8 are written as Python's surrogateescape does: ``"\\udcff"`` is the byte 0xff.
        patch: change the true JSON answer: ``{"/meta/total": 7, "/droplets/0/region": GONE}``.
        repeat: answer the request as if it had asked for this path and query.
        size: fill the body up with spaces to so many bytes.
        cut: announce the whole body, send only so many bytes, then close.
        drip: send the body in 64 pieces with so many seconds between them.
    """

    service: str = "api"
    path: str = ""
    nth: int | None = None
    times: int | None = None
    refuse: bool = False
    deaf: bool = False
    certificate: str | None = None
    delay: float = 0.0
    reset: bool = False
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    patch: Mapping[str, Any] = field(default_factory=dict)
    repeat: str | None = None
    size: int = 0
    cut: int | None = None
    drip: float = 0.0

    @property
    def of_requests(self) -> bool:
        """Whether it is about answers, not about the listening socket."""
        return not self.refuse and not self.deaf and self.certificate is None

    def to_json(self) -> dict[str, Any]:
        """Return the fault as it travels to the stand-in."""
        return json.loads(  # type: ignore[no-any-return]
            json.dumps(dataclasses.asdict(self), default=lambda _gone: _GONE_ON_THE_WIRE)
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Fault:
        """Return the fault that came from a test."""
        fault = cls(**values)
        patch = {where: GONE if value == _GONE_ON_THE_WIRE else value for where, value in fault.patch.items()}
        return dataclasses.replace(fault, patch=patch)


class Armed:
    """A fault that waits for its requests and counts them."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._seen = 0

    def strikes(self, service: str, target: str) -> bool:
        """Count this request if it matches, and say whether the fault happens to it."""
        fault = self.fault
        if not fault.of_requests or fault.service != service or not re.search(fault.path, target):
            return False
        self._seen += 1
        if fault.nth is not None and self._seen != fault.nth:
            return False
        return fault.times is None or self._seen <= fault.times


def patched(document: Any, patch: Mapping[str, Any]) -> Any:
    """Return a copy of a JSON document with some places changed.

    Args:
        document: the true answer.
        patch: JSON pointers (RFC 6901) to new values; ``GONE`` removes the place, ``/list/-`` appends to a list,
            and the empty pointer replaces the document.
    """
    document = copy.deepcopy(document)
    for pointer, value in patch.items():
        if not pointer:
            document = value
            continue
        *parents, last = pointer.split("/")[1:]
        place = document
        for step in parents:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        if isinstance(place, list):
            _patch_list(place, last, value)
        elif value is GONE:
            place.pop(last, None)
        else:
            place[last] = value
    return document


def _patch_list(place: list[Any], index: str, value: Any) -> None:
    if index == "-":
        place.append(value)
    elif value is GONE:
        del place[int(index)]
    else:
        place[int(index)] = value
