"""What there is to know of a program that writes firewall rules, as data: how it comes, and what it does then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """Something that a program does, or that somebody does with it.

    Attributes:
        name: what happens, in a few words; docs/beside.md has it.
        script: what brings it about, for sh on the Droplet. It ends with the program running as before.
        opens: why strangers may get in until the next run of droplan; "" where they may not.
        opens_ipv6: the same for IPv6 alone, where IPv4 stays closed.
        pauses: why the program itself keeps peers out meanwhile; "" where no peer is out for a moment. A run of the
            same event without droplan shows that it is so.
        repeats: whether it may happen twice in a row, with nothing between.
        was_open: whether strangers got in, or peers were cut, with 1.0.0.
        nightly: whether it takes too long for every commit.
        status: the exit code of ``droplan status`` after the next run.
    """

    name: str
    script: str
    opens: str = ""
    opens_ipv6: str = ""
    pauses: str = ""
    repeats: bool = False
    was_open: bool = False
    nightly: bool = False
    status: int = 0


@dataclass(frozen=True)
class Program:
    """A program as it is set up on the Droplet.

    Attributes:
        name: what docs/beside.md calls it, with what is special in its settings.
        packages: Debian's names of what it takes.
        start: a script that makes it run on the Droplet, once the packages are there.
        events: what happens then.
        functions: what its scripts share, in sh.
        files: what it reads, by path.
        publishes: whether it makes port 8080 lead to a container, or to another port.
        iptables: the variant that ``iptables`` means.
        cards: further cards on the private network, by name, that are down and have no address at first.
        addresses: further private addresses of the Droplet, at which strangers knock as well.
        needs: the kind of link without which the program is left out, for ``ip link add``.
        orders: whether droplan is installed before it, in the first order with its events.
        nightly: whether it is left to the night, with all its events.
        install_pauses: as ``pauses``, for its installation and start beside droplan.
        peers_in: whether peers reach the Droplet beside it, once droplan is there.
        status: the exit code of ``droplan status`` beside it.
    """

    name: str
    packages: tuple[str, ...]
    start: str
    events: tuple[Event, ...]
    functions: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    publishes: bool = True
    iptables: str = "nft"
    cards: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    needs: str = ""
    orders: tuple[bool, ...] = (True, False)
    nightly: bool = False
    install_pauses: str = ""
    peers_in: bool = True
    status: int = 0
