"""List the account's Droplets: a complete answer or none.

Complete means: every page was read, ``meta.total`` agrees with what was read, no page led astray, and this
Droplet itself is seen with the same token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Final, TypeVar
from urllib.parse import quote, urlsplit

from droplan_boot.errors import NoAnswerError
from droplan_boot.host.http import Http
from droplan_boot.sources.digitalocean import model
from droplan_boot.sources.digitalocean.model import Droplet

_Item = TypeVar("_Item")

_PAGE: Final = 200  # the maximum, https://docs.digitalocean.com/reference/api/
_LISTINGS: Final = 3  # how often a list that changed while it was read is read again


class _ChangedError(Exception):
    """The list changed while it was read page by page."""


@dataclass(frozen=True)
class Account:
    """The account that a token belongs to.

    Args:
        http: the session.
        base: such as ``https://api.digitalocean.com``.
        token: API token with the scope ``droplet:read``.
    """

    http: Http
    base: str
    token: str = field(repr=False)

    def droplets(self, own_id: int, *, tag: str | None = None) -> tuple[Droplet, ...]:
        """List the Droplets, GPU Droplets included (the plain list omits them).

        Args:
            own_id: this Droplet; the account must have it, else the token is another account's.
            tag: let DigitalOcean leave out Droplets without this tag. ``type`` and ``tag_name`` do not combine, so
                GPU Droplets come with any tags.

        Returns:
            The Droplets, each once; this one is among them, whatever its tags.

        Raises:
            NoAnswerError: the answer is incomplete or malformed, or does not have this Droplet.
        """
        tagged = f"&tag_name={quote(tag, safe='')}" if tag else ""
        plain = self._list(f"/v2/droplets?per_page={_PAGE}{tagged}", "droplets", model.droplet, lambda one: one.id)
        gpus = self._list(f"/v2/droplets?per_page={_PAGE}&type=gpus", "droplets", model.droplet, lambda one: one.id)
        found = {one.id: one for one in (*plain, *gpus)}
        if own_id not in found:
            if not tag:
                raise _stranger(own_id)
            found[own_id] = self._own(own_id)
        return tuple(found.values())

    def peerings(self) -> tuple[tuple[str, str], ...]:
        """List the active VPC peerings as pairs of VPC UUIDs.

        Raises:
            NoAnswerError: the answer is incomplete or malformed.
        """
        listed = self._list(f"/v2/vpc_peerings?per_page={_PAGE}", "vpc_peerings", _peering, lambda one: one[0])
        return tuple(pair for _, status, pair in listed if status == "ACTIVE")

    def _own(self, own_id: int) -> Droplet:
        answer = self.http.json(f"{self.base}/v2/droplets/{own_id}", token=self.token)
        own = model.droplet(model.member(answer, "droplet", dict))
        if own.id != own_id:
            raise model.malformed(f"Droplet {own.id} where {own_id} was asked for")
        return own

    def _list(
        self, path: str, key: str, parse: Callable[[object], _Item], identity: Callable[[_Item], object]
    ) -> tuple[_Item, ...]:
        for _ in range(_LISTINGS):
            try:
                return self._pages(path, key, parse, identity)
            except _ChangedError as error:
                why = str(error)
        raise NoAnswerError(f"the list of {key} is incomplete ({why})", "a run that sees all of it will go on")

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
            answer = self.http.json(url, token=self.token)
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

    def _next(self, answer: Any) -> str | None:
        pages = model.optional(model.optional(answer, "links", dict, {}), "pages", dict, {})
        url: str | None = model.optional(pages, "next", str, None)
        if url and not _same_host(url, self.base):
            raise model.malformed("its next page is on another host, where the token must not go")
        return url or None


def _same_host(url: str, base: str) -> bool:
    try:
        return urlsplit(url)[:2] == urlsplit(base)[:2]
    except ValueError:
        return False


def _peering(value: object) -> tuple[str, str, tuple[str, str]]:
    pair = [model.text(vpc) for vpc in model.member(value, "vpc_ids", list)]
    if len(pair) != 2:
        raise model.malformed(f"a peering of {len(pair)} VPCs")
    return model.member(value, "id", str), model.member(value, "status", str), (pair[0], pair[1])


def _stranger(own_id: int) -> NoAnswerError:
    return NoAnswerError(
        f"the account of this token has no Droplet {own_id}, which is this one",
        "use a token of the account that owns this Droplet (right after creation the next run may see it)",
    )
