"""From `terraform apply` to a fleet whose members hold no token: publishers, the real object store, a takeover."""

from __future__ import annotations

import json
from typing import Any

import requests
from requests_aws4auth import AWS4Auth

from tests.bed.booted.container import poll
from tests.bed.booted.droplet import BootedDroplet
from tests.bed.booted.fleet import BUCKET, SharedFleet, knock_all
from tests.bed.booted.probe import CLOSED, PEERS_ONLY
from tests.bed.booted.region import Region
from tests.bed.shared.engine import Engine

# Where a Droplet keeps what it was given, cloud-init's copies and the logs among it.
_KEPT = ("/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr/local", "/var")
# And where a setting may be, with its name; the program itself names it in its sentences.
_SETTINGS = ("/etc", "/root", "/var/lib/cloud", "/var/lib/droplan", "/var/log")
# Of a lease that nobody renews for 45 s, on a busy machine.
_TAKEOVER_S = 180


def test_terraform_makes_a_fleet_whose_members_hold_no_token(roots: None, pyz: bytes) -> None:
    with Region() as region, Engine() as engine, SharedFleet(region, pyz, engine) as fleet:
        stranger = region.stranger

        # Two publishers and two members boot at the same time, and each waits for the first list.
        everyone = fleet.apply(2)
        ended = [(droplet.name, droplet.wait_cloud_init()["errors"]) for droplet in everyone]
        assert ended == [(droplet.name, []) for droplet in everyone], "\n".join(map(told, everyone))
        members = [fleet.droplets["fleet-1"], fleet.droplets["fleet-2"]]
        publishers = [fleet.droplets["fleet-publisher-1"], fleet.droplets["fleet-publisher-2"]]
        assert set(knock_all(everyone, everyone).values()) == {PEERS_ONLY}
        assert set(knock_all([stranger], everyone).values()) == {CLOSED}
        for member in members:
            assert member.run(["droplan", "status"], check=False).returncode == 0

        # What opens the account, signs or writes is on publishers alone, and no member asks the API.
        secrets = {
            region.token,
            fleet.keys.private.read_text().splitlines()[1],
            setting(publishers[0], "/etc/droplan/publish.env", "DROPLAN_SHARED_KEY"),
        }
        for publisher in publishers:
            assert kept(publisher, secrets) == secrets
            assert tokens(publisher) >= {"/etc/droplan/publish.env"}
            assert "/etc/droplan/droplan.env" not in tokens(publisher)
        for member in members:
            assert kept(member, secrets) == set()
            assert tokens(member) == set()
        asked = {request.client for request in region.do.requests("api")}
        assert asked & {publisher.public.ipv4 for publisher in publishers}
        assert not asked & {member.public.ipv4 for member in members}

        # What members have opens the list, and does not let them write it.
        key = setting(members[0], "/etc/droplan/droplan.env", "DROPLAN_SHARED_KEY").split(":")
        head, signed = f"{engine.url}/{BUCKET}/fleet/head", AWS4Auth(*key, "us-east-1", "s3")
        assert requests.get(head, auth=signed, timeout=60).status_code == 200
        assert requests.put(head, data=b"forged", auth=signed, timeout=60).status_code == 403
        assert requests.get(head, timeout=60).status_code == 403

        # A third comes, and is in long before the schedule's next turn.
        third = fleet.grow(3)
        poll(
            lambda: set(knock_all([third], everyone).values()) == {PEERS_ONLY},
            60,
            lambda: f"the third is not let in: {knock_all([third], everyone)}",
        )

        # The one that publishes is killed, and the other takes over.
        before = shown(members[0])
        leader = fleet.droplets[before["publisher"]]
        (other,) = (publisher for publisher in publishers if publisher is not leader)
        leader.power_cut()
        poll(
            lambda: shown(members[0])["written_by"] == other.name,
            _TAKEOVER_S,
            lambda: f"nobody took over: {shown(members[0])}",
        )
        assert shown(members[0])["publisher"] == other.name
        assert shown(members[0])["version"] > before["version"]

        # The third is removed; here it runs on, as whoever is given its address next.
        assert fleet.apply(2) == []
        alive = [*members, other]
        poll(
            lambda: set(knock_all([third], alive).values()) == {CLOSED},
            60,
            lambda: f"the removed one is not shut out: {knock_all([third], alive)}",
        )
        assert set(knock_all(alive, alive).values()) == {PEERS_ONLY}
        assert set(knock_all([stranger], alive).values()) == {CLOSED}

        # Terraform has what it wanted, and keeps neither the token nor what signs.
        assert fleet.is_settled(2)
        for secret in (region.token, fleet.keys.private.read_text().splitlines()[1]):
            assert secret not in fleet.printed
            written = [path for path in fleet.folder.rglob("*") if path.is_file()]
            assert [path for path in written if secret.encode() in path.read_bytes()] == []


def kept(droplet: BootedDroplet, secrets: set[str]) -> set[str]:
    """Search a Droplet's files, its processes' environments and its metadata; return what was found."""
    script = (
        "cat >/dev/shm/secrets\n"
        f"grep -raohF --devices=skip -f /dev/shm/secrets {' '.join(_KEPT)}\n"
        "grep -aohF -f /dev/shm/secrets /proc/[0-9]*/environ /proc/[0-9]*/cmdline\n"
        "curl -sS http://169.254.169.254/metadata/v1.json | grep -aoF -f /dev/shm/secrets\n"
        "rm /dev/shm/secrets\n"
    )
    return set(droplet.run(["sh", "-c", script], input="\n".join(sorted(secrets)) + "\n").stdout.splitlines())


def tokens(droplet: BootedDroplet) -> set[str]:
    """Find the files of a Droplet, the program's own left out, that set a token."""
    return set(
        droplet.run(["grep", "-rl", "--exclude-dir=zipapp", "DO_KEY=", *_SETTINGS], check=False).stdout.split()
    )


def told(droplet: BootedDroplet) -> str:
    """Return what a Droplet's install and publisher said."""
    journal = droplet.journal("--unit=droplan-publish", "--lines=30")
    install = droplet.run(["tail", "-n", "25", "/var/log/cloud-init-output.log"]).stdout
    return f"{droplet.name}:\n{install}\n{journal}"


def setting(droplet: BootedDroplet, path: str, name: str) -> str:
    """Return a setting of a Droplet."""
    lines = dict(line.split("=", 1) for line in droplet.path(path).read_text().splitlines() if "=" in line)
    return lines[name]


def shown(droplet: BootedDroplet) -> dict[str, Any]:
    """Return what `droplan fleet` says there."""
    return dict(json.loads(droplet.run(["droplan", "fleet", "--json"], check=False).stdout))
