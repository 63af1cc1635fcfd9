"""What the firewall and the watcher agree on: how a copy of a packet that is shut out gets to the watcher.

Right before a rule drops a stranger's packet (or, where droplan only observes, would drop it), a rule with the same
match sends a copy to the NFLOG group, at most once a second for each source and below a limit for all, so that a
flood costs no more than that limit::

    nft       update @SET { ip saddr limit rate 1/second burst 1 packets } limit rate 200/second
                  log prefix "droplan-drop-private" snaplen 96 group 4710
    iptables  -m hashlimit --hashlimit-mode srcip --hashlimit-upto 1/sec --hashlimit-burst 1 --hashlimit-name droplan
                  -m limit --limit 200/sec -j NFLOG --nflog-prefix droplan-drop-private --nflog-group 4710

(one rule each, here broken for width). The prefix is four words' worth of meaning in one: ``droplan-``, then ``drop``
or ``observe``, then ``private`` or ``public``, the network that the packet came from. Others may send to the group
too: what has another prefix is none of ours.

The watcher imports this module and must stay small: nothing is imported here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

GROUP: Final = 4710
"""The NFLOG group; any number that nobody else uses."""

COPY_BYTES: Final = 96
"""How much of a packet is copied: an IPv6 header, one of its extension headers, and the ports."""

PREFIX: Final = "droplan-"


def prefix(*, public: bool, observe: bool = False) -> str:
    """Spell the prefix of a rule that copies packets.

    Args:
        public: whether they came from the public network.
        observe: whether they pass all the same.
    """
    return f"{PREFIX}{'observe' if observe else 'drop'}-{'public' if public else 'private'}"


def meaning(text: str) -> tuple[bool, bool] | None:
    """Read a prefix: whether public, and whether observed only; None when it is none of ours."""
    words = text.removeprefix(PREFIX).split("-")
    if not text.startswith(PREFIX) or len(words) != 2:
        return None
    verdict, network = words
    if verdict not in ("drop", "observe") or network not in ("private", "public"):
        return None
    return network == "public", verdict == "observe"
