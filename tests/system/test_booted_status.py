"""Status is never green when droplan is blind: each reason with the real systemd, cron, PAM, nft and firewalld.

Two Droplets: one with a loader of saved rules (bookworm), one furnished as DigitalOcean does, where root's password
expires, and firewalld is put.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from tests.bed.booted.container import poll
from tests.bed.booted.droplet import BootedDroplet
from tests.bed.booted.probe import Answered, knock
from tests.bed.booted.region import Region
from tests.bed.hosts import Host
from tests.system.conftest import user_data

PROGRAM = "/opt/droplan/droplan"
SOUND: tuple[int, list[str]] = (0, [])
TABLE = """
table inet mine {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        iif lo accept
        meta l4proto ipv6-icmp accept
        iifname "eth0" accept
    }
}
"""
AGE_SNAPSHOT = """
import json
path = "/var/lib/droplan/snapshot.json"
with open(path) as file:
    found = json.load(file)
found["written"] -= 3 * 3600 + 60
with open(path, "w") as file:
    json.dump(found, file)
"""
# What each reason is made by, and how it is undone. What undoes it is the remedy where status names one.
REASONS = {
    "cron-stopped": ("systemctl stop cron", "systemctl start cron"),
    "cron-disabled": ("systemctl -q disable cron", "systemctl -q enable cron"),
    "cron-missing": ("dpkg --force-depends --purge cron", "apt-get -qq install cron"),
    "unscheduled: gone": ("mv /etc/cron.d/droplan /root/", "mv /root/droplan /etc/cron.d/"),
    "unscheduled: other": ("sed -i s/root/nobody/ /etc/cron.d/droplan", f"{PROGRAM} install"),
    "unscheduled: readable by others": ("chmod 666 /etc/cron.d/droplan", "chmod 644 /etc/cron.d/droplan"),
    "no-loader": ("systemctl -q disable netfilter-persistent", f"{PROGRAM} install"),
    "no-loader: our unit": ("systemctl -q disable droplan-restore", f"{PROGRAM} install"),
    "no-loader: masked": ("systemctl -q mask netfilter-persistent", f"{PROGRAM} install"),
    "saved-other: gone": ("rm /etc/iptables/rules.v4", f"{PROGRAM} refresh"),
    "saved-other: before us": (
        "printf '*filter\\n:INPUT ACCEPT [0:0]\\nCOMMIT\\n' >/etc/iptables/rules.v6",
        f"{PROGRAM} refresh",
    ),
    "saved-other: older": ("sed -i '/-A droplan-peers/d' /etc/iptables/rules.v4", f"{PROGRAM} refresh"),
    "cards: renamed": (
        "ip link set eth1 down; ip link set eth1 name ens9",
        "ip link set ens9 name eth1; ip link set eth1 up",
    ),
    "cards: in a bridge": (
        "ip link add br0 type bridge; ip link set eth1 master br0",
        "ip link delete br0",
    ),
    "stale": (
        f"python3 -c '{AGE_SNAPSHOT}'",
        f"{PROGRAM} refresh",
    ),
    "settings-mistake": (
        "echo DROPLAN_SCOP=vpc >>/etc/droplan/droplan.env",
        "sed -i /DROPLAN_SCOP=/d /etc/droplan/droplan.env",
    ),
    "nftables-flush": (
        "systemctl -q enable nftables",
        """echo 'include "/etc/droplan/*.nft"' >>/etc/nftables.conf""",
    ),
    "nftables-flush: the schedule mends it": ("sed -i '/include/d' /etc/nftables.conf", "/opt/droplan/refresh.sh"),
}


STATE_OF_CRON = "date; systemctl status cron || :; journalctl -n 200; ls -l --full-time /etc/cron.d; chage -l root"


@dataclass
class Story:
    """What was seen: exit code and problems at each moment; who got in."""

    seen: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    knocks: dict[str, Answered] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def look(droplet: BootedDroplet, program: str = PROGRAM) -> tuple[int, list[str]]:
    """Ask for the status, as a program does."""
    done = droplet.run(["python3", program, "status", "--json"], check=False)
    assert done.stdout, (
        f"{droplet.name}: {done.stderr}{droplet.run(['tail', '/var/log/cloud-init-output.log']).stdout}"
    )
    return done.returncode, [one["code"] for one in json.loads(done.stdout)["problems"]]


def sh(droplet: BootedDroplet, script: str) -> str:
    return droplet.run(["sh", "-ec", script], env={"DEBIAN_FRONTEND": "noninteractive"}).stdout


def last_run(droplet: BootedDroplet) -> str:
    """Let a run that goes on end, and tell it from every other: each writes its report anew."""
    poll(
        lambda: droplet.run(["pgrep", "-f", "droplan.refresh"], check=False).returncode == 1,
        120,
        lambda: f"a refresh goes on: {droplet.run(['pgrep', '-af', 'droplan'], check=False)}",
    )
    return sh(droplet, "stat -c '%i %y' /var/lib/droplan/status.json")


def meet(droplet: BootedDroplet, make: str, undo: str) -> tuple[int, list[str]]:
    """Make a reason and look; again if the schedule's run, which comes once an hour, came in between."""
    before = last_run(droplet)
    sh(droplet, make)
    seen = look(droplet)
    if last_run(droplet) == before:
        return seen
    sh(droplet, undo)
    return meet(droplet, make, undo)


def tell_of_reasons(region: Region, droplet: BootedDroplet, peer: Host) -> Story:
    story = Story()
    seen = story.seen
    droplet.boot()
    droplet.wait_cloud_init()
    sh(droplet, "apt-get -qq update; apt-get -qq install nftables")
    seen["installed"] = look(droplet)
    for name, (make, undo) in REASONS.items():
        seen[name] = meet(droplet, make, undo)
        sh(droplet, undo)
        seen[f"{name}, undone"] = look(droplet)
    sh(droplet, "systemctl -q disable nftables")
    # Here alone: the other Droplet of the region may be at its first refresh.
    sh(droplet, "sed -i.right '/ api.digitalocean.com$/s/^[^ ]*/127.0.0.1/' /etc/hosts")
    droplet.run([PROGRAM, "refresh"], check=False)
    seen["failed"] = look(droplet)
    sh(droplet, "mv /etc/hosts.right /etc/hosts")
    sh(droplet, f"{PROGRAM} refresh; iptables -F INPUT; systemctl stop cron")
    seen["drift and no cron"] = look(droplet)
    sh(droplet, f"{PROGRAM} install")
    # Another program's table: it has the last word, until it lets the card in as the remedy says.
    droplet.run(["nft", "-f", "-"], input=TABLE)
    story.knocks["peer, refused"] = knock(peer, droplet)
    seen["table-refuses"] = look(droplet)
    sh(droplet, "nft insert rule inet mine input iifname eth1 accept")
    seen["table-refuses, undone"] = look(droplet)
    story.knocks["peer, let in"] = knock(peer, droplet)
    story.knocks["stranger"] = knock(region.stranger, droplet)
    tell_of_what_the_schedule_puts_back(droplet, story)
    sh(droplet, f"cp {PROGRAM} /root/droplan.pyz; {PROGRAM} uninstall")
    seen["not-installed"] = look(droplet, "/root/droplan.pyz")
    return story


def tell_of_expiry(droplet: BootedDroplet, story: Story) -> None:
    """Have root's password expire, as it has where a Droplet was made without an SSH key, and see what cron does."""
    sh(droplet, "chage -d 0 root; echo '* * * * * root touch /var/tmp/ran' >/etc/cron.d/probe")
    story.seen["root-expired"] = look(droplet)
    # By who says it, not by its unit: a job that PAM refuses is gone before a busy journald asks what unit it is of.
    poll(
        lambda: "Authentication token is no longer valid" in droplet.journal("--identifier=CRON"),
        150,
        lambda: f"PAM refuses nothing: {sh(droplet, STATE_OF_CRON)}",
    )
    story.texts["ran while expired"] = sh(droplet, "ls /var/tmp")
    sh(droplet, "chage -d $(date +%F) -M -1 -E -1 root")
    story.seen["root-expired, undone"] = look(droplet)
    droplet.wait_until(["test", "-e", "/var/tmp/ran"], timeout=150)
    sh(droplet, "rm /etc/cron.d/probe")


def tell_of_what_the_schedule_puts_back(droplet: BootedDroplet, story: Story) -> None:
    sh(
        droplet,
        "systemctl -q disable --now cron; systemctl -q mask netfilter-persistent; rm /etc/cron.d/droplan "
        "/var/log/droplan.log; /opt/droplan/refresh.sh",
    )
    story.texts["log"] = sh(droplet, "cat /var/log/droplan.log")
    story.seen["put back"] = look(droplet)
    sh(droplet, "rm /var/log/droplan.log; /opt/droplan/refresh.sh; touch /var/log/droplan.log")
    story.texts["second log"] = sh(droplet, "cat /var/log/droplan.log")


def tell_of_expiry_and_firewalld(region: Region, droplet: BootedDroplet, peer: Host) -> Story:
    story = Story()
    droplet.boot()
    droplet.wait_cloud_init()
    story.seen["installed"] = look(droplet)
    tell_of_expiry(droplet, story)
    sh(droplet, "apt-get -qq update; apt-get -qq install firewalld nftables; systemctl start firewalld")
    sh(droplet, "firewall-cmd -q --permanent --zone=public --remove-service=ssh; firewall-cmd -q --reload")
    sh(droplet, f"{PROGRAM} refresh")
    story.knocks["peer, refused"] = knock(peer, droplet)
    story.seen["firewalld-refuses"] = look(droplet)
    story.texts["status"] = droplet.run([PROGRAM, "status"], check=False).stdout
    sh(droplet, "firewall-cmd -q --permanent --zone=trusted --change-interface=eth1; firewall-cmd -q --reload")
    sh(droplet, f"{PROGRAM} refresh")
    story.seen["trusted"] = look(droplet)
    story.knocks["peer, let in"] = knock(peer, droplet)
    story.knocks["stranger"] = knock(region.stranger, droplet)
    return story


@pytest.fixture(scope="module")
def stories(roots: None, pyz: bytes) -> Iterator[dict[str, Story]]:
    """Both stories, told at once. Neither cron nor a watcher repairs what the tests look at."""
    with Region() as region, ThreadPoolExecutor(2) as pool:
        url = region.publish("droplan.pyz", pyz)
        pasted = user_data(pyz, url=url, token=region.token, settings="DROPLAN_INTERVAL=60 DROPLAN_WATCH=false")
        peer = region.host("peer")
        region.do.add(region.listing(peer))
        plain = region.droplet("bookworm", "plain", user_data=pasted)
        furnished = region.droplet("furnished", "furnished", user_data=pasted)
        told = {
            "reasons": pool.submit(tell_of_reasons, region, plain, peer),
            "expiry and firewalld": pool.submit(tell_of_expiry_and_firewalld, region, furnished, peer),
        }
        yield {name: story.result() for name, story in told.items()}


@pytest.fixture
def reasons(stories: dict[str, Story]) -> Story:
    return stories["reasons"]


@pytest.fixture
def furnished(stories: dict[str, Story]) -> Story:
    return stories["expiry and firewalld"]


def test_after_an_installation_all_is_sound(reasons: Story, furnished: Story) -> None:
    assert (reasons.seen["installed"], furnished.seen["installed"]) == (SOUND, SOUND)


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_is_told_with_exit_5_and_only_that_one(reasons: Story, reason: str) -> None:
    assert reasons.seen[reason] == (5, [reason.partition(":")[0]])


@pytest.mark.parametrize("reason", [*REASONS, "table-refuses"])
def test_the_remedy_makes_it_sound_again(reasons: Story, reason: str) -> None:
    assert reasons.seen[f"{reason}, undone"] == SOUND


def test_a_failed_run_is_told(reasons: Story) -> None:
    assert reasons.seen["failed"] == (5, ["failed"])


def test_drift_goes_before_all_else(reasons: Story) -> None:
    code, problems = reasons.seen["drift and no cron"]
    assert code == 3
    assert {"drift", "cron-stopped"} <= set(problems)


def test_an_expired_password_is_told_when_pam_refuses_roots_jobs(furnished: Story) -> None:
    assert furnished.seen["root-expired"] == (5, ["root-expired"])
    assert "ran" not in furnished.texts["ran while expired"].split()
    assert furnished.seen["root-expired, undone"] == SOUND


def test_another_programs_table_is_told_when_it_keeps_peers_out(reasons: Story) -> None:
    assert not reasons.knocks["peer, refused"].ssh
    assert reasons.seen["table-refuses"] == (5, ["table-refuses"])
    assert reasons.knocks["peer, let in"].ssh
    assert not reasons.knocks["stranger"].ssh


def test_the_schedule_puts_back_what_runs_it_and_what_loads_its_rules_and_says_so(reasons: Story) -> None:
    assert reasons.seen["put back"] == SOUND
    for words in (
        "Put /etc/cron.d/droplan back (was missing)",
        "Put the service cron back (was disabled)",
        "Put the service netfilter-persistent back (was masked)",
    ):
        assert words in reasons.texts["log"]
    assert "Put " not in reasons.texts["second log"]


def test_a_machine_without_droplan_is_told_so(reasons: Story) -> None:
    assert reasons.seen["not-installed"] == (5, ["not-installed"])


def test_firewalld_is_told_by_name_when_it_keeps_peers_out_and_its_zone_trusted_lets_them_in(
    furnished: Story,
) -> None:
    assert not furnished.knocks["peer, refused"].ssh
    assert furnished.seen["firewalld-refuses"] == (5, ["firewalld-refuses"])
    assert "--zone=trusted --change-interface=eth1" in " ".join(furnished.texts["status"].split())
    assert furnished.seen["trusted"] == SOUND
    assert furnished.knocks["peer, let in"].ssh
    assert not furnished.knocks["stranger"].ssh
