"""The DigitalOcean API as a source: list the account's Droplets.

A listing is complete when every page was read, ``meta.total`` agrees with what was read, and no page led astray.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Callable, Final, TypeVar
from urllib.parse import quote, urlsplit

from droplan_boot.host.http import Http
from droplan_boot.sources.digitalocean import model
from droplan_boot.sources.listing import Droplet, Listing

if TYPE_CHECKING:
    from droplan_boot.sources.digitalocean.brief import Brief

_Item = TypeVar("_Item")

_LISTINGS: Final = 3  # how often a list that changed while it was read is read again
_MORE_THAN_A_PAGE: Final = 8 << 20  # bytes


class _ChangedError(Exception):
    """The list changed while it was read page by page."""


class Account:
    """The account that a token belongs to: a :class:`Source`.

    Args:
        http: the session.
        base: such as ``https://api.digitalocean.com``.
        token: API token with the scope ``droplet:read``.
        own_id: this Droplet's number; it is listed whatever its tags, if the account has it.
        tag: have DigitalOcean leave out Droplets without this tag; None for all. ``type`` and ``tag_name`` do not
            combine, so GPU Droplets come with any tags.
        peered: whether the VPC peerings are wanted too; they take the scope ``vpc:read``.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        http: Http,
        base: str,
        token: str,
        own_id: int,
        *,
        tag: str | None,
        peered: bool,
        clock: Callable[[], float],
    ) -> None:
        self.http = http
        self.base = base
        self.token = token
        self.own_id = own_id
        self.tag = tag
        self.peered = peered
        self.clock = clock
        self._unread: dict[str, bytes] = {}  # what was asked for and not looked into, by URL
        self._said: list[tuple[str, str]] = []
        self._steady = True
        self._brief: Brief | None = None

    def repeats(self, said: Iterable[tuple[str, str]]) -> bool:
        """Ask again what a listing was read from; :meth:`listing` does not ask once more for what is told here.

        Where each answer is what it was, byte for byte, the next page is the one it was too, so all of it was asked
        for. The pages of ten thousand Droplets take a tenth of the time so that reading them does.
        """
        answers = tuple(said)
        for url, digest in answers:
            if not _same_host(url, self.base):
                return False
            body = self._unread[url] = self.http.get(url, token=self.token)
            if _digest(body) != digest:
                return False
        return bool(answers)

    def listing(self) -> Listing:
        """List the Droplets, GPU Droplets included (the plain list omits them).

        Returns:
            The listing; it says so when a list would not hold still while it was read.

        Raises:
            NoAnswerError: an answer is malformed, or there was none.
        """
        taken = self.clock()
        # After each page glibc gives the kernel back what it took, and gets it zeroed for the next, until something
        # larger was let go (mallopt(3), M_MMAP_THRESHOLD). Nobody writes to this, so it takes no memory itself.
        bytes(_MORE_THAN_A_PAGE)
        try:
            droplets = self._droplets()
            peerings = self._peerings() if self.peered else ()
        except _ChangedError as error:
            return Listing((), (), taken, str(error))
        return Listing(droplets, peerings, taken, said=tuple(self._said) if self._steady else ())

    def _droplets(self) -> tuple[Droplet, ...]:
        tagged = f"&tag_name={quote(self.tag, safe='')}" if self.tag else ""
        plain = self._list(
            f"/v2/droplets?per_page={model.PAGE}{tagged}", "droplets", model.droplet, lambda one: one.id
        )
        gpus = self._list(
            f"/v2/droplets?per_page={model.PAGE}&type=gpus", "droplets", model.droplet, lambda one: one.id
        )
        found = {one.id: one for one in (*plain, *gpus)}
        if self.tag and self.own_id not in found:
            found[self.own_id] = self._own()
        return tuple(found.values())

    def _peerings(self) -> tuple[tuple[str, str], ...]:
        """List the active ones."""
        listed = self._list(f"/v2/vpc_peerings?per_page={model.PAGE}", "vpc_peerings", peering, lambda one: one[0])
        return tuple(pair for _, status, pair in listed if status == "ACTIVE")

    def _own(self) -> Droplet:
        answer = self._json(f"{self.base}/v2/droplets/{self.own_id}")
        own = model.droplet(model.member(answer, "droplet", dict))
        if own.id != self.own_id:
            raise model.malformed(f"Droplet {own.id} where {self.own_id} was asked for")
        return own

    def _list(
        self, path: str, key: str, parse: Callable[[object], _Item], identity: Callable[[_Item], object]
    ) -> tuple[_Item, ...]:
        for _ in range(_LISTINGS):
            try:
                return self._pages(path, key, parse, identity)
            except _ChangedError as error:
                why, self._steady = str(error), False
        raise _ChangedError(f"the list of {key} is incomplete ({why})")

    def _pages(
        self, path: str, key: str, parse: Callable[[object], _Item], identity: Callable[[_Item], object]
    ) -> tuple[_Item, ...]:
        url: str | None = self.base + path
        seen: set[str] = set()
        found: dict[object, _Item] = {}
        total = None
        while url:
            if url in seen:
                raise model.malformed("its pages go round in circles")
            seen.add(url)
            # A page is parsed and dropped before the next one is asked for: memory holds one page, not the fleet.
            answer = self._json(url)
            for entry in model.member(answer, key, list):
                item = parse(entry)
                found[identity(item)] = item
            said = model.member(model.member(answer, "meta", dict), "total", int)
            if total is not None and said != total:
                raise _ChangedError(f"it had {total} entries, then {said}")
            total = said
            url = self._next(answer)
        if len(found) != total:
            raise _ChangedError(f"{len(found)} of {total} entries")
        return tuple(found.values())

    def _json(self, url: str) -> Any:
        body = self._unread.pop(url, None)
        if body is None:
            body = self.http.get(url, token=self.token)
        self._said.append((url, _digest(body)))
        if self._brief is None:
            from droplan_boot.sources.digitalocean.brief import Brief  # where all is said again, nothing is decoded

            self._brief = Brief()
        return self._brief.decoded(url, body)

    def _next(self, answer: Any) -> str | None:
        pages = model.optional(model.optional(answer, "links", dict, {}), "pages", dict, {})
        url: str | None = model.optional(pages, "next", str, None)
        if url and not _same_host(url, self.base):
            raise model.malformed("its next page is on another host, where the token must not go")
        return url or None


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _same_host(url: str, base: str) -> bool:
    try:
        return urlsplit(url)[:2] == urlsplit(base)[:2]
    except ValueError:
        return False


def peering(value: object) -> tuple[str, str, tuple[str, str]]:
    """Check a VPC peering: its UUID, its status, the two VPCs."""
    pair = [model.text(vpc) for vpc in model.member(value, "vpc_ids", list)]
    if len(pair) != 2:
        raise model.malformed(f"a peering of {len(pair)} VPCs")
    return model.member(value, "id", str), model.member(value, "status", str), (pair[0], pair[1])
