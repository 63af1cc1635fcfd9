"""Ask DigitalOcean who the peers are, and decide what to enforce."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from droplan_boot.access import peers
from droplan_boot.access.policy import Guard, Policy
from droplan_boot.errors import UsageError
from droplan_boot.host.command import Runner
from droplan_boot.host.http import Http
from droplan_boot.settings import Settings
from droplan_boot.sources.digitalocean import metadata
from droplan_boot.sources.digitalocean.api import Account
from droplan_boot.sources.digitalocean.model import Machine


@dataclass(frozen=True)
class Here:
    """This Droplet and its interfaces on this machine.

    Args:
        machine: who it is.
        private: names of the interfaces to close.
        public: names of the public interfaces, when PUBLIC asks to close them too.
    """

    machine: Machine
    private: tuple[str, ...]
    public: tuple[str, ...]


@dataclass(frozen=True)
class Learned:
    """A complete answer: this Droplet, and what to enforce on it."""

    here: Here
    policy: Policy


def where(http: Http, settings: Settings, runner: Runner) -> Here:
    """Ask the metadata service who this Droplet is, and find its interfaces.

    Raises:
        DroplanError: this is no Droplet, or it lacks an interface that is to be closed.
    """
    machine = metadata.fetch(http, settings.metadata_url)
    return Here(
        machine,
        metadata.names(machine.private, "private", runner),
        metadata.names(machine.public, "public", runner) if settings.public else (),
    )


def who(http: Http, settings: Settings, here: Here) -> Policy:
    """Ask the API who the peers are.

    Raises:
        UsageError: no token is set.
        NoAnswerError: there was no complete answer.
    """
    if not settings.token:
        raise no_token()
    account = Account(http, settings.api_url, settings.token)
    droplets = account.droplets(here.machine.droplet_id, tag=settings.tag)
    vpcs: frozenset[str] = frozenset()
    if settings.scope == "vpc":
        own = next(one for one in droplets if one.id == here.machine.droplet_id)
        vpcs = peers.own_and_peered(own, account.peerings())
    return _policy(here, settings, peers.select(here.machine, droplets, settings, vpcs=vpcs))


def no_token() -> UsageError:
    """Make the error for a missing token."""
    return UsageError("no API token is set: put DO_KEY=dop_v1_... before the command, after `sudo`")


def nobody(settings: Settings, here: Here) -> Policy:
    """Decide what to enforce while nobody knows who the peers are: only what the user allowed."""
    return _policy(here, settings, peers.Peers((), ()))


def _policy(here: Here, settings: Settings, found: peers.Peers) -> Policy:
    guards = [Guard(False, here.private, found.private, settings.allow)]
    if here.public:
        guards.append(Guard(True, here.public, found.public, settings.allow))
    return Policy(tuple(guards), urlsplit(settings.metadata_url).hostname or "" if settings.lock_metadata else "")
