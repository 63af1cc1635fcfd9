"""What user data does on a Droplet, whatever stage-0 comes to: run in a sandbox, with a stage-0 that ends as told."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from tests.bed.cache import CHECKOUT
from tests.bed.terraform import sandbox

STAGE0 = """
import subprocess, sys
open("/arguments", "w").write(" ".join(sys.argv[1:]))
rules = subprocess.run(["sh", "-c", "nft list ruleset; iptables -S; tc filter show dev ens4 ingress"],
                       env={"PATH": "/usr/sbin:/usr/bin"}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
open("/rules-when-fetching", "wb").write(rules.stdout)
if open("/ends-with").read() != "0":
    sys.stderr.write("trying\\nThe SHA-256 is wrong: use the one that was published.\\n\\n")
sys.exit(int(open("/ends-with").read()))
"""
METADATA = {
    "interfaces": {"private": [{"mac": sandbox.PRIVATE_MAC.upper()}], "public": [{"mac": "04:01:2a:0f:2a:01"}]}
}
SYSTEMCTL = '#!/bin/sh\necho systemctl "$@" >>/systemctl.log\n'
RETRY_UNITS = ("droplan-bootstrap.service", "droplan-bootstrap.timer", "droplan-closed.service")
HASH = hashlib.sha256(b"droplan.pyz").hexdigest()
URL = "https://example.com/a/droplan.pyz?x=1&y=2"
RUN = "sh /user-data.sh"
AGAIN = "sh /opt/droplan/bootstrap.sh"
RULES = "/usr/sbin/nft list ruleset"
FILTERS = "/usr/sbin/tc filter show dev ens4 ingress"
IPV4 = "/usr/sbin/iptables -S"


@dataclass
class SandboxDroplet:
    """A Droplet whose disk outlives its boots; each ``boot`` is a fresh kernel as far as rules go."""

    root: Path
    hidden: list[str] = field(default_factory=list)

    def boot(self, *commands: str) -> list[tuple[int, str]]:
        """Run shell commands one after another; return each one's exit status and output."""
        namespaces = ["unshare", "--user", "--map-root-user", "--mount", "--net"]
        done = subprocess.run(
            [*namespaces, sys.executable, sandbox.__file__, str(self.root), *commands],
            env={**os.environ, "HIDDEN": ":".join(self.hidden)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return [(status, output) for status, output in json.loads(done.stdout)]

    def stage0_ends_with(self, status: int) -> None:
        (self.root / "ends-with").write_text(str(status))

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def files(self, folder: str) -> list[str]:
        place = self.root / folder.lstrip("/")
        return sorted(path.name for path in place.iterdir()) if place.exists() else []

    def mode(self, path: str) -> int:
        return (self.root / path.lstrip("/")).stat().st_mode & 0o777


@pytest.fixture
def droplet(tmp_path: Path, renderer: ModuleType, token: str) -> SandboxDroplet:
    """Return a Droplet with systemd, a metadata service, and the filled-in user-data.sh at /user-data.sh."""
    programs = tmp_path / "programs"
    shutil.copytree(CHECKOUT / "cloud-init", programs)
    (programs / "bootstrap.py").write_text(STAGE0)
    text = renderer.render((programs / "user-data.sh.in").read_text(), programs)
    for value in (token, URL, HASH):
        text = re.sub(r"'[^']*FILL-IN[^']*'", f"'{value}'", text, count=1)
    root = tmp_path / "root"
    for folder in ("fakes", "run/systemd/system"):
        (root / folder).mkdir(parents=True)
    (root / "fakes" / "systemctl").write_text(SYSTEMCTL)
    (root / "fakes" / "systemctl").chmod(0o755)
    (root / "user-data.sh").write_text(text)
    (root / "metadata.json").write_text(json.dumps(METADATA))
    return SandboxDroplet(root)


class TestWhenStage0Succeeds:
    @pytest.fixture
    def done(self, droplet: SandboxDroplet) -> list[tuple[int, str]]:
        droplet.stage0_ends_with(0)
        return droplet.boot(RUN, RULES)

    def test_the_status_is_its_own(self, done: list[tuple[int, str]]) -> None:
        assert done[0] == (0, "The private interface ens4 is closed.\n")

    def test_the_interface_is_closed_before_anything_is_fetched_and_open_to_the_rest_afterwards(
        self, droplet: SandboxDroplet, done: list[tuple[int, str]]
    ) -> None:
        assert 'iifname "ens4" drop' in droplet.read("/rules-when-fetching")
        assert done[1] == (0, "")

    def test_it_was_told_where_and_what_to_fetch(self, droplet: SandboxDroplet, done: list[tuple[int, str]]) -> None:
        assert droplet.read("/arguments") == f"--url {URL} --sha256 {HASH} --unattended"

    def test_the_settings_are_roots_alone(
        self, droplet: SandboxDroplet, done: list[tuple[int, str]], token: str
    ) -> None:
        assert droplet.mode("/etc/droplan/droplan.env") == 0o600
        assert droplet.read("/etc/droplan/droplan.env").splitlines() == [
            f"DO_KEY={token}",
            "DROPLAN_FAIL_CLOSED=true",
            "DROPLAN_LOCK_METADATA=true",
        ]

    def test_nothing_of_the_bootstrap_stays(self, droplet: SandboxDroplet, done: list[tuple[int, str]]) -> None:
        assert droplet.files("/opt/droplan") == []
        assert droplet.files("/var/lib/droplan") == []
        assert droplet.files("/etc/systemd/system") == []
        assert droplet.read("/dev/console") == ""

    def test_the_folders_are_as_the_program_wants_them(
        self, droplet: SandboxDroplet, done: list[tuple[int, str]]
    ) -> None:
        assert droplet.mode("/opt/droplan") == droplet.mode("/etc/droplan") == 0o755


class TestWhenStage0Fails:
    @pytest.fixture
    def done(self, droplet: SandboxDroplet) -> list[tuple[int, str]]:
        droplet.stage0_ends_with(13)
        return droplet.boot(RUN, RULES)

    def test_the_status_is_its_own(self, done: list[tuple[int, str]]) -> None:
        assert done[0][0] == 13

    def test_the_console_gets_one_loud_line(self, droplet: SandboxDroplet, done: list[tuple[int, str]]) -> None:
        assert droplet.read("/dev/console").strip() == (
            "*** droplan BOOTSTRAP FAILED on this Droplet, exit 13: The SHA-256 is wrong: use the one that was "
            "published. The private interface ens4 is closed. The next try is in 5 min. ***"
        )

    def test_the_program_to_come_is_told_in_one_line(
        self, droplet: SandboxDroplet, done: list[tuple[int, str]]
    ) -> None:
        assert droplet.read("/var/lib/droplan/bootstrap.failed") == (
            "exit 13: The SHA-256 is wrong: use the one that was published. "
            "The private interface ens4 is closed. The next try is in 5 min.\n"
        )

    def test_a_timer_tries_again(self, droplet: SandboxDroplet, done: list[tuple[int, str]]) -> None:
        assert droplet.files("/etc/systemd/system") == list(RETRY_UNITS)
        assert "OnUnitInactiveSec=5min" in droplet.read("/etc/systemd/system/droplan-bootstrap.timer")
        assert droplet.read("/systemctl.log").splitlines() == [
            "systemctl daemon-reload",
            "systemctl enable droplan-bootstrap.timer droplan-closed.service",
            "systemctl --no-block start droplan-bootstrap.timer",
        ]

    def test_systemd_takes_the_units(self, droplet: SandboxDroplet, done: list[tuple[int, str]]) -> None:
        units = [str(droplet.root / "etc/systemd/system" / name) for name in RETRY_UNITS]
        for unit in units:
            # The programs it starts are in the sandbox only.
            text = re.sub("^ExecStart=.*$", "ExecStart=/bin/true", Path(unit).read_text(), flags=re.MULTILINE)
            Path(unit).write_text(text)

        checked = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *units],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

        assert [line for line in checked.stdout.splitlines() if "droplan" in line] == []

    def test_only_what_goes_on_and_what_keeps_ipv6_alive_get_in(self, done: list[tuple[int, str]]) -> None:
        """In one chain of prerouting, so that INPUT and FORWARD need none and no order of others' rules opens it."""
        # In the words of either age of nft.
        newer, older = "tcp flags & (fin | syn | rst | ack) != syn", "tcp flags != syn / fin,syn,rst,ack"

        lines = [line.strip() for line in done[1][1].replace(newer, older).splitlines()]
        assert [line for line in lines if line.startswith(("chain", "type", "iifname"))] == [
            "chain prerouting {",
            "type filter hook prerouting priority -170; policy accept;",
            'iifname "ens4" ct state established,related accept',
            'iifname "ens4" tcp flags != syn / fin,syn,rst,ack accept',
            'iifname "ens4" icmpv6 type { mld-listener-query, nd-neighbor-solicit, nd-neighbor-advert } accept',
            'iifname "ens4" drop',
        ]

    def test_what_it_left_is_roots_alone(self, droplet: SandboxDroplet, done: list[tuple[int, str]]) -> None:
        for name in droplet.files("/opt/droplan"):
            assert droplet.mode(f"/opt/droplan/{name}") & 0o077 == 0
        assert droplet.mode("/var/lib/droplan/bootstrap.failed") == 0o600

    def test_the_token_is_nowhere_but_in_the_settings(
        self, droplet: SandboxDroplet, done: list[tuple[int, str]], token: str
    ) -> None:
        holding = [
            path.relative_to(droplet.root).as_posix()
            for path in droplet.root.rglob("*")
            if path.is_file() and token.encode() in path.read_bytes()
        ]
        assert sorted(holding) == ["etc/droplan/droplan.env", "user-data.sh"]
        assert token not in done[0][1]


def test_the_timer_keeps_the_interval_that_was_set(droplet: SandboxDroplet) -> None:
    droplet.stage0_ends_with(10)
    text = droplet.read("/user-data.sh").replace("DROPLAN_LOCK_METADATA=true", "DROPLAN_INTERVAL=1")
    (droplet.root / "user-data.sh").write_text(text)

    droplet.boot(RUN)

    assert "OnActiveSec=1min" in droplet.read("/etc/systemd/system/droplan-bootstrap.timer")


def test_without_fail_closed_the_interface_stays_open_and_that_is_said(droplet: SandboxDroplet) -> None:
    droplet.stage0_ends_with(10)
    text = droplet.read("/user-data.sh").replace("DROPLAN_FAIL_CLOSED=true", "DROPLAN_FAIL_CLOSED=false")
    (droplet.root / "user-data.sh").write_text(text)

    _, rules = droplet.boot(RUN, RULES)

    assert rules == (0, "")
    assert droplet.read("/rules-when-fetching").count("ens4") == 0
    assert "The private interface is OPEN" in droplet.read("/dev/console")


def test_who_only_observes_is_not_closed_whatever_fail_closed_says(droplet: SandboxDroplet) -> None:
    droplet.stage0_ends_with(10)
    text = droplet.read("/user-data.sh").replace("DROPLAN_LOCK_METADATA=true", "DROPLAN_MODE=observe")
    (droplet.root / "user-data.sh").write_text(text)

    _, rules = droplet.boot(RUN, RULES)

    assert rules == (0, "")
    assert droplet.read("/rules-when-fetching").count("ens4") == 0
    assert "OPEN, as DROPLAN_MODE is observe" in droplet.read("/dev/console")


def test_without_systemd_the_line_says_how_to_try_again(droplet: SandboxDroplet) -> None:
    droplet.stage0_ends_with(10)
    (droplet.root / "run/systemd/system").rmdir()

    droplet.boot(RUN)

    assert "run sh /opt/droplan/bootstrap.sh." in droplet.read("/dev/console")
    assert droplet.files("/etc/systemd/system") == []


def test_a_later_try_that_succeeds_opens_and_clears_up(droplet: SandboxDroplet) -> None:
    droplet.stage0_ends_with(10)
    succeed = "printf 0 >/ends-with"

    *_, again, rules = droplet.boot(RUN, succeed, AGAIN, RULES)

    assert again[0] == 0
    assert rules == (0, "")
    assert droplet.files("/opt/droplan") == droplet.files("/var/lib/droplan") == []
    assert droplet.files("/etc/systemd/system") == []
    assert "systemctl disable droplan-bootstrap.timer droplan-closed.service" in droplet.read("/systemctl.log")


def test_a_later_try_that_fails_changes_nothing(droplet: SandboxDroplet) -> None:
    droplet.stage0_ends_with(10)

    _, rules, again, same_rules = droplet.boot(RUN, RULES, AGAIN, RULES)

    assert again[0] == 10
    assert same_rules == rules


def test_an_installation_by_other_means_ends_the_tries(droplet: SandboxDroplet) -> None:
    droplet.stage0_ends_with(13)
    install = "touch /opt/droplan/droplan; chmod 755 /opt/droplan/droplan"

    *_, again, rules = droplet.boot(RUN, install, AGAIN, RULES)

    assert again[0] == 0
    assert rules == (0, "")
    assert droplet.files("/opt/droplan") == ["droplan"]


def test_an_installation_that_is_unfinished_is_tried_again(droplet: SandboxDroplet) -> None:
    droplet.stage0_ends_with(1)
    install = "touch /opt/droplan/droplan /var/lib/droplan/unfinished; chmod 755 /opt/droplan/droplan"

    *_, again = droplet.boot(RUN, install, AGAIN)

    assert again[0] == 1


def test_rules_that_droplan_has_already_are_left_alone(droplet: SandboxDroplet) -> None:
    droplet.stage0_ends_with(1)

    *_, rules = droplet.boot("/usr/sbin/iptables -N droplan-peers", RUN, "/usr/sbin/nft list tables")

    assert "droplan-bootstrap" not in rules[1]
    assert "guarded by the rules that droplan has" in droplet.read("/dev/console")


def test_a_refusal_for_safety_leaves_it_closed_to_what_is_new_and_cuts_nothing(droplet: SandboxDroplet) -> None:
    droplet.stage0_ends_with(4)

    _, rules = droplet.boot(RUN, RULES)

    lines = [line.strip() for line in rules[1].splitlines()]
    established, drop = 'iifname "ens4" ct state established,related accept', 'iifname "ens4" drop'
    assert lines.index(established) < lines.index(drop)
    assert "The private interface ens4 is closed." in droplet.read("/dev/console")


def test_the_next_boot_closes_again_before_there_is_a_network(droplet: SandboxDroplet) -> None:
    droplet.stage0_ends_with(13)
    droplet.boot(RUN)
    (droplet.root / "metadata.json").unlink()
    unit = droplet.read("/etc/systemd/system/droplan-closed.service")
    (command,) = re.findall("^ExecStart=(.*)$", unit, re.MULTILINE)

    closed, rules = droplet.boot(command, RULES)

    assert closed == (0, "The private interface ens4 is closed.\n")
    assert 'iifname "ens4" drop' in rules[1]


def test_an_interface_that_cannot_be_told_is_said_to_be_open(droplet: SandboxDroplet) -> None:
    droplet.stage0_ends_with(13)
    (droplet.root / "metadata.json").write_text("{}")

    droplet.boot(RUN)

    assert "The private interface is OPEN: the metadata service does not say" in droplet.read("/dev/console")


class TestWithoutNft:
    @pytest.fixture
    def bare(self, droplet: SandboxDroplet) -> SandboxDroplet:
        droplet.hidden = ["/usr/sbin/nft"]
        droplet.stage0_ends_with(13)
        return droplet

    def test_the_rules_are_droplans_own_without_peers(self, bare: SandboxDroplet) -> None:
        _, ipv4 = bare.boot(RUN, IPV4)

        assert ipv4[1].splitlines() == [
            "-P INPUT ACCEPT",
            "-P FORWARD ACCEPT",
            "-P OUTPUT ACCEPT",
            "-N droplan-forward",
            "-N droplan-peers",
            "-A INPUT -i ens4 -m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j ACCEPT",
            "-A INPUT -i ens4 -j droplan-peers",
            "-A INPUT -i ens4 -j DROP",
            "-A FORWARD -i ens4 -j droplan-forward",
            "-A droplan-forward -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
            "-A droplan-forward -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN",
            "-A droplan-forward -j DROP",
            "-A droplan-peers -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A droplan-peers -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT",
        ]

    def test_ipv6_keeps_listener_queries_and_neighbour_discovery(self, bare: SandboxDroplet) -> None:
        _, ipv6 = bare.boot(RUN, "/usr/sbin/ip6tables -S droplan-peers; /usr/sbin/ip6tables -S INPUT")

        assert ipv6[1].splitlines() == [
            "-N droplan-peers",
            "-A droplan-peers -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A droplan-peers -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT",
            "-A droplan-peers -p ipv6-icmp -m icmp6 --icmpv6-type 130 -j ACCEPT",
            "-A droplan-peers -p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT",
            "-A droplan-peers -p ipv6-icmp -m icmp6 --icmpv6-type 136 -j ACCEPT",
            "-P INPUT ACCEPT",
            "-A INPUT -i ens4 -m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j ACCEPT",
            "-A INPUT -i ens4 -j droplan-peers",
            "-A INPUT -i ens4 -j DROP",
        ]

    def test_a_second_failure_does_not_double_them(self, bare: SandboxDroplet) -> None:
        _, before, _, after = bare.boot(RUN, IPV4, AGAIN, IPV4)

        assert after == before


class TestWithoutNftAndIptables:
    @pytest.fixture
    def minimal(self, droplet: SandboxDroplet) -> SandboxDroplet:
        droplet.hidden = [
            "/usr/sbin/nft",
            "/usr/sbin/xtables-nft-multi",
        ]  # iptables' programs are links to the latter
        droplet.stage0_ends_with(13)
        return droplet

    def test_traffic_control_closes(self, minimal: SandboxDroplet) -> None:
        _, filters = minimal.boot(RUN, FILTERS)

        assert "direct-action" in filters[1]
        assert "direct-action" in minimal.read("/rules-when-fetching")
        assert "The private interface ens4 is closed." in minimal.read("/dev/console")

    def test_a_second_failure_does_not_double_it(self, minimal: SandboxDroplet) -> None:
        _, before, _, after = minimal.boot(RUN, FILTERS, AGAIN, FILTERS)

        assert after == before

    def test_a_later_try_that_succeeds_leaves_nothing_of_it(self, minimal: SandboxDroplet) -> None:
        *_, qdiscs = minimal.boot(RUN, "printf 0 >/ends-with", AGAIN, "/usr/sbin/tc qdisc show dev ens4")

        assert "ingress" not in qdiscs[1]

    def test_somebody_elses_filters_stay(self, minimal: SandboxDroplet) -> None:
        theirs = (
            "/usr/sbin/tc qdisc add dev ens4 ingress",
            "/usr/sbin/tc filter add dev ens4 ingress pref 5 protocol ip u32 match u32 0 0 flowid 1:1",
        )

        *_, filters = minimal.boot(*theirs, RUN, "printf 0 >/ends-with", AGAIN, FILTERS)

        assert "pref 5 u32" in filters[1]
        assert "47101" not in filters[1]

    def test_without_tc_either_it_says_that_it_is_open(self, minimal: SandboxDroplet) -> None:
        minimal.hidden.append("/usr/sbin/tc")

        minimal.boot(RUN)

        assert "The private interface is OPEN: nothing here can close it" in minimal.read("/dev/console")


def test_a_script_that_was_cut_short_does_nothing(droplet: SandboxDroplet) -> None:
    droplet.stage0_ends_with(0)
    whole = droplet.read("/user-data.sh")
    cuts = [whole[: len(whole) * part // 10] for part in range(1, 10)] + [whole[: whole.rindex("main")]]
    for number, cut in enumerate(cuts):
        (droplet.root / f"cut-{number}.sh").write_text(cut)

    droplet.boot(*(f"sh /cut-{number}.sh" for number in range(len(cuts))))

    assert droplet.files("/etc/droplan") == droplet.files("/opt/droplan") == []
