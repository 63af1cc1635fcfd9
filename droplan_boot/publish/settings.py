"""What a publisher is told: ``/etc/droplan/publish.env`` alone, neither the environment nor droplan.env."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from droplan_boot import paths, settings
from droplan_boot.errors import UsageError
from droplan_boot.host.files import Files

_SIGNING_KEY: Final = "DROPLAN_SIGNING_KEY"
_NEEDED: Final = ("DO_KEY", "DROPLAN_SHARED", "DROPLAN_SHARED_KEY", _SIGNING_KEY)


@dataclass(frozen=True)
class Publishing:
    """What a publisher works with.

    Args:
        token: API token of its own, droplet:read at least. Never shown by ``repr``.
        shared: https address of bucket and prefix: the fleet's id.
        shared_key: ``ID:SECRET`` that may read and write there. Never shown by ``repr``.
        trust: public keys besides its own whose heads it goes on from, during a rotation.
        signing_key: file of the private key.
        api_url: base of the API.
    """

    token: str = field(repr=False)
    shared: str
    shared_key: str = field(repr=False)
    trust: tuple[str, ...]
    signing_key: Path
    api_url: str


def load(files: Files) -> Publishing:
    """Read publish.env.

    Raises:
        UsageError: it is missing, or something in it is.
        UnsafePathError: others than root can have written it.
    """
    files.trust(paths.PUBLISH)
    data = files.read(paths.PUBLISH)
    if data is None:
        raise UsageError(f"{paths.PUBLISH} is missing: write {', '.join(_NEEDED)} into it (docs/scale.md), mode 0600")
    values = settings.read(data, paths.PUBLISH)
    for name in values:
        if name not in (*settings.NAMES, _SIGNING_KEY):
            raise UsageError(f"{paths.PUBLISH} has an unknown setting {name}: remove it")
    values = settings.one_token({name: value for name, value in values.items() if value})
    for name in _NEEDED:
        if name not in values:
            raise UsageError(f"{name} is missing in {paths.PUBLISH}: set it there")
    path = Path(values.pop(_SIGNING_KEY))
    if not path.is_absolute():
        raise UsageError(f"{_SIGNING_KEY}={path} is no absolute path: set the FILE that `droplan fleet key` wrote")
    parsed = settings.parse(values, optional=("DROPLAN_SHARED_TRUST",))
    return Publishing(parsed.token, parsed.shared, parsed.shared_key, parsed.shared_trust, path, parsed.api_url)
