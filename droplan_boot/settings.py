"""What the user set: environment first, then ``/etc/droplan/droplan.env``."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Final, TypeVar
from urllib.parse import urlsplit

from droplan_boot import paths
from droplan_boot.access import allow, services
from droplan_boot.access.allow import Allow
from droplan_boot.access.services import Service
from droplan_boot.errors import DroplanError, UsageError
from droplan_boot.host.files import Files

_Value = TypeVar("_Value")

TOKEN_NAMES: Final = ("DO_KEY", "DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN")
NAMES: Final = (
    *TOKEN_NAMES,
    "DO_TAG",
    "PUBLIC",
    "DROPLAN_SCOPE",
    "DROPLAN_PEER_PORTS",
    "DROPLAN_ALLOW",
    "DROPLAN_ALLOW_PUBLIC",
    "DROPLAN_MODE",
    "DROPLAN_BACKEND",
    "DROPLAN_INTERVAL",
    "DROPLAN_FAIL_CLOSED",
    "DROPLAN_WATCH",
    "DROPLAN_LOCK_METADATA",
    "DROPLAN_METADATA_URL",
    "DROPLAN_SHARED",
    "DROPLAN_SHARED_KEY",
    "DROPLAN_SHARED_TRUST",
    "DIGITALOCEAN_API_URL",
)
SCOPES: Final = ("region", "vpc", "account")
LONGEST_INTERVAL: Final = 60
MODES: Final = ("enforce", "observe")
BACKENDS: Final = ("auto", "iptables", "nftables")


@dataclass(frozen=True)
class Settings:
    """Every setting, checked.

    Args:
        token: the API token; "" when none was given. Never shown by ``repr``.
        tags: only Droplets with one of these tags are peers; none for all.
        scope: ``region``, ``vpc`` or ``account``.
        public: guard the public interface too.
        peer_ports: what peers may reach; None for everything.
        allow: who else may come in.
        allow_public: who else may come in from the public network; None for the same.
        mode: ``enforce``, or ``observe``: everybody passes, and who would be shut out is noted.
        backend: ``auto``, ``iptables`` or ``nftables``.
        interval: minutes between refreshes, 1 to 60.
        fail_closed: close the interface when the first answer cannot be had.
        watch: have the watcher run, where systemd does.
        lock_metadata: only root may reach the metadata service.
        shared: https address of the bucket (and prefix) where the fleet's publisher writes; "" to ask the API.
        shared_key: ``ID:SECRET`` that may read there. Never shown by ``repr``.
        shared_trust: the publisher's public keys, one or two.
        api_url: base of the API, https.
        metadata_url: base of the metadata service.
    """

    token: str = field(default="", repr=False)
    tags: tuple[str, ...] = ()
    scope: str = "region"
    public: bool = False
    peer_ports: tuple[Service, ...] | None = None
    allow: tuple[Allow, ...] = ()
    allow_public: tuple[Allow, ...] | None = None
    mode: str = "enforce"
    backend: str = "auto"
    interval: int = 5
    fail_closed: bool = False
    watch: bool = True
    lock_metadata: bool = False
    shared: str = ""
    shared_key: str = field(default="", repr=False)
    shared_trust: tuple[str, ...] = ()
    api_url: str = "https://api.digitalocean.com"
    metadata_url: str = "http://169.254.169.254"

    @property
    def observe(self) -> bool:
        """Whether nobody is to be shut out."""
        return self.mode == "observe"


def load(environ: Mapping[str, str], files: Files) -> Settings:
    """Read the settings of this run.

    Raises:
        UsageError: a setting is unknown or its value is none it can have.
    """
    return parse(merged(environ, files))


def tolerant(environ: Mapping[str, str], files: Files) -> tuple[Settings, DroplanError | None]:
    """Read the settings for a verb that no mistake in them may stop.

    Returns:
        The settings and None; or the defaults, with the backend if that can still be read, and the mistake.
    """
    try:
        return load(environ, files), None
    except DroplanError as mistake:
        try:
            text = (files.read(paths.SETTINGS) or b"").decode(errors="replace")
        except DroplanError:
            text = ""
        found = re.findall(r"^(?:export )?DROPLAN_BACKEND=['\"]?(\w+)", text, re.MULTILINE)
        return Settings(backend=found[-1] if found and found[-1] in BACKENDS else "auto"), mistake


def fingerprint(files: Files) -> str:
    """Tell one settings file from another; "" when there is none. What it holds cannot be read from it."""
    import hashlib

    data = files.read(paths.SETTINGS)
    return "" if data is None else hashlib.sha256(data).hexdigest()


def passing(environ: Mapping[str, str], files: Files) -> dict[str, tuple[str | None, str]]:
    """Find the settings that hold for this run only: the environment gives them, the file says something else.

    Returns:
        By name: what the file says (None for nothing) and what the environment does; none without a file. The token's
        values are left out.
    """
    data = files.read(paths.SETTINGS)
    if data is None:
        return {}
    stored = one_token(read(data))
    given = one_token({name: value for name, value in environ.items() if name in NAMES})
    return {
        name: ("", "") if name == "DO_KEY" else (stored.get(name), value)
        for name, value in given.items()
        if value != stored.get(name, "")
    }


def merged(environ: Mapping[str, str], files: Files) -> dict[str, str]:
    """Lay the environment over the settings file; an empty value takes a setting back to its default.

    Returns:
        Settings by name, none of them empty; the token always under ``DO_KEY``.

    Raises:
        UsageError: the file is malformed, or a setting is unknown.
        UnsafePathError: others than root can have written the file.
    """
    files.trust(paths.SETTINGS)
    stored = read(files.read(paths.SETTINGS) or b"")
    known = {name: value for name, value in environ.items() if name in NAMES}
    for name in (*stored, *(name for name in environ if name.startswith("DROPLAN_"))):
        if name not in NAMES:
            raise _unknown(name)
    return {name: value for name, value in {**one_token(stored), **one_token(known)}.items() if value}


def read(data: bytes, path: Path = paths.SETTINGS) -> dict[str, str]:
    """Parse a settings file: ``NAME=value`` lines, values bare or in quotes, ``#`` comments.

    Args:
        data: its bytes.
        path: where it is, for messages.

    Raises:
        UsageError: a line is something else.
    """
    values: dict[str, str] = {}
    for number, raw in enumerate(data.decode(errors="replace").splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        if not equals or not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            raise UsageError(f"{path}, line {number}, is not NAME=value: mend that line")
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        values[name] = value
    return values


def render(values: Mapping[str, str]) -> bytes:
    """Write the settings file that :func:`read` reads."""
    lines = [f"{name}={values[name]}" for name in NAMES if name in values]
    head = (
        "# droplan's settings. After a change: droplan refresh (droplan install for DROPLAN_INTERVAL, DROPLAN_WATCH)."
    )
    return "\n".join([head, *lines, ""]).encode()


def parse(values: Mapping[str, str], optional: tuple[str, ...] = ()) -> Settings:
    """Check every value.

    Args:
        values: settings by name, as :func:`merged` returns them.
        optional: settings that may be missing although others call for them.

    Raises:
        UsageError: a value is none its setting can have.
    """
    for name, value in values.items():
        if not value.isprintable():
            raise UsageError(f"{name} holds a line break or another control character: remove it")
    default = Settings()
    if values.get("DROPLAN_LOCK_METADATA", "").lower() == "true":
        _require_address("DROPLAN_METADATA_URL", values.get("DROPLAN_METADATA_URL", default.metadata_url))

    if "DROPLAN_SHARED" in values:
        for name in ("DROPLAN_SHARED_KEY", "DROPLAN_SHARED_TRUST"):
            if name not in values and name not in optional:
                raise UsageError(f"DROPLAN_SHARED is set and {name} is not: set it as well")

    def get(name: str, convert: Callable[[str, str], _Value], otherwise: _Value) -> _Value:
        return convert(name, values[name]) if name in values else otherwise

    return Settings(
        token=get("DO_KEY", _token, default.token),
        tags=get("DO_TAG", allow.tags, default.tags),
        scope=get("DROPLAN_SCOPE", _one_of(SCOPES), default.scope),
        public=get("PUBLIC", _flag, default.public),
        peer_ports=get("DROPLAN_PEER_PORTS", services.parse, default.peer_ports),
        allow=get("DROPLAN_ALLOW", allow.parse, default.allow),
        allow_public=get("DROPLAN_ALLOW_PUBLIC", allow.parse, default.allow_public),
        mode=get("DROPLAN_MODE", _one_of(MODES), default.mode),
        backend=get("DROPLAN_BACKEND", _one_of(BACKENDS), default.backend),
        interval=get("DROPLAN_INTERVAL", _interval, default.interval),
        fail_closed=get("DROPLAN_FAIL_CLOSED", _flag, default.fail_closed),
        watch=get("DROPLAN_WATCH", _flag, default.watch),
        lock_metadata=get("DROPLAN_LOCK_METADATA", _flag, default.lock_metadata),
        shared=get("DROPLAN_SHARED", _url("https"), default.shared),
        shared_key=get("DROPLAN_SHARED_KEY", _store_key, default.shared_key),
        shared_trust=get("DROPLAN_SHARED_TRUST", _public_keys, default.shared_trust),
        api_url=get("DIGITALOCEAN_API_URL", _url("https"), default.api_url),
        metadata_url=get("DROPLAN_METADATA_URL", _url("http", "https"), default.metadata_url),
    )


def one_token(values: Mapping[str, str]) -> dict[str, str]:
    """Keep the token that counts, as ``DO_KEY``."""
    rest = {name: value for name, value in values.items() if name not in TOKEN_NAMES}
    tokens = [values[name] for name in TOKEN_NAMES if values.get(name)]
    return {"DO_KEY": tokens[0], **rest} if tokens else rest


def _unknown(name: str) -> UsageError:
    import difflib  # only a typing mistake needs it

    near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.5)
    shown = name if name.isprintable() else repr(name)
    advice = f"did you mean {near[0]}?" if near else 'README.md, "Settings", lists them'
    return UsageError(f"unknown setting {shown}: {advice}")


def _token(name: str, value: str) -> str:
    if not re.fullmatch(r"[!#-&(-~]+", value):
        raise UsageError(f"{name} is no API token (it holds blanks, quotes or special characters): paste it again")
    return value


def _store_key(name: str, value: str) -> str:
    if not re.fullmatch(r"[\w./+=-]+:[\w./+=-]+", value, re.ASCII):
        raise UsageError(f"{name} is not ID:SECRET: paste both halves of the bucket's key, with a colon between them")
    return value


def _public_keys(name: str, value: str) -> tuple[str, ...]:
    from droplan_boot.host import openssl  # only a fleet's members need it

    keys = tuple(dict.fromkeys(value.replace(",", " ").split()))
    if not 1 <= len(keys) <= 2 or not all(map(openssl.is_public_key, keys)):
        raise UsageError(f"{name} is not one or two public keys: set what `droplan fleet key FILE` prints")
    return keys


def _flag(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise UsageError(f"{name}={value} is neither true nor false: set one of them")
    return value.lower() == "true"


def _one_of(choices: tuple[str, ...]) -> Callable[[str, str], str]:
    def convert(name: str, value: str) -> str:
        if value not in choices:
            raise UsageError(f"{name}={value} is unknown: set {', '.join(choices[:-1])} or {choices[-1]}")
        return value

    return convert


def _interval(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", value) or not 1 <= int(value) <= LONGEST_INTERVAL:
        raise UsageError(f"{name}={value} is no number of minutes from 1 to 60: set one")
    return int(value)


def _url(*schemes: str) -> Callable[[str, str], str]:
    def convert(name: str, value: str) -> str:
        if not re.fullmatch(rf"(?:{'|'.join(schemes)})://[\w.-]+(?::\d+)?(?:/[\w./-]*)?", value, re.ASCII):
            raise UsageError(
                f"{name}={value} is no {' or '.join(schemes)} address: set one such as {schemes[0]}://host"
            )
        return value.rstrip("/")

    return convert


def _require_address(name: str, url: str) -> None:
    try:
        ipaddress.IPv4Address(urlsplit(url).hostname or "")
    except ValueError:
        raise UsageError(
            f"{name}={url} names no IPv4 address, which DROPLAN_LOCK_METADATA needs: unset one"
        ) from None
