"""ufw: chains of its own, and with MANAGE_BUILTINS=yes everybody's (ufw-init, /etc/default/ufw)."""

from __future__ import annotations

from typing import Final

from tests.bed.beside.program import Event, Program

# Everyone may reach port 7, says the user, and by that rule strangers would.
_START: Final = "ufw allow 7/tcp >/dev/null\nufw --force enable >/dev/null\n"
_FLUSHED: Final = "it closes the built-in chains before it fills them"
_EVENTS: Final = (
    Event("reload", "ufw reload >/dev/null", pauses=_FLUSHED),
    Event("disable, and enable", "ufw disable >/dev/null\nufw --force enable >/dev/null", pauses=_FLUSHED),
    Event("a port opened", "ufw allow 9999/tcp >/dev/null"),
    Event(
        "reset, and enable",
        "ufw --force reset >/dev/null\nufw allow 7/tcp >/dev/null\nufw --force enable >/dev/null",
        pauses=_FLUSHED,
        nightly=True,
    ),
)
_BUILTINS: Final = "sed -i 's/^MANAGE_BUILTINS=.*/MANAGE_BUILTINS=yes/' /etc/default/ufw\n"
# Beside ufw there is no loader of saved rules (they Break each other), and this bed has no systemd for our own unit.
_NOTHING_RESTORES: Final = 5

PROGRAMS: Final = (
    Program("ufw", ("ufw",), _START, _EVENTS, publishes=False, install_pauses=_FLUSHED, status=_NOTHING_RESTORES),
    Program(
        "ufw, MANAGE_BUILTINS=yes",
        ("ufw",),
        _BUILTINS + _START,
        tuple(
            Event(event.name, event.script, pauses=_FLUSHED, was_open=event.name.startswith(("reload", "disable")))
            for event in _EVENTS[:2]
        ),
        publishes=False,
        install_pauses=_FLUSHED,
        status=_NOTHING_RESTORES,
    ),
)
