"""This Droplet and its interfaces on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from droplan_boot.networks import Network
from droplan_boot.sources.own import Metadata


@dataclass(frozen=True)
class Here:
    """Where the rules are for.

    Args:
        metadata: which Droplet this is.
        private: names of the interfaces to close.
        public: names of the public interfaces, when PUBLIC asks to close them too.
        outside: names of the public interfaces that this machine has, whatever PUBLIC asks.
        agents: the users, by number, whom DigitalOcean's own agents run as.
    """

    metadata: Metadata
    private: tuple[str, ...]
    public: tuple[str, ...]
    outside: tuple[str, ...] = ()
    agents: tuple[int, ...] = ()

    @property
    def networks(self) -> tuple[Network, ...]:
        """The private network's ranges, as the metadata tell them; each once."""
        return tuple(dict.fromkeys(one for interface in self.metadata.private for one in interface.networks))
