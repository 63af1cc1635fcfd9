"""Say whether somebody gets in, the rule that decides, every step of why, and what would change it."""

from __future__ import annotations

import ipaddress
import json
import re
import sys
from dataclasses import replace
from typing import Any, Final

from droplan_boot import settings
from droplan_boot.access import explanation, services
from droplan_boot.access.explanation import Asked, Explanation, Known
from droplan_boot.access.services import Service
from droplan_boot.errors import CommandError, DroplanError, UsageError
from droplan_boot.firewall import others
from droplan_boot.flow import learn
from droplan_boot.host import links
from droplan_boot.host.doors import Host
from droplan_boot.networks import Address
from droplan_boot.settings import Settings
from droplan_boot.sources.listing import Droplet, Listing
from droplan_boot.state import backends, report, snapshot
from droplan_boot.state.snapshot import Snapshot
from droplan_boot.verbs import words

SCHEMA: Final = 1
_STALE_S: Final = 900.0


def run(host: Host, *, who: str, service: str | None = None, as_json: bool = False) -> None:
    """Explain.

    Args:
        host: this machine.
        who: an address, or a Droplet's name or number.
        service: such as ``tcp/5432``, ``tcp/8000-8010`` or ``proto/47``; None for everything at once.
        as_json: for programs.

    Raises:
        UsageError: nobody is called that, or the service is none.
    """
    host.require_root()
    wanted, _ = settings.tolerant(host.environ, host.files)
    found = snapshot.load(host.files)
    asked, listing, silence = _find(host, wanted, found, who, _service(service))
    last, used = report.load(host.files), backends.load(host.files)
    known = Known(
        policy=found.policy if found else None,
        answered=found is None or found.answered,
        own_addresses=_own_addresses(host),
        scope=wanted.scope,
        tags=wanted.tags,
        listing=listing,
        own_id=found.droplet_id if found else None,
        observing=last is not None and last.mode == "observe",
        guard="" if not used else "table inet droplan" if "nftables" in used else "table mangle",
        door=any(name != "nftables" for name in used),
    )
    answer = explanation.explain(asked, known)
    steps = [*answer.steps, *([silence] if silence else [])]
    age = host.clock.time() - found.written if found and found.answered else None
    if age is not None and age > _STALE_S:
        steps.append(f"the last answer is {words.ago(age)} old: `droplan status` says why")
    by = tuple(name for segment in found.policy.segments for name in segment.interfaces) if found else ()
    refusing = (
        others.refusing(host, asked.address, asked.service, by) if by and (answer.accept or answer.partly) else ()
    )
    answer = replace(answer, steps=tuple(steps))
    if as_json:
        sys.stdout.write(host.hint(json.dumps(document(asked, answer, refusing, age), indent=1) + "\n"))
    else:
        sys.stdout.write(words.printable(render(asked, answer, refusing, host)))


def document(asked: Asked, answer: Explanation, refusing: tuple[str, ...], age: float | None) -> dict[str, Any]:
    """Make the JSON document, docs/schemas/explain.json."""
    return {
        "schema": SCHEMA,
        "who": asked.who,
        "address": None if asked.address is None else str(asked.address),
        "droplet": None if asked.droplet is None else asked.droplet.to_json(),
        "service": asked.spelled or None,
        "verdict": "accept" if answer.accept else "drop",
        "reason": answer.reason,
        "rule": answer.rule,
        "grant": None if answer.grant is None else answer.grant.to_json(),
        "parts": [part.to_json() for part in answer.parts],
        "steps": list(answer.steps),
        "remedy": answer.remedy,
        "others": list(refusing),
        "answer_age": age,
    }


def render(asked: Asked, answer: Explanation, refusing: tuple[str, ...], host: Host) -> str:
    """Lay it out for a person: the verdict first, then why, then what would change it."""
    head = "ACCEPT" if answer.accept else "PARTLY" if answer.partly else "DROP"
    name = f"{asked.droplet.name} " if asked.droplet and asked.droplet.name and asked.address else ""
    who = f"{name}{asked.address or asked.who}"
    service = f" to {asked.spelled}" if asked.spelled else ""
    lines = words.wrap(f"{head}  {who}{service}: {answer.why}", " " * (len(head) + 2))
    kind = {"ACCEPT": "good", "PARTLY": "warn", "DROP": "bad"}[head]
    lines[0] = lines[0].replace(head, words.colour(head, kind, host.environ), 1)
    rows = [
        *(("why" if number == 0 else "", step) for number, step in enumerate(answer.steps)),
        ("rule", answer.rule),
        *(("but", line) for line in refusing),
        *([("to change it", answer.remedy)] if answer.remedy else []),
    ]
    for label, text in rows:
        lines += words.wrap(f"{label:<13} {host.hint(text)}", " " * 14)
    return "\n".join(lines) + "\n"


def _service(text: str | None) -> Service | None:
    return None if text is None else services.one("SERVICE", text.lower())


def _find(
    host: Host, wanted: Settings, found: Snapshot | None, who: str, service: Service | None
) -> tuple[Asked, Listing | None, str]:
    """Find whom is meant: in the snapshot first, then at the source.

    Returns:
        Whom; what the source listed, None where it was not asked or did not answer; and why it did not.
    """
    address = _address(who)
    known = (*found.peers, *found.named) if found else ()
    droplet = _one(known, who, address)
    sender = address or _sender(droplet)
    covered = sender is not None and (
        found is None or _settled(explanation.explain(Asked(who, sender, droplet, service), Known(found.policy)))
    )
    if covered:
        return Asked(who, sender, droplet, service), None, ""
    try:
        listing = _list(host, wanted)
    except DroplanError as error:
        if sender is None:
            raise UsageError(
                f"the last answer knows no Droplet {who}, and DigitalOcean cannot be asked: {error}"
            ) from None
        return Asked(who, sender, droplet, service), None, f"DigitalOcean could not be asked about it: {error}"
    droplet = _one(listing.droplets, who, address) or droplet
    if droplet is None and address is None:
        raise UsageError(f"no Droplet of the account is called {who}: write its name, number or address")
    return Asked(who, address or _sender(droplet), droplet, service), listing, ""


def _settled(answer: Explanation) -> bool:
    return answer.accept and answer.reason != "open"


def _list(host: Host, wanted: Settings) -> Listing:
    """List all Droplets of the account, whatever their tags: the question is why one is no peer."""
    http = host.session(host.clock)
    here = learn.where(host, http, replace(wanted, public=False))
    listing = learn.source(host, http, replace(wanted, tags=()), here).listing()
    listing.own(here.metadata.droplet_id)
    return listing


def _one(droplets: tuple[Droplet, ...], who: str, address: Address | None) -> Droplet | None:
    if address is not None:
        return next((one for one in droplets if address in (*one.private, *one.public)), None)
    if re.fullmatch(r"[0-9]{1,19}", who):
        by_id = next((one for one in droplets if one.id == int(who)), None)
        if by_id:
            return by_id
    named = [one for one in droplets if one.name.lower() == who.lower()]
    if len(named) > 1:
        numbers = ", ".join(f"{one.id} ({', '.join(map(str, one.private)) or 'no address'})" for one in named[:10])
        raise UsageError(f"{len(named)} Droplets are called {who}: name one by its number: {numbers}")
    return named[0] if named else None


def _sender(droplet: Droplet | None) -> Address | None:
    return droplet.private[0] if droplet and droplet.private else None


def _address(who: str) -> Address | None:
    if "%" in who:  # a scope: Python keeps whatever stands behind it
        return None
    try:
        found = ipaddress.ip_address(who)
    except ValueError:
        if "/" in who:
            raise UsageError(f"{who} is a network: name one address of it") from None
        return None
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def _own_addresses(host: Host) -> frozenset[Address]:
    try:
        held = links.addresses(host.runner)
    except CommandError:
        return frozenset()
    return frozenset(ipaddress.ip_address(text) for texts in held.values() for text in texts)
