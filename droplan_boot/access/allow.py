"""The words of DROPLAN_ALLOW and DO_TAG: who may come in. Pure.

    entry    SOURCE, SERVICE@SOURCE or SERVICE (everyone may reach it)
    SOURCE   a CIDR, tag:NAME, droplet:NAME or droplet:ID, k8s:CLUSTER_UUID
    SERVICE  as ``services`` reads it

Here they are only read. Whom a tag, a Droplet's name or a cluster stands for is looked up in ``names``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Union

from droplan_boot.access import services
from droplan_boot.access.services import Service
from droplan_boot.errors import UsageError
from droplan_boot.networks import Network, intervals

_ANY: Final = "10.0.0.0/24, tag:web, tcp/5432@tag:web or tcp/22"
# Not compiled here: without DROPLAN_ALLOW and DO_TAG, a refresh starts lean.
# https://docs.digitalocean.com/reference/api/ : letters, numbers, colons, dashes and underscores, up to 255
_TAG: Final = r"[A-Za-z0-9_:-]{1,255}"
# "Valid characters: a-z, A-Z, 0-9, . and -", the control panel says.
_DROPLET: Final = r"[A-Za-z0-9.-]{1,255}"
_UUID: Final = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


@dataclass(frozen=True)
class Name:
    """What stands for Droplets until somebody has listed them.

    Args:
        kind: ``tag``, ``droplet`` (its name, or its number in digits) or ``k8s`` (a cluster's nodes).
        value: the name; of a tag or a cluster in lower case, as DigitalOcean compares tags without regard to case.
    """

    kind: str
    value: str

    @property
    def tag(self) -> str | None:
        """The tag that its Droplets carry; None where it names a Droplet itself."""
        # Nodes of DOKS are Droplets with the tag k8s:CLUSTER_UUID.
        return {"tag": self.value, "k8s": f"k8s:{self.value}"}.get(self.kind)

    def __str__(self) -> str:
        """Write it as the user would."""
        return f"{self.kind}:{self.value}"


Who = Union[Network, Name]


@dataclass(frozen=True)
class Allow:
    """One entry of ``DROPLAN_ALLOW``: who may come in besides the peers.

    Args:
        source: the addresses, or what stands for them; None for everyone.
        service: what they may reach; None for everything.
        text: the entry as the user wrote it; "" where nobody did.
    """

    source: Who | None
    service: Service | None = None
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        """Write it as the user did, or would."""
        parts = (self.service, self.source)
        return self.text or "@".join(str(part) for part in parts if part is not None)


def parse(name: str, value: str) -> tuple[Allow, ...]:
    """Parse a list of entries.

    Args:
        name: the setting, for messages.
        value: entries by comma or blank; or ``none``.

    Raises:
        UsageError: one is something else, or all of them together would let everyone in.
    """
    words = services.words(value)
    if words == ["none"]:
        return ()
    entries = tuple(dict.fromkeys(entry(name, word) for word in words))
    for version in (4, 6):
        whole = [network for one in entries if one.service is None for network in _network(one.source)]
        if intervals(whole, version) == [(0, 2 ** (32 if version == 4 else 128) - 1)]:
            raise UsageError(f"{name}={value} would let everyone in: name the networks you mean")
    return entries


def entry(name: str, text: str) -> Allow:
    """Parse one entry.

    Args:
        name: the setting, for messages.
        text: the entry.

    Raises:
        UsageError: it is something else.
    """
    left, at, right = text.partition("@")
    if not at:
        return (
            Allow(None, services.one(name, text), text)
            if services.looks_like_one(text)
            else Allow(_source(name, text), None, text)
        )
    if not (left and right) or "@" in right:
        raise UsageError(f"{name}: {text} is no SERVICE@SOURCE: write such as tcp/5432@tag:web")
    if services.looks_like_one(right) and not services.looks_like_one(left):
        raise UsageError(f"{name}: {text} names the source first: write {right}@{left}")
    return Allow(_source(name, right), services.one(name, left), text)


def tags(name: str, value: str) -> tuple[str, ...]:
    """Parse tags, by comma.

    Args:
        name: the setting, for messages.
        value: such as ``web`` or ``web,db``.

    Returns:
        Each once, whatever its case; as the user wrote it.

    Raises:
        UsageError: one of them is no tag.
    """
    found: dict[str, str] = {}
    for word in (word.strip() for word in value.split(",")):
        if not re.fullmatch(_TAG, word):
            shown = f"{name}={value}" + (f": {word}" if word and word != value else "")
            raise UsageError(
                f"{shown} is no tag: tags hold letters, digits, colons, dashes and underscores; several go by comma"
            )
        found.setdefault(word.lower(), word)
    return tuple(found.values())


def names(entries: Iterable[Allow]) -> tuple[Name, ...]:
    """List what stands for Droplets in entries, each once."""
    return tuple(dict.fromkeys(one.source for one in entries if isinstance(one.source, Name)))


def _network(source: Who | None) -> tuple[Network, ...]:
    return () if source is None or isinstance(source, Name) else (source,)


def _source(name: str, text: str) -> Who:
    kind, colon, value = text.partition(":")
    if colon and kind in ("tag", "droplet", "k8s"):
        return _name(name, text, kind, value)
    if "%" not in text:  # a scope: Python keeps whatever stands behind it
        try:
            return ipaddress.ip_network(text)
        except ValueError as error:
            if "host bits" in str(error):
                right = ipaddress.ip_network(text, strict=False)
                raise UsageError(f"{name}: {text} names a host within a network: write {right}") from None
    raise UsageError(f"{name}: {text} {_mistaken_source(text)}")


def _name(name: str, text: str, kind: str, value: str) -> Name:
    if kind == "tag" and not re.fullmatch(_TAG, value):
        raise UsageError(
            f"{name}: {text} names no tag (they hold letters, digits, colons, dashes and underscores): "
            "write such as tag:web"
        )
    if kind == "droplet" and not re.fullmatch(_DROPLET, value):
        raise UsageError(
            f"{name}: {text} names no Droplet (names hold letters, digits, dots and dashes): "
            "write its name or its number, such as droplet:db-1"
        )
    if kind == "k8s" and not re.fullmatch(_UUID, value):
        raise UsageError(
            f"{name}: {text} needs the cluster's UUID, which `doctl kubernetes cluster list` shows: "
            "write such as k8s:bd5f5959-5e1e-4205-a714-a914373942af"
        )
    return Name(kind, value if kind == "droplet" else value.lower())


def _mistaken_source(text: str) -> str:
    if re.fullmatch(r"(tags?|droplets?|k8s)[=:/].*", text, re.IGNORECASE):
        kind, value = re.split(r"[=:/]", text, maxsplit=1)
        kind = kind.lower() if kind.lower() == "k8s" else kind.lower().rstrip("s")
        return f"is no source: write {kind}:{value or 'NAME'}"
    right = services.guess(text)
    if not right.startswith("such"):
        return f"is no service: write {right}"
    if re.fullmatch(_DROPLET, text) and not re.fullmatch(r"[0-9.]+", text):
        return f"is neither a network nor a service: write {_ANY} (a tag or a Droplet: tag:{text}, droplet:{text})"
    return f"is neither a network nor a service: write such as {_ANY}"
