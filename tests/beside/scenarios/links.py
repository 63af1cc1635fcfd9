"""Links that come, go and change their names: the guard goes by address as well as by card."""

from __future__ import annotations

from typing import Final

from tests.bed.beside.program import Event, Program

_DOWN: Final = "the card is down meanwhile"
_MOVED: Final = "the address is nowhere meanwhile"
# Link-local addresses tell nothing of the network that they are in, and the guard knew the card by its name.
_BY_NAME: Final = "a card of another name is not known by its link-local addresses"
_ADDRESS: Final = "10.132.0.2/16"
_SECOND: Final = "10.132.0.50"


def _enslaved(kind: str) -> tuple[Event, Event]:
    master = f"{kind}0"
    delay = " forward_delay 0 mcast_snooping 0" if kind == "bridge" else ""
    return (
        Event(
            f"eth1 enslaved to a {kind}",
            f"ip link add {master} address 0a:00:0a:84:00:02 type {kind}{delay}\nip link set eth1 down\n"
            f"ip address flush dev eth1\nip link set eth1 master {master}\n"
            f"ip link set {master} up\nip link set eth1 up\nip address add {_ADDRESS} dev {master}\nsleep 0.2\n",
            opens_ipv6=_BY_NAME,
            pauses=_MOVED,
            was_open=True,
        ),
        Event(
            f"eth1 out of the {kind} again",
            f"ip link delete {master}\nip link set eth1 down\nip link set eth1 up\n"
            f"ip address add {_ADDRESS} dev eth1\nsleep 0.2\n",
            opens_ipv6=_BY_NAME,
            pauses=_MOVED,
        ),
    )


PROGRAMS: Final = (
    Program(
        "links",
        (),
        "",
        (
            Event("eth1 down, and up", "ip link set eth1 down\nsleep 0.1\nip link set eth1 up", pauses=_DOWN),
            Event(
                "eth1 renamed",
                "ip link set eth1 down\nip link set eth1 name mesh0\nip link set mesh0 up",
                opens_ipv6=_BY_NAME,
                pauses=_DOWN,
                was_open=True,
            ),
            Event(
                "eth1 named as before",
                "ip link set mesh0 down\nip link set mesh0 name eth1\nip link set eth1 up",
                opens_ipv6=_BY_NAME,
                pauses=_DOWN,
            ),
            *_enslaved("bridge"),
            Event(
                "a second private card",
                f"ip address add {_SECOND}/16 dev eth2\nip link set eth2 up",
                opens_ipv6=_BY_NAME,
                was_open=True,
            ),
            Event(
                "the address moved to the second card",
                "ip link set eth2 up\n"
                f"ip address delete {_ADDRESS} dev eth1\nsleep 0.2\nip address add {_ADDRESS} dev eth2\nsleep 0.2",
                opens_ipv6=_BY_NAME,
                pauses=_MOVED,
                was_open=True,
            ),
            Event(
                "the address moved back",
                f"ip address delete {_ADDRESS} dev eth2\nsleep 0.2\nip address add {_ADDRESS} dev eth1\nsleep 0.2",
                opens_ipv6=_BY_NAME,
                pauses=_MOVED,
            ),
        ),
        cards=("eth2",),
        addresses=(_SECOND,),
        publishes=False,
    ),
    Program("a bond", (), "", _enslaved("bond"), publishes=False, needs="bond"),
)
