"""Learn who may come in: ask the metadata service and the source, and have ``access`` decide."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from droplan_boot.access import allow, peers
from droplan_boot.access import names as naming
from droplan_boot.access.allow import Allow
from droplan_boot.access.here import Here
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.errors import DroplanError, UsageError
from droplan_boot.flow import repeated
from droplan_boot.flow.repeated import Answer
from droplan_boot.host import agents, links
from droplan_boot.host.doors import Host
from droplan_boot.networks import Network
from droplan_boot.settings import Settings
from droplan_boot.sources.digitalocean import metadata
from droplan_boot.sources.listing import Droplet, Source
from droplan_boot.sources.own import Interface

if TYPE_CHECKING:
    from droplan_boot.host.http import Http


_TOKENLESS: Final = (
    "no API token is set: run `sudo droplan token`, which asks for it, or pass `--token-file FILE` to install "
    "(the setting is DO_KEY)"
)


@dataclass(frozen=True)
class Learned:
    """A complete answer.

    Args:
        here: this Droplet.
        policy: what to enforce on it.
        peers: the Droplets that may come in.
        others: those that may not, each with what keeps it out.
        listed: whether this Droplet is listed itself.
        allowance: what the API said is left: requests, of how many, and until when; None when it did not.
        named: the Droplets that names in DROPLAN_ALLOW stand for, peers among them.
        warnings: what a person should know, a sentence each.
        droplets: how many Droplets the API listed; None where a fleet's store was read.
        said: the answers that it was learned from, as :class:`Listing` has them.
        again: what was said last time, where the source says the same: ``policy`` is the snapshot's then, and neither
            ``peers`` nor ``others`` nor ``named`` are told; else None.
    """

    here: Here
    policy: Policy
    peers: tuple[Droplet, ...] = ()
    others: tuple[tuple[Droplet, str], ...] = ()
    listed: bool = True
    allowance: tuple[int, int, int] | None = None
    named: tuple[Droplet, ...] = ()
    warnings: tuple[str, ...] = ()
    droplets: int | None = None
    said: tuple[tuple[str, str], ...] = ()
    again: Answer | None = None


def where(host: Host, http: Http, settings: Settings) -> Here:
    """Ask the metadata service who this Droplet is, and find its interfaces.

    Raises:
        DroplanError: this is no Droplet, or it lacks an interface that is to be closed.
    """
    found = metadata.fetch(http, settings.metadata_url)
    private, outside = names(host, found.private, "private"), there(host, found.public)
    networks = tuple(one for interface in found.private for one in interface.networks)
    return Here(
        found,
        (*private, *further(host, networks, (*private, *outside))),
        names(host, found.public, "public") if settings.public else (),
        outside,
        agents.users(host.files),
    )


def further(host: Host, networks: tuple[Network, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """Find the names of other interfaces that are in the private network, by their addresses.

    The guard judges by the source's address what comes in by a card that it does not know. Link-local IPv6 addresses
    tell nothing of a network: a second card in the VPC would be open by those.

    Args:
        host: this machine.
        networks: the private network's ranges.
        known: names of the interfaces that the metadata service describes; public ones among them, for the anchor
            address of a reserved IP is as private as it looks, and theirs.
    """
    others = {link.name for link in links.links(host.files)} - {"lo", *known}
    if not others or not networks:
        return ()  # as on most Droplets: nobody is asked
    held = links.addresses(host.runner)
    return tuple(
        name
        for name in sorted(others & held.keys())
        if any(ipaddress.ip_address(one) in network for one in held[name] for network in networks)
    )


def names(host: Host, wanted: tuple[Interface, ...], kind: str) -> tuple[str, ...]:
    """Find the names of this Droplet's private or public interfaces.

    Args:
        host: this machine.
        wanted: as the metadata service describes them.
        kind: ``private`` or ``public``, for messages.

    Raises:
        DroplanError: the Droplet has none, or this machine does not have it.
    """
    if not wanted:
        raise DroplanError(
            f"this Droplet has no {kind} interface: "
            + ("add it to a VPC, then run droplan again" if kind == "private" else "unset PUBLIC")
        )
    found = _found(host, wanted)
    missing = [interface for interface, name in zip(wanted, found) if name is None]
    if missing:
        raise DroplanError(
            f"no interface of this machine has the MAC {missing[0].mac or '(none)'} or an address of the Droplet's "
            f"{kind} network: bring it up, then run droplan again"
        )
    return tuple(dict.fromkeys(name for name in found if name))


def there(host: Host, wanted: tuple[Interface, ...]) -> tuple[str, ...]:
    """Find the names of those of this Droplet's interfaces that this machine has."""
    return tuple(dict.fromkeys(name for name in _found(host, wanted) if name))


def _found(host: Host, wanted: tuple[Interface, ...]) -> list[str | None]:
    present = links.links(host.files)
    return [
        links.resolve(interface.mac, interface.addresses, present, lambda: links.addresses(host.runner))
        for interface in wanted
    ]


def who(host: Host, http: Http, settings: Settings, here: Here, former: Policy | None = None) -> Learned:
    """Ask the source who the Droplets are, and decide which of them are peers.

    Args:
        host: this machine.
        http: the session.
        settings: the settings.
        here: this Droplet.
        former: the snapshot's policy, which is the answer where all that decides is what it was then; None to have
            it decided, and the Droplets named, whatever was said last time.

    Raises:
        UsageError: no token is set.
        NoAnswerError: there was no complete answer.
    """
    asked = source(host, http, settings, here)
    last = repeated.load(host, settings, here) if former else None
    if former and last and asked.repeats(last.said):
        return Learned(
            here,
            former,
            allowance=http.allowance,
            warnings=last.warnings,
            droplets=last.droplets,
            said=last.said,
            again=last,
        )
    listing = asked.listing()
    found = peers.select(here.metadata, listing, scope=settings.scope, tags=settings.tags)
    known = naming.resolve(
        here.metadata, listing, scope=settings.scope, tags=settings.tags, entries=_entries(settings)
    )
    return Learned(
        here,
        _policy(settings, here, found, known),
        found.droplets,
        found.others,
        found.listed,
        http.allowance,
        known.droplets,
        known.warnings,
        None if settings.shared else len(listing.droplets),
        listing.said,
    )


def nobody(settings: Settings, here: Here) -> Policy:
    """Decide what to enforce while nobody knows who the peers are: only what the user allowed."""
    return _policy(settings, here, peers.Peers(()), naming.Known())


def source(host: Host, http: Http, settings: Settings, here: Here) -> Source:
    """Choose where to ask for the account's Droplets.

    Raises:
        UsageError: no token is set.
    """
    if settings.shared:
        return _member(host, http, settings, here)
    from droplan_boot.sources.digitalocean.api import Account

    if not settings.token:
        raise UsageError(_TOKENLESS)
    return Account(
        http,
        settings.api_url,
        settings.token,
        here.metadata.droplet_id,
        tag=only_tag(settings),
        peered=settings.scope == "vpc",
        clock=host.clock.time,
    )


def _member(host: Host, http: Http, settings: Settings, here: Here) -> Source:
    from droplan_boot.sources.shared.member import Member
    from droplan_boot.sources.shared.store import Store
    from droplan_boot.state.shared import Kept

    return Member(
        Store(http, settings.shared, settings.shared_key),
        settings.shared_trust,
        Kept(host.files),
        here.metadata.droplet_id,
        peered=settings.scope == "vpc",
        runner=host.runner,
        clock=host.clock,
    )


def only_tag(settings: Settings) -> str | None:
    """Tell the one tag whose Droplets are all that is listed, for no others matter; None where all are listed."""
    if settings.shared:
        return None
    wanted = {tag.lower() for tag in settings.tags} | {name.tag for name in allow.names(_entries(settings))}
    return settings.tags[0] if settings.tags and len(wanted) == 1 else None


def _entries(settings: Settings) -> tuple[Allow, ...]:
    """List the entries that are in force on any network."""
    return tuple(dict.fromkeys((*settings.allow, *((settings.allow_public or ()) if settings.public else ()))))


def _policy(settings: Settings, here: Here, found: peers.Peers, known: naming.Known) -> Policy:
    ports = settings.peer_ports
    segments = [
        Segment(
            False,
            here.private,
            found.private,
            settings.allow,
            here.networks,
            here.outside,
            ports=ports,
            known=known.private,
        )
    ]
    if here.public:
        entries = settings.allow if settings.allow_public is None else settings.allow_public
        segments.append(Segment(True, here.public, found.public, entries, ports=ports, known=known.public))
    if settings.observe or not settings.lock_metadata:
        return Policy(tuple(segments), observe=settings.observe)
    return Policy(tuple(segments), urlsplit(settings.metadata_url).hostname or "", here.agents)
