"""The tests' hold on the stand-in: what it lists, what goes wrong, and what it was asked."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Union

from tests.bed import account
from tests.bed.faults import Fault

AnyDroplet = Union[account.ListedDroplet, Mapping[str, Any]]


@dataclass(frozen=True)
class Request:
    """A request that the stand-in got.

    Attributes:
        service: ``api`` or ``metadata``.
        target: path and query.
        headers: without Authorization; ``authorized`` says whether that held a token that is known.
        client: the address it came from.
        time: when, in seconds since 1970.
    """

    service: str
    method: str
    target: str
    headers: Mapping[str, str]
    authorized: bool
    client: str
    time: float


class DigitalOcean:
    """The stand-in, as a test sees it. May be used from several threads."""

    def __init__(self, process: subprocess.Popen[str], token: str) -> None:
        self.token = token
        self._process = process
        self._lock = threading.Lock()
        self._read()

    @property
    def droplets(self) -> list[dict[str, Any]]:
        """What the API lists, GPU Droplets included."""
        return list(self._ask("droplets", token=self.token))

    def set_droplets(self, droplets: Iterable[AnyDroplet], *, token: str | None = None) -> None:
        """Replace what the API lists to the lab's token, or make another account with a token of its own."""
        listed = [account.listing(droplet) for droplet in droplets]
        self._ask("account", token=token or self.token, droplets=listed)

    def set_peerings(self, peerings: Iterable[Mapping[str, Any]]) -> None:
        """Replace the account's VPC peerings: objects with id, name, vpc_ids and status."""
        self._ask("account", token=self.token, droplets=self.droplets, peerings=list(peerings))

    def add(self, droplet: AnyDroplet) -> None:
        """List one Droplet more."""
        self._ask("add", token=self.token, droplet=account.listing(droplet))

    def remove(self, droplet: account.ListedDroplet | int) -> None:
        """List a Droplet no more.

        Raises:
            KeyError: it was not listed.
        """
        number = droplet if isinstance(droplet, int) else droplet.id
        if not self._ask("remove", token=self.token, number=number):
            raise KeyError(number)

    def revoke(self) -> None:
        """Make the lab's token unknown: every request is answered 401. ``set_droplets`` makes it known again."""
        self._ask("forget", token=self.token)

    def set_metadata(self, address: str, document: Mapping[str, Any] | None) -> None:
        """Choose the metadata served to the Droplet that asks from an address; None serves 404."""
        self._ask("metadata", address=address, document=document)

    def fault(self, *faults: Fault) -> None:
        """Let these faults happen as well; the first that strikes a request decides."""
        self._ask("fault", faults=[fault.to_json() for fault in faults])

    def clear_faults(self) -> None:
        """Let everything be well again."""
        self._ask("clear_faults")

    def requests(self, service: str | None = None) -> list[Request]:
        """Return the requests since the last ``forget_requests``, oldest first."""
        every = [Request(**request) for request in self._ask("requests")]
        return [request for request in every if service in (None, request.service)]

    def forget_requests(self) -> None:
        """Start the log of requests anew."""
        self._ask("forget_requests")

    def _ask(self, action: str, **arguments: Any) -> Any:
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"do": action, **arguments}) + "\n")
            self._process.stdin.flush()
            return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the stand-in for DigitalOcean has ended; its error output is above")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"the stand-in for DigitalOcean: {answer['error']}")
        return answer.get("result")
