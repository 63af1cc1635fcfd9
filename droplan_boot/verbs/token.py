"""Change the API token: the new one is tried before it takes the old one's place."""

from __future__ import annotations

from droplan_boot import paths, settings
from droplan_boot.errors import UsageError
from droplan_boot.flow import refreshing
from droplan_boot.host import lock
from droplan_boot.host.doors import Host
from droplan_boot.setup import tokens


def run(host: Host, *, token_file: str | None = None) -> None:
    """Change it.

    Args:
        host: this machine.
        token_file: where the new one is; ``-`` for stdin, None to ask whom is at the terminal.

    Raises:
        UsageError: there is no new one, or droplan is not installed.
        NoAnswerError: the new one does not work; the old one stays.
    """
    host.require_root()
    host.files.trust(paths.SETTINGS)
    stored = host.files.read(paths.SETTINGS)
    if stored is None:
        raise UsageError("droplan is not installed here: `sudo python3 droplan.pyz install` asks for the token")
    token = tokens.from_file(host, token_file) if token_file is not None else tokens.ask(host)
    if not token:
        raise UsageError(
            "there is no terminal to ask for the token at: pass `--token-file FILE`, or `--token-file -` and the "
            "token on stdin"
        )
    wanted = settings.parse({**settings.merged({}, host.files), "DO_KEY": token})
    refreshing.ask(host, wanted)
    with lock.held(host.files.real(paths.LOCK), wait=refreshing.LOCK_S):
        host.files.write(paths.SETTINGS, tokens.replaced(stored, token), 0o600)
    host.log.say("The new token works and is stored: the next refresh uses it; revoke the old one at DigitalOcean")
