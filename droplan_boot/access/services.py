"""The words for what can be reached, in DROPLAN_ALLOW and DROPLAN_PEER_PORTS. Pure.

SERVICE  tcp/N, udp/N, tcp/N-M, udp/N-M, icmp, proto/NUMBER
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from droplan_boot.errors import UsageError

_NUMBERS: Final = {"tcp": 6, "udp": 17}  # https://www.iana.org/assignments/protocol-numbers
_WORDS: Final = {number: word for word, number in _NUMBERS.items()}
_SUCH: Final = "tcp/80,udp/53,icmp,tcp/8000-8100"
_ICMP: Final = {4: 1, 6: 58}
_SERVICE: Final = r"(tcp|udp|icmp|icmpv6|ipv6-icmp|proto)(/.*)?"


@dataclass(frozen=True)
class Service:
    """What can be reached.

    Args:
        protocol: ``tcp``, ``udp``, ``icmp``, or the number of another IP protocol. ``icmp`` is all of ICMP in IPv4;
            in IPv6 it is ping, because there a router's messages are ICMP too, and steer a host's traffic.
        first: the lowest destination port, as the sender asks for it; None for all of the protocol.
        last: the highest.
    """

    protocol: str
    first: int | None = None
    last: int | None = None

    def number(self, version: int) -> int:
        """Tell the number of its protocol in packets of an IP version (4 or 6)."""
        return _ICMP[version] if self.protocol == "icmp" else _NUMBERS.get(self.protocol) or int(self.protocol)

    def covers(self, protocol: str, port: int | None, version: int) -> bool:
        """Whether a packet is for it.

        Args:
            protocol: of the packet, spelled as :attr:`protocol`; ``icmp`` is a ping.
            port: its destination port as the sender asked for it; None where its protocol has no ports.
            version: 4 or 6.
        """
        if self.number(version) != Service(protocol).number(version):
            return False
        if self.protocol == "icmp" and version == 6:
            return protocol == "icmp"
        return self.first is None or (port is not None and self.last is not None and self.first <= port <= self.last)

    def of(self, version: int) -> Service:
        """Return it as it is called in one IP version: in IPv4, icmp and protocol 1 are the same."""
        return Service("icmp") if version == 4 and self.protocol == "1" else self

    def __str__(self) -> str:
        """Write it as the user would."""
        if self.protocol == "icmp":
            return "icmp"
        if self.first is None:
            return f"proto/{self.number(4)}"
        return f"{self.protocol}/{self.first}" + (f"-{self.last}" if self.last != self.first else "")


def parse(name: str, value: str) -> tuple[Service, ...] | None:
    """Parse what peers may reach.

    Args:
        name: the setting, for messages.
        value: ``everything``, ``none``, or services by comma or blank.

    Returns:
        The services, each once; None for everything.

    Raises:
        UsageError: it is something else.
    """
    spelled = words(value)
    if not spelled:
        raise UsageError(f"{name} names nothing: write everything, none, or such as {_SUCH}")
    if spelled in (["everything"], ["none"]):
        return None if spelled == ["everything"] else ()
    for word in spelled:
        if "@" in word or not (looks_like_one(word) or re.fullmatch(r"\d+.*", word)):
            raise UsageError(
                f"{name}: {word} is no service: write everything, none, or such as {_SUCH} "
                "(who may come in besides the peers belongs into DROPLAN_ALLOW)"
            )
    return tuple(dict.fromkeys(one(name, word) for word in spelled))


def words(value: str) -> list[str]:
    """Split a list by comma or blank."""
    return [word for word in re.split(r"[,\s]+", value) if word]


def looks_like_one(text: str) -> bool:
    """Whether a word is meant as a service, well spelled or not."""
    return re.fullmatch(_SERVICE, text, re.IGNORECASE) is not None


def one(name: str, text: str) -> Service:
    """Parse one service.

    Args:
        name: the setting, for messages.
        text: the service.

    Raises:
        UsageError: it is something else.
    """
    protocol, slash, rest = text.partition("/")
    if protocol in _NUMBERS:
        return Service(protocol, *_ports(name, text, protocol, rest))
    if protocol == "icmp" and not slash:
        return Service("icmp")
    if protocol == "proto":
        if not re.fullmatch(r"[0-9]{1,3}", rest, re.ASCII) or not 1 <= int(rest) <= 255:
            raise UsageError(
                f"{name}: {text} needs the number of an IP protocol, 1 to 255: write such as proto/47 for GRE"
            )
        return Service(_WORDS.get(int(rest), str(int(rest))))
    raise UsageError(f"{name}: {text} is no service: write {guess(text)}")


def _ports(name: str, text: str, protocol: str, ports: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", ports, re.ASCII)
    if not found:
        all_of_it = f", or proto/{_NUMBERS[protocol]} for all of {protocol.upper()}" if not ports else ""
        raise UsageError(
            f"{name}: {text} names no port by its number: "
            f"write such as {protocol}/22 or {protocol}/8000-8100{all_of_it}"
        )
    first, last = int(found[1]), int(found[2] or found[1])
    if not (1 <= first <= 65535 and 1 <= last <= 65535):
        raise UsageError(f"{name}: {text} has no such port: write one from 1 to 65535")
    if first > last:
        raise UsageError(f"{name}: {text} runs backwards: write {protocol}/{last}-{first}")
    return first, last


def guess(text: str) -> str:
    """Guess what a person meant who spelled a service as another firewall would."""
    if re.match(r"(ipv6-)?icmp", text, re.IGNORECASE):
        return "icmp, which takes no type and is ping in IPv6"
    if text.lower() != text:
        return text.lower()
    swapped = re.fullmatch(r"(\d+(?:[-:]\d+)?)/(tcp|udp)", text)  # ufw's and firewalld's order
    if swapped:
        return f"{swapped[2]}/{swapped[1].replace(':', '-')}"
    joined = re.fullmatch(r"(tcp|udp)[:=](\d+(?:[-:]\d+)?)", text)
    if joined:
        return f"{joined[1]}/{joined[2].replace(':', '-')}"
    if re.fullmatch(r"\d+(-\d+)?", text):
        return f"tcp/{text} or udp/{text}"
    return "such as tcp/22, udp/53, tcp/8000-8100, icmp or proto/47"
