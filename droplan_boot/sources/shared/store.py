"""Objects of a fleet in an S3 bucket: read, and written on conditions.

Spaces is Ceph RGW, and RGW takes the ETag of If-Match only without its quotes, where RFC 9110 and AWS want them.
Losers of a race get 409, 412 or 500. So a probe finds out how a store wants conditions spelled, and all three mean
the same: the object is not as we thought, read it again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

from droplan_boot.errors import NoAnswerError
from droplan_boot.host.http import Http, Reply

HEAD: Final = "head"
LEASE: Final = "lease"

_CONTESTED: Final = frozenset({409, 412, 500})
_PROBE: Final = b"droplan tries here whether this store keeps conditions on writes\n"


class StoreError(NoAnswerError):
    """The object store does not do what is asked."""


class Condition(Enum):
    """How a store wants the condition of a write spelled."""

    QUOTED = "quoted"
    UNQUOTED = "unquoted"
    NONE = "none"


@dataclass(frozen=True)
class Found:
    """An object as it was read.

    Args:
        body: its bytes.
        etag: names this version of it, without quotes.
    """

    body: bytes
    etag: str


UNCHANGED: Final = Found(b"", "")
"""What a read with an ETag gives when the object still is that version."""


def base_name(body: bytes) -> str:
    """Name the immutable object that has these bytes."""
    return f"base/{hashlib.sha256(body).hexdigest()}"


@dataclass(frozen=True)
class Store:
    """A bucket, or what lies below a prefix of one.

    Args:
        http: the session.
        address: https address of bucket and prefix, without a slash at its end.
        key: ``ID:SECRET``.
        conditional: how this store wants conditions spelled; only those who write need to know.
    """

    http: Http
    address: str
    key: str = field(repr=False)
    conditional: Condition = Condition.UNQUOTED

    def get(self, name: str, etag: str = "") -> Found | None:
        """Read an object.

        Args:
            name: such as ``head``.
            etag: the version at hand; "" for none.

        Returns:
            The object; ``UNCHANGED`` when it still is the version at hand; None when there is none.

        Raises:
            StoreError: the store refuses, or answers with something else.
            NoAnswerError: it does not answer.
        """
        reply = self._ask("GET", name, {"If-None-Match": f'"{etag}"'} if etag else {})
        if reply.status == 304 and etag:
            return UNCHANGED
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise self._refusal(name, reply)
        length = reply.headers.get("content-length", "")
        if re.fullmatch(r"[0-9]{1,12}", length) and int(length) != len(reply.body):
            raise StoreError(
                f"{self._host} sent {len(reply.body)} of {length} bytes of {name}", "the next run tries again"
            )
        return Found(reply.body, _etag(reply))

    def create(self, name: str, body: bytes) -> str | None:
        """Write an object that must not exist yet; return its ETag, None when somebody else's is or may be there."""
        return self._put(name, body, {"If-None-Match": "*"} if self.conditional is not Condition.NONE else {})

    def replace(self, name: str, body: bytes, etag: str) -> str | None:
        """Write over one version of an object; return the new ETag, None when it is or may be another by now."""
        return self._put(name, body, self._only_if(etag))

    def put(self, name: str, body: bytes) -> str:
        """Write an object whatever is there.

        Raises:
            StoreError: the store refuses.
            NoAnswerError: it does not answer.
        """
        reply = self._ask("PUT", name, {}, body)
        if reply.status != 200:
            raise self._refusal(name, reply, written=True)
        return _etag(reply)

    def delete(self, name: str) -> None:
        """Remove an object that nobody needs; one that is gone already is fine.

        Raises:
            StoreError: the store refuses.
        """
        reply = self._ask("DELETE", name, {})
        if reply.status not in (200, 204, 404):
            raise self._refusal(name, reply, written=True)

    def probe(self) -> Condition:
        """Find out whether and how this store keeps conditions on writes.

        It is tried on an object whose bytes never change, so that two that probe at once do not disturb each other.

        Raises:
            StoreError: the store refuses to be written to.
        """
        name = base_name(_PROBE)
        etag = self.put(name, _PROBE)
        if self._status(name, {"If-None-Match": "*"}) == 200:
            return Condition.NONE  # a versioned bucket, among others
        # Without its quotes first: a store that wants them refuses that, one that does not refuses the quotes.
        for spelled in (Condition.UNQUOTED, Condition.QUOTED):
            quote = '"' if spelled is Condition.QUOTED else ""
            other = hashlib.md5(b"another version", usedforsecurity=False).hexdigest()
            if (
                self._status(name, {"If-Match": f"{quote}{etag}{quote}"}) == 200
                and self._status(name, {"If-Match": f"{quote}{other}{quote}"}) != 200
            ):
                return spelled
        return Condition.NONE

    def _status(self, name: str, headers: dict[str, str]) -> int:
        return self._ask("PUT", name, headers, _PROBE).status

    def _only_if(self, etag: str) -> dict[str, str]:
        if self.conditional is Condition.NONE:
            return {}
        return {"If-Match": f'"{etag}"' if self.conditional is Condition.QUOTED else etag}

    def _put(self, name: str, body: bytes, condition: dict[str, str]) -> str | None:
        reply = self._ask("PUT", name, condition, body)
        if reply.status in _CONTESTED or (reply.status == 404 and condition):
            return None
        if reply.status != 200:
            raise self._refusal(name, reply, written=True)
        return _etag(reply)

    def _ask(self, method: str, name: str, headers: dict[str, str], body: bytes = b"") -> Reply:
        from requests_aws4auth import AWS4Auth  # only those with a shared source pay for it

        identity, _, secret = self.key.partition(":")
        auth = AWS4Auth(identity, secret, region(self._host), "s3") if self.key else None
        if body:
            headers = {**headers, "Content-Type": "application/octet-stream"}
        return self.http.exchange(method, f"{self.address}/{name}", headers=headers, body=body, auth=auth)

    @property
    def _host(self) -> str:
        return urlsplit(self.address).netloc

    def _refusal(self, name: str, reply: Reply, *, written: bool = False) -> StoreError:
        code = re.search(rb"<Code>([A-Za-z0-9]{1,60})</Code>", reply.body)
        said = f"{reply.status}{f' {code[1].decode()}' if code else ''}"
        if reply.status == 403 and code and code[1] == b"RequestTimeTooSkewed":
            return StoreError(f"{self._host} refuses {name} ({said})", "set this machine's clock")
        if reply.status == 403 and written:
            return StoreError(
                f"{self._host} refuses to have {name} written ({said})",
                "see that DROPLAN_SHARED_KEY is right, not revoked and may write, and that the clock is right",
            )
        if reply.status == 403 and name == LEASE:
            # The first publisher finds no lease, and a key that may not list gets 403 for that.
            return StoreError(
                f"{self._host} refuses {name} ({said}): DROPLAN_SHARED_KEY may not read it, or it is not there yet "
                "and that key may not list the bucket",
                "give publishers a key that reads, writes and lists (s3:ListBucket)",
            )
        if reply.status == 403:
            # To a key that may only read, S3 gives the same answer for an object that is not there.
            return StoreError(
                f"{self._host} refuses {name} ({said})",
                "see that DROPLAN_SHARED_KEY is right and not revoked, that the clock is, and that a publisher runs",
            )
        return StoreError(f"{self._host} answers with status {said} for {name}", "the next run tries again")


def region(host: str) -> str:
    """Tell the region that a signature for this host names: AWS insists on its own, RGW takes any.

    Args:
        host: such as ``bucket.s3.eu-west-1.amazonaws.com`` or ``nyc3.digitaloceanspaces.com``.
    """
    name = host.split(":")[0].lower()
    amazon = re.search(r"(?:^|\.)s3[.-](?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com(?:\.cn)?$", name)
    spaces = re.search(r"(?:^|\.)([a-z]{3}\d)\.(?:cdn\.)?digitaloceanspaces\.com$", name)
    found = amazon or spaces
    return found[1] if found else "us-east-1"


def _etag(reply: Reply) -> str:
    return reply.headers.get("etag", "").removeprefix("W/").strip('"')
