"""What a person asks: who gets in, why, what would change, is all well. Asked of a Droplet in memory."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from droplan_boot import paths, settings
from droplan_boot.access import explanation, services, verdict
from droplan_boot.access.allow import Name
from droplan_boot.access.explanation import REASONS, Asked, Known
from droplan_boot.access.policy import Policy, Segment
from droplan_boot.errors import DroplanError, NoAnswerError, RefusedError, TokenError, UsageError
from droplan_boot.host.files import Files
from droplan_boot.setup import publishing, watcher
from droplan_boot.sources.listing import Droplet
from droplan_boot.state import report, snapshot
from droplan_boot.state.snapshot import Snapshot
from droplan_boot.verbs import explain, install, peers, refresh, restore, standing, token, uninstall
from tests.bed.memory.doors import Answer, Clock
from tests.bed.memory.droplet import ADDRESS, TOKEN, MemoryDroplet, made
from tests.golden.scenarios import segment
from tests.unit.test_lockout import row

RULES_V4, RULES_V6 = "/etc/iptables/rules.v4", "/etc/iptables/rules.v6"

NEW = "dop_v1_" + "1" * 64
Shown = Callable[[], str]


@pytest.fixture
def droplet(files: Files) -> MemoryDroplet:
    """Return a Droplet with droplan in place, and nothing said yet."""
    found = made(files)
    found.knows("ip", f"2: eth1    inet {ADDRESS}/16 brd 10.132.255.255 scope global eth1\n")
    install.run(found.host())
    found.lines.said.clear()
    found.ran.clear()
    found.scripts.clear()
    return found


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    return lambda: capsys.readouterr().out


class TestPeers:
    def test_each_has_its_name_number_address_region_and_tags(self, droplet: MemoryDroplet, shown: Shown) -> None:
        answered = json.loads(droplet.files.read(paths.SNAPSHOT) or b"")["written"]
        peers.run(replace(droplet.host(), clock=Clock(answered)))
        assert shown().splitlines() == [
            "2 Droplets may come in by eth1 (as of 0 s ago): they are in this region",
            "(DROPLAN_SCOPE=region)",
            "As peers they reach everything.",
            "",
            "NAME       ID  PRIVATE     REGION  TAGS",
            "droplet-1  8   10.132.0.2  nyc3    web",
            "droplet-2  9   10.132.0.3  nyc3    web",
        ]

    def test_each_has_what_it_reaches_and_the_entry_that_opens_it(self, droplet: MemoryDroplet, shown: Shown) -> None:
        allow = "tcp/5432@tag:web,udp/53@droplet:droplet-2,tcp/443,10.9.0.0/24,tcp/9@tag:none"
        refresh.run(droplet.host(DROPLAN_PEER_PORTS="tcp/80,icmp", DROPLAN_ALLOW=allow))
        shown()
        peers.run(droplet.host())
        assert shown().splitlines()[2:] == [
            "As peers they reach tcp/80, icmp (DROPLAN_PEER_PORTS).",
            "",
            "NAME       ID  PRIVATE     REGION  TAGS",
            "droplet-1  8   10.132.0.2  nyc3    web",
            "    also tcp/5432 by tcp/5432@tag:web, tcp/443 by tcp/443",
            "droplet-2  9   10.132.0.3  nyc3    web",
            "    also tcp/5432 by tcp/5432@tag:web, udp/53 by udp/53@droplet:droplet-2,",
            "         tcp/443 by tcp/443",
            "",
            "DROPLAN_ALLOW lets in by eth1, peer or not:",
            "tcp/5432@tag:web          droplet-1 10.132.0.2, droplet-2 10.132.0.3",
            "udp/53@droplet:droplet-2  droplet-2 10.132.0.3",
            "tcp/443                   everyone",
            "10.9.0.0/24               10.9.0.0/24",
            "tcp/9@tag:none            nobody yet: no Droplet in scope has it",
        ]

    def test_programs_get_what_each_reaches_on_which_network(self) -> None:
        web = Droplet(8, "web-1", "nyc3", ("web",), None, (IPv4Address("10.132.0.2"),), (IPv4Address("192.0.2.2"),))
        wanted = settings.parse(
            {
                "DROPLAN_PEER_PORTS": "none",
                "DROPLAN_ALLOW": "tcp/5432@tag:web",
                "DROPLAN_ALLOW_PUBLIC": "tcp/443,tag:db",
                "PUBLIC": "true",
            }
        )
        known = ((Name("tag", "web"), web.private),)
        policy = Policy(
            (
                Segment(False, ("eth1",), web.private, wanted.allow, ports=wanted.peer_ports, known=known),
                Segment(True, ("eth0",), web.public, wanted.allow_public or (), ports=wanted.peer_ports),
            )
        )
        found = peers.document(Snapshot(7, 0.0, policy, (web,)), wanted)
        private = {"network": "private", "service": "tcp/5432", "entry": "tcp/5432@tag:web"}
        public = {"network": "public", "service": "tcp/443", "entry": "tcp/443"}
        assert found["peers"][0]["reaches"] == [private, public]
        assert found["allowed"] == [
            {
                **private,
                "sources": ["10.132.0.2"],
                "droplets": [{"id": 8, "name": "web-1", "addresses": ["10.132.0.2"]}],
            },
            {**public, "sources": None, "droplets": []},
            {"network": "public", "service": None, "entry": "tag:db", "sources": [], "droplets": []},
        ]
        text = peers.render(Snapshot(7, 0.0, policy, (web,)), wanted, 60)
        assert "    also tcp/443 by tcp/443 (public network)\n" in text

    def test_who_is_let_in_by_name_and_is_no_peer_is_named_too(self, droplet: MemoryDroplet, shown: Shown) -> None:
        allow = "tcp/22@droplet:droplet-2,tag:web,10.9.0.0/24"
        refresh.run(droplet.host(DO_TAG="db", DROPLAN_ALLOW=allow))
        shown()
        peers.run(droplet.host())
        assert shown().splitlines()[-3:] == [
            "tcp/22@droplet:droplet-2  droplet-2 10.132.0.3",
            "tag:web                   droplet-1 10.132.0.2, droplet-2 10.132.0.3",
            "10.9.0.0/24               10.9.0.0/24",
        ]
        peers.run(droplet.host(), as_json=True)
        one, both, network = json.loads(shown())["allowed"]
        assert one["droplets"] == [{"id": 9, "name": "droplet-2", "addresses": ["10.132.0.3"]}]
        assert [each["name"] for each in both["droplets"]] == ["droplet-1", "droplet-2"]
        assert network["droplets"] == []

    def test_addresses_of_a_snapshot_that_has_no_names_for_them_are_told_all_the_same(self) -> None:
        wanted = settings.parse({"DROPLAN_ALLOW": "tag:db"})
        known = ((Name("tag", "db"), (IPv4Address("10.132.0.7"),)),)
        policy = Policy((Segment(False, ("eth1",), (), wanted.allow, known=known),))
        assert peers.render(Snapshot(7, 0.0, policy), wanted, 60).endswith("\ntag:db  10.132.0.7\n")

    @pytest.mark.parametrize(
        ("waiting", "said"),
        [
            (0, "\n"),
            (1, "\n1 more has no private address to come from yet.\n"),
            (2, "\n2 more have no private address to come from yet.\n"),
        ],
    )
    def test_who_has_no_address_yet_is_listed_but_not_counted_among_those_who_come_in(
        self, waiting: int, said: str
    ) -> None:
        web = Droplet(8, "web-1", "nyc3", (), None, (IPv4Address("10.132.0.2"),), ())
        new = tuple(replace(web, id=9 + each, private=()) for each in range(waiting))
        text = peers.render(Snapshot(7, 0.0, Policy((segment("10.132.0.2"),)), (web, *new)), settings.parse({}), 60)
        assert text.startswith("1 Droplet may come in by eth1 ")
        assert said in text
        assert ("no private address" in text, text.count("none yet")) == (waiting > 0, waiting)

    def test_no_row_is_wider_than_a_screen(self) -> None:
        tags = tuple(f"team:payments-{number}" for number in range(20))
        addresses = (IPv4Address("10.132.0.2"),)
        wanted = settings.parse(
            {"DROPLAN_PEER_PORTS": "none", "DROPLAN_ALLOW": ",".join(f"tcp/{n}@tag:{tags[n]}" for n in range(1, 20))}
        )
        known = tuple((Name("tag", tag), addresses) for tag in tags)
        segment = Segment(False, ("eth1",), addresses, wanted.allow, ports=wanted.peer_ports, known=known)
        one = Droplet(8, "web-1", "nyc3", tags, None, addresses, ())
        text = peers.render(Snapshot(7, 0.0, Policy((segment,)), (one,)), wanted, 60)
        assert max(map(len, text.splitlines())) <= 80
        assert "team:payments-19\n" in text
        assert "tcp/19@tag:team:payments-19\n" in text

    def test_thousands_are_not_each_looked_for_among_thousands(self) -> None:
        addresses = [IPv4Address(0x0A840000 + number) for number in range(2_000)]
        compared = []

        class Counted(IPv4Address):
            def __eq__(self, other: object) -> bool:
                compared.append(1)
                return super().__eq__(other)

            __hash__ = IPv4Address.__hash__

        segment = Segment(False, ("eth1",), tuple(addresses))
        found = verdict.grants_of_each(segment, [Counted(int(one)) for one in addresses])
        assert len(found) == len(addresses)
        assert len(compared) < 20_000

    def test_where_nobody_knows_them_it_says_what_to_do(self, files: Files) -> None:
        with pytest.raises(DroplanError, match="run `sudo droplan refresh`"):
            peers.run(made(files).host())


class TestExplain:
    def ask(self, droplet: MemoryDroplet, shown: Shown, *words: str, **environ: str) -> dict[str, Any]:
        who, service = (*words, None)[:2]
        host = droplet.host(**environ)  # type: ignore[arg-type]
        explain.run(host, who=str(who), service=service, as_json=True)
        found: dict[str, Any] = json.loads(shown())
        assert found["reason"] in REASONS
        return found

    @pytest.mark.parametrize("who", ["10.132.0.2", "droplet-1", "DROPLET-1", "8"])
    def test_a_peer_is_let_in_whatever_it_is_called_and_nobody_is_asked(
        self, who: str, droplet: MemoryDroplet, shown: Shown
    ) -> None:
        droplet.refusal = OSError("Connection refused")
        found = self.ask(droplet, shown, who)
        assert (found["verdict"], found["reason"], found["address"]) == ("accept", "peer", "10.132.0.2")
        assert found["grant"] == {"service": None, "entry": None}
        assert found["droplet"]["name"] == "droplet-1"

    def test_a_ping_is_spelled_as_the_setting_takes_it(self, droplet: MemoryDroplet, shown: Shown) -> None:
        found = self.ask(droplet, shown, "10.132.0.66", "icmp")
        assert found["service"] == "icmp"
        assert found["remedy"] == "DROPLAN_ALLOW=icmp@10.132.0.66 lets it in"
        assert settings.parse({"DROPLAN_ALLOW": "icmp@10.132.0.66"}).allow

    @pytest.mark.parametrize("service", ["proto/47", "proto/6", "tcp/8000-8010", "icmp", "udp/53"])
    def test_a_service_is_whatever_the_setting_takes(
        self, service: str, droplet: MemoryDroplet, shown: Shown
    ) -> None:
        found = self.ask(droplet, shown, "10.132.0.66", service)
        assert (found["verdict"], found["service"], found["parts"]) == ("drop", service, [])
        assert found["remedy"] == f"DROPLAN_ALLOW={service}@10.132.0.66 lets it in"
        refresh.run(droplet.host(DROPLAN_ALLOW=f"{service}@10.132.0.66"))
        shown()
        found = self.ask(droplet, shown, "10.132.0.66", service)
        assert (found["verdict"], found["parts"]) == ("accept", [])
        assert found["grant"] == {"service": service, "entry": f"{service}@10.132.0.66"}

    def test_of_a_range_it_says_which_part_is_let_in(self, droplet: MemoryDroplet, shown: Shown) -> None:
        allow = "tcp/8000-8003@10.132.0.64/26,tcp/8004-8005@10.132.0.66,tcp/8009@10.132.0.66"
        refresh.run(droplet.host(DROPLAN_ALLOW=allow))
        shown()
        found = self.ask(droplet, shown, "10.132.0.66", "tcp/8000-8010")
        assert (found["verdict"], found["reason"], found["grant"]) == ("drop", "allowed-not-on-this-port", None)
        assert [(part["service"], part["verdict"]) for part in found["parts"]] == [
            ("tcp/8000-8003", "accept"),
            ("tcp/8004-8005", "accept"),
            ("tcp/8006-8008", "drop"),
            ("tcp/8009", "accept"),
            ("tcp/8010", "drop"),
        ]
        assert found["parts"][0]["grant"] == {"service": "tcp/8000-8003", "entry": "tcp/8000-8003@10.132.0.64/26"}
        assert "tcp/8006-8008 is shut out" in found["steps"]
        explain.run(droplet.host(), who="10.132.0.66", service="tcp/8000-8010")
        assert shown().splitlines()[:2] == [
            "PARTLY  10.132.0.66 to tcp/8000-8010: tcp/8000-8003, tcp/8004-8005, tcp/8009",
            "        gets in, tcp/8006-8008, tcp/8010 does not",
        ]

    def test_a_range_that_two_entries_open_together_gets_in(self, droplet: MemoryDroplet, shown: Shown) -> None:
        refresh.run(droplet.host(DROPLAN_ALLOW="tcp/8000-8004@10.132.0.66,tcp/8005-8010@10.132.0.66"))
        shown()
        found = self.ask(droplet, shown, "10.132.0.66", "tcp/8000-8010")
        assert (found["verdict"], found["reason"], found["grant"]) == ("accept", "allowed", None)
        assert [part["verdict"] for part in found["parts"]] == ["accept", "accept"]

    def test_what_a_peer_may_reach_of_a_protocol_is_told_by_port(self, droplet: MemoryDroplet, shown: Shown) -> None:
        refresh.run(droplet.host(DROPLAN_PEER_PORTS="tcp/80,icmp"))
        shown()
        found = self.ask(droplet, shown, "droplet-1", "proto/6")
        assert [part["service"] for part in found["parts"]] == ["tcp/1-79", "tcp/80", "tcp/81-65535"]
        assert found["reason"] == "peer-not-on-this-port"

    def test_who_is_let_in_by_name_is_known_without_asking(self, droplet: MemoryDroplet, shown: Shown) -> None:
        refresh.run(droplet.host(DO_TAG="db", DROPLAN_ALLOW="tcp/22@droplet:droplet-2"))
        shown()
        droplet.refusal = OSError("Connection refused")
        assert self.ask(droplet, shown, "droplet-2", "tcp/22")["reason"] == "allowed"

    def test_a_stranger_is_dropped_and_told_what_lets_it_in(self, droplet: MemoryDroplet, shown: Shown) -> None:
        explain.run(droplet.host(), who="10.132.0.66", service="tcp/5432")
        text = shown()
        assert text.startswith("DROP  10.132.0.66 to tcp/5432: it is no Droplet of the account\n")
        assert "to change it  DROPLAN_ALLOW=tcp/5432@10.132.0.66 lets it in\n" in text
        assert max(map(len, text.splitlines())) <= 80

    @pytest.mark.parametrize(
        ("backend", "rule"),
        [
            ("auto", "guard droplan-private (table inet droplan) and door droplan-peers (INPUT)"),
            ("iptables", "guard droplan-private (table mangle) and door droplan-peers (INPUT)"),
            ("nftables", "guard droplan-private (table inet droplan)"),
        ],
    )
    def test_the_rule_names_the_guard_and_the_door_that_there_are(
        self, backend: str, rule: str, droplet: MemoryDroplet, shown: Shown
    ) -> None:
        refresh.run(droplet.host(DROPLAN_BACKEND=backend))
        droplet.refusal = OSError("Connection refused")
        with pytest.raises(DroplanError):
            refresh.run(droplet.host(DROPLAN_BACKEND=backend))  # what failed since used none
        assert self.ask(droplet, shown, "10.132.0.2")["rule"] == f"{rule}: accept 10.132.0.2"
        assert self.ask(droplet, shown, "10.132.0.66")["rule"] == f"{rule}: drop on eth1 what is not accepted"

    def test_a_droplet_without_the_tag_is_told_which_it_has(self, droplet: MemoryDroplet, shown: Shown) -> None:
        droplet.peers = (*droplet.peers, "10.132.0.4")
        found = self.ask(droplet, shown, "droplet-3", DO_TAG="db")
        assert (found["verdict"], found["reason"]) == ("drop", "lacks-tag")
        assert any("its tags are: web" in step for step in found["steps"])
        assert "give it the tag db" in found["remedy"]

    def test_one_that_is_off_is_said_to_be(self, droplet: MemoryDroplet, shown: Shown) -> None:
        droplet.peers, droplet.off = (*droplet.peers, "10.132.0.4", "10.132.0.5"), ("10.132.0.4",)
        told = [self.ask(droplet, shown, who, DO_TAG="db")["steps"] for who in ("droplet-3", "droplet-4")]
        assert ["it is off now, so nothing comes from it" in steps for steps in told] == [True, False]

    def test_a_droplet_that_was_made_since_is_said_to_come_in_with_the_next_refresh(
        self, droplet: MemoryDroplet, shown: Shown
    ) -> None:
        droplet.peers = (*droplet.peers, "10.132.0.4")
        found = self.ask(droplet, shown, "10.132.0.4")
        assert (found["verdict"], found["reason"]) == ("drop", "new")
        assert "`droplan refresh`" in found["remedy"]

    def test_what_is_allowed_is_told_with_its_entry_and_other_services_are_not(
        self, droplet: MemoryDroplet, shown: Shown
    ) -> None:
        refresh.run(droplet.host(DROPLAN_ALLOW="tcp/22@10.132.0.64/26"))
        found = self.ask(droplet, shown, "10.132.0.66", "tcp/22")
        assert (found["verdict"], found["reason"]) == ("accept", "allowed")
        assert "tcp/22@10.132.0.64/26" in found["rule"]
        assert found["grant"] == {"service": "tcp/22", "entry": "tcp/22@10.132.0.64/26"}
        for words in (("10.132.0.66", "tcp/23"), ("10.132.0.66",)):
            found = self.ask(droplet, shown, *words)
            assert (found["verdict"], found["reason"]) == ("drop", "allowed-not-on-this-port")
            assert found["grant"] is None

    def test_of_everything_at_once_it_says_what_is_open_and_not_that_all_is_shut(
        self, droplet: MemoryDroplet, shown: Shown
    ) -> None:
        refresh.run(droplet.host(DROPLAN_PEER_PORTS="none", DROPLAN_ALLOW="tcp/5432@tag:web,udp/53"))
        shown()
        explain.run(droplet.host(), who="droplet-1")
        text = shown()
        assert text.splitlines()[0] == "PARTLY  droplet-1 10.132.0.2: it reaches tcp/5432, udp/53, and nothing else"
        said = " ".join(text.split())
        assert "is a peer, and with DROPLAN_PEER_PORTS=none peers reach nothing but what entries open" in said
        assert "the entry tcp/5432@tag:web of DROPLAN_ALLOW opens tcp/5432 to it" in said
        assert "accept tcp/5432@tag:web, accept udp/53, then drop on eth1 what is not accepted" in said
        found = self.ask(droplet, shown, "droplet-1")
        assert (found["verdict"], found["reason"], found["parts"]) == ("drop", "peer-not-on-this-port", [])
        explain.run(droplet.host(), who="droplet-1", service="tcp/22")
        assert shown().startswith("DROP  droplet-1 10.132.0.2 to tcp/22: it is a peer, but not on this port\n")
        refresh.run(droplet.host(DROPLAN_PEER_PORTS="tcp/80"))
        shown()
        explain.run(droplet.host(), who="droplet-1")
        text = shown()
        assert text.startswith("PARTLY  droplet-1 10.132.0.2: it reaches tcp/80, and nothing else\n")
        assert "accept 10.132.0.2 to tcp/80, then drop on eth1" in " ".join(text.split())
        refresh.run(droplet.host(DROPLAN_MODE="observe", DROPLAN_PEER_PORTS="tcp/80"))
        shown()
        assert self.ask(droplet, shown, "droplet-1")["steps"][-1] == "enforced, only tcp/80 would be let in"

    def test_who_reaches_what_everyone_may_is_told_all_the_same_why_it_is_no_peer(
        self, droplet: MemoryDroplet, shown: Shown
    ) -> None:
        refresh.run(droplet.host(DO_TAG="web", DROPLAN_ALLOW="tcp/22"))
        shown()
        droplet.peers = (*droplet.peers, "10.132.0.4")
        found = self.ask(droplet, shown, "droplet-3", "tcp/80", DO_TAG="db")
        assert found["reason"] == "allowed-not-on-this-port"
        assert found["steps"][-2:] == [
            "DO_TAG=db asks for that tag, and its tags are: web",
            "DROPLAN_ALLOW lets it reach only tcp/22",
        ]
        assert found["remedy"] == (
            "give it the tag db at DigitalOcean, or add tcp/80@10.132.0.4 to DROPLAN_ALLOW to let it in"
        )

    @pytest.mark.parametrize(
        ("who", "service", "steps", "remedy"),
        [
            (
                "198.51.100.7",
                "tcp/22",
                ["DROPLAN_ALLOW_PUBLIC lets it reach only tcp/443"],
                "add tcp/22@198.51.100.7 to DROPLAN_ALLOW_PUBLIC to let it in",
            ),
            (
                "198.51.100.7",
                "tcp/443",
                ["the entry tcp/443 of DROPLAN_ALLOW_PUBLIC covers it, on eth0"],
                "take tcp/443 out of DROPLAN_ALLOW_PUBLIC to shut it out",
            ),
            (
                "10.132.0.66",
                "tcp/22",
                ["no entry of DROPLAN_ALLOW covers it"],
                "add tcp/22@10.132.0.66 to DROPLAN_ALLOW to let it in",
            ),
        ],
    )
    def test_an_entry_is_asked_for_in_the_setting_of_the_network_and_beside_those_there_are(
        self, who: str, service: str, steps: list[str], remedy: str
    ) -> None:
        private, public = segment(allow="tcp/5432@10.9.0.0/24"), segment(public=True, on=("eth0",), allow="tcp/443")
        asked = Asked(who, IPv4Address(who), None, services.one("SERVICE", service))
        found = explanation.explain(asked, Known(Policy((private, public))))
        assert (list(found.steps[-1:]), found.remedy) == (steps, remedy)

    def test_a_number_that_is_no_droplets_is_named_by_nobody(self, droplet: MemoryDroplet) -> None:
        with pytest.raises(UsageError, match="no Droplet of the account is called 99999"):
            explain.run(droplet.host(), who="9" * 5000)

    def test_where_digitalocean_cannot_be_asked_the_verdict_stands_all_the_same(
        self, droplet: MemoryDroplet, shown: Shown
    ) -> None:
        droplet.refusal = OSError("Connection refused")
        found = self.ask(droplet, shown, "10.132.0.66")
        assert found["verdict"] == "drop"
        assert "DigitalOcean could not be asked about it" in found["steps"][-1]

    def test_this_droplet_itself_and_an_open_network_are_told(self, droplet: MemoryDroplet, shown: Shown) -> None:
        assert self.ask(droplet, shown, ADDRESS)["reason"] == "own"
        assert self.ask(droplet, shown, "203.0.113.9")["reason"] == "open"

    def test_where_nothing_is_installed_everybody_gets_in(self, files: Files, shown: Shown) -> None:
        assert self.ask(made(files), shown, "10.132.0.66")["reason"] == "not-installed"

    def test_a_rule_before_ours_that_refuses_a_peer_is_named(self, droplet: MemoryDroplet, shown: Shown) -> None:
        refuses = "-p tcp -m tcp --dport 8000:8010 -j DROP"
        droplet.tables[4].chains["INPUT"].insert(0, refuses)
        for service, told in (("tcp/8010-8020", 1), ("tcp/8011-8020", 0), ("proto/6", 1), ("udp/8000", 0)):
            assert len(self.ask(droplet, shown, "10.132.0.2", service)["others"]) == told, service
        refresh.run(droplet.host(DROPLAN_PEER_PORTS="tcp/8005"))
        shown()
        assert len(self.ask(droplet, shown, "10.132.0.2", "tcp/8000-8010")["others"]) == 1, "a part of it gets in"
        refresh.run(droplet.host())
        shown()
        droplet.tables[4].chains["INPUT"][0] = "-s 10.132.0.2/32 -j DROP"
        assert self.ask(droplet, shown, "10.132.0.2")["others"] == [
            "a rule of INPUT (iptables-nft) stands before ours and refuses it: -A INPUT -s 10.132.0.2/32 -j DROP"
        ]
        assert self.ask(droplet, shown, "10.132.0.3")["others"] == []

    def test_firewalls_of_others_that_have_the_last_word_are_named(
        self, droplet: MemoryDroplet, shown: Shown
    ) -> None:
        chain = {"family": "inet", "table": "firewalld", "name": "filter_INPUT", "hook": "input", "policy": "accept"}
        rule = {"family": "inet", "table": "firewalld", "chain": "filter_INPUT", "expr": [{"reject": None}]}
        droplet.knows("nft", json.dumps({"nftables": [{"chain": chain}, {"rule": rule}]}))
        assert "firewalld's table" in self.ask(droplet, shown, "10.132.0.2")["others"][0]

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("nobody",), "no Droplet of the account is called nobody"),
            (("10.132.0.0/24",), "is a network: name one address of it"),
            (("10.132.0.2", "ssh"), "SERVICE: ssh is no service: write such as tcp/22"),
            (("10.132.0.2", "tcp/99999"), "SERVICE: tcp/99999 has no such port: write one from 1 to 65535"),
            (("10.132.0.2", "tcp/9-1"), "SERVICE: tcp/9-1 runs backwards: write tcp/1-9"),
            (("10.132.0.2", "proto/0"), "needs the number of an IP protocol, 1 to 255: write such as proto/47"),
        ],
    )
    def test_a_question_that_means_nothing_is_a_mistake_of_usage(
        self, words: tuple[str, ...], said: str, droplet: MemoryDroplet
    ) -> None:
        with pytest.raises(UsageError, match=said):
            explain.run(droplet.host(), who=words[0], service=(*words, None)[1])


class TestDryRun:
    def test_a_refresh_says_who_comes_and_who_goes_and_writes_nothing(self, droplet: MemoryDroplet) -> None:
        droplet.peers = ("10.132.0.2", "10.132.0.9", "10.132.0.10")
        before, tables = droplet.everything(), deepcopy(droplet.tables)
        refresh.run(droplet.host(), dry_run=True)
        assert droplet.lines.said[:3] == [
            "Would add 2 peers to droplan-peers: droplet-2 10.132.0.9, droplet-3 10.132.0.10",
            "Would remove 1 peer from droplan-peers: droplet-2 10.132.0.3",
            "Would cut no connection that exists now",
        ]
        assert "Would write rules (iptables-nft): IPv4: droplan-peers is altered" in droplet.lines.said
        assert (droplet.everything(), droplet.tables) == (before, tables)

    def test_an_install_names_the_connections_that_it_would_cut(self, files: Files) -> None:
        droplet = made(files)
        line = (
            "ipv4     2 tcp      6 431999 ESTABLISHED src={0} dst={1} sport=4{2} dport=5432 src={1} dst={0} [ASSURED]"
        )
        flows = [("10.132.0.66", ADDRESS, 1), ("10.132.0.66", ADDRESS, 2), ("10.132.0.2", ADDRESS, 3)]
        flows += [(ADDRESS, "10.132.0.66", 4), ("10.132.0.67", "172.17.0.2", 5)]
        text = "".join(line.format(*flow) + "\n" for flow in flows)
        files.write(Path("/proc/net/nf_conntrack"), text.encode(), 0o440)
        install.run(droplet.host(), dry_run=True)
        assert droplet.lines.said[:3] == [
            "Would close eth1 to everyone but 2 peers",
            "Would add 2 peers to droplan-peers: droplet-1 10.132.0.2, droplet-2 10.132.0.3",
            "Would cut 2 connections from 10.132.0.66 to tcp/5432",
        ]

    def test_a_removed_peers_connections_are_named_and_those_that_are_cut_already_are_not(
        self, droplet: MemoryDroplet
    ) -> None:
        line = "ipv4     2 udp      17 29 src={0} dst={1} sport=4000 dport=53 src={1} dst={0} sport=53 dport=4000\n"
        text = "".join(line.format(source, ADDRESS) for source in ("10.132.0.3", "10.132.0.66"))
        droplet.files.write(Path("/proc/net/nf_conntrack"), text.encode(), 0o440)
        droplet.peers = ("10.132.0.2",)
        refresh.run(droplet.host(), dry_run=True)
        assert [line for line in droplet.lines.said if "cut" in line] == [
            "Would cut 1 connection from droplet-2 10.132.0.3 to udp/53"
        ]

    def test_without_a_connection_table_the_socket_table_tells(self, files: Files) -> None:
        droplet = made(files)
        rows = [row(ADDRESS, "0.0.0.0", "0A", 1), row(ADDRESS, "10.132.0.66", "01", 2)]
        files.write(Path("/proc/net/tcp"), "\n".join(["  sl  local_address ...", *rows]).encode(), 0o444)
        install.run(droplet.host(), dry_run=True)
        assert "Would cut 1 connection from 10.132.0.66 to tcp/22" in droplet.lines.said

    def test_an_uninstall_says_what_would_go_and_what_would_stay(self, droplet: MemoryDroplet) -> None:
        droplet.files.append(paths.LOG, b"x\n", 0o640, keep=99)
        before, tables = droplet.everything(), deepcopy(droplet.tables)
        uninstall.run(droplet.host(), dry_run=True)
        said = droplet.lines.said
        assert said[0] == "Would open eth1 to everyone who reaches it; now 2 peers may come in"
        for line in (
            "Would remove our rules (iptables-nft)",
            f"Would remove {paths.CRON}",
            f"Would remove {paths.LINK}",
        ):
            assert line in said
        assert said[-1] == f"Would keep {paths.LOG}, and every package"
        assert (droplet.everything(), droplet.tables) == (before, tables)

    def test_an_uninstall_removes_what_it_said_it_would_and_nothing_else(self, files: Files) -> None:
        droplet = made(files)
        files.write(paths.PUBLISH, b"DO_KEY=dop_v1_0\n", 0o600)
        install.run(droplet.host())
        droplet.lines.said.clear()
        uninstall.run(droplet.host(), dry_run=True)
        foretold = {line.removeprefix("Would remove ") for line in droplet.lines.said if "Would remove" in line}
        taken = [line for line in droplet.lines.said if "Would take" in line]
        droplet.lines.said.clear()
        uninstall.run(droplet.host())
        removed = {line.removeprefix("Removed ") for line in droplet.lines.said if line.startswith("Removed ")}
        saved = {f"{path}, which held nothing but our rules" for path in (RULES_V4, RULES_V6)}
        assert foretold == removed - saved
        assert saved < removed
        assert taken == [f"Would take our rules out of {path}" for path in (RULES_V4, RULES_V6)]
        assert {str(watcher.UNIT.path), str(publishing.UNIT.path)} <= removed
        assert files.exists(paths.PUBLISH), "a person wrote it"
        assert f"Kept {paths.PUBLISH}, which you wrote: there is a token in it" in droplet.lines.said

    @pytest.mark.parametrize("verb", [refresh, install])
    def test_what_would_be_refused_is_said_first(self, verb: Any, droplet: MemoryDroplet) -> None:
        droplet.peers = ()
        verb.run(droplet.host(scheduled=False), dry_run=True)
        assert droplet.lines.said[0].startswith("Would be refused without --force: this would remove all peers")
        assert droplet.lines.said[1].startswith("Would remove 2 peers")

    def test_a_network_that_would_be_closed_no_longer_is_said_to_be_opened(self, droplet: MemoryDroplet) -> None:
        found = snapshot.load(droplet.files)
        assert found is not None
        public = segment("198.51.100.2", public=True, on=("eth0",))
        closed = replace(found, policy=Policy((*found.policy.segments, public)))
        snapshot.store(droplet.files, closed)
        refresh.run(droplet.host(), dry_run=True)
        assert droplet.lines.said[:2] == [
            "Would keep 2 peers in droplan-peers; nobody comes, nobody goes",
            "Would open eth0 to everyone",
        ]


class TestRefused:
    @pytest.mark.parametrize("left", [(), ("10.132.0.2",)])
    def test_a_person_who_would_remove_most_peers_is_asked_to_insist(
        self, left: tuple[str, ...], droplet: MemoryDroplet
    ) -> None:
        droplet.peers = ("10.132.0.2", "10.132.0.3", "10.132.0.4")
        refresh.run(droplet.host())
        droplet.peers = left
        tables = deepcopy(droplet.tables)
        with pytest.raises(RefusedError, match="from droplan-peers"):
            refresh.run(droplet.host(scheduled=False))
        assert droplet.tables == tables
        refresh.run(replace(droplet.host(scheduled=False), force=True))
        assert droplet.tables != tables

    @pytest.mark.parametrize("verb", [install, refresh])
    def test_a_tag_that_no_other_droplet_carries_is_refused(self, verb: Any, files: Files) -> None:
        droplet = made(files)
        with pytest.raises(RefusedError, match="no other Droplet in scope carries DO_TAG=wbe"):
            verb.run(droplet.host(scheduled=False, DO_TAG="wbe"))
        assert droplet.changed() == []

    def test_user_data_is_not_held_up_by_it_but_by_a_live_session(self, files: Files) -> None:
        droplet = made(files)
        session = f"10.132.0.66 40000 {ADDRESS} 22"
        with pytest.raises(RefusedError, match="would cut your SSH session"):
            install.run(replace(droplet.host(scheduled=False, DO_TAG="wbe", SSH_CONNECTION=session), unattended=True))
        install.run(replace(droplet.host(scheduled=False, DO_TAG="wbe"), unattended=True))

    def test_what_a_person_was_refused_is_no_failure_that_somebody_is_woken_for(self, droplet: MemoryDroplet) -> None:
        before = report.load(droplet.files)
        droplet.peers = ()
        with pytest.raises(RefusedError):
            refresh.run(droplet.host(scheduled=False))
        assert report.load(droplet.files) == before
        assert "failed" not in {one.code for one in standing.look(droplet.host()).problems}

    def test_the_schedule_is_not_held_up(self, droplet: MemoryDroplet) -> None:
        droplet.peers = ()
        refresh.run(droplet.host())


def typed(*answers: str) -> Callable[[str], str | None]:
    left = list(answers)
    return lambda question: left.pop(0)


class TestToken:
    def test_an_install_at_a_terminal_asks_for_it(self, files: Files) -> None:
        droplet = made(files)
        install.run(replace(droplet.host(scheduled=False, token=""), prompt=typed(TOKEN)))
        assert f"DO_KEY={TOKEN}\n".encode() in (files.read(paths.SETTINGS) or b"")

    def test_a_dry_run_at_a_terminal_asks_too_and_keeps_it_nowhere(self, files: Files) -> None:
        droplet = made(files)
        install.run(replace(droplet.host(scheduled=False, token=""), prompt=typed(TOKEN)), dry_run=True)
        assert "Would close eth1 to everyone but 2 peers" in droplet.lines.said
        assert not any(TOKEN in line for line in droplet.lines.said)
        assert files.read(paths.SETTINGS) is None

    def test_a_member_of_a_fleet_is_asked_for_none(self, files: Files) -> None:
        shared = {
            "DROPLAN_SHARED": "https://nyc3.digitaloceanspaces.com/fleet",
            "DROPLAN_SHARED_KEY": "ID:SECRET",
            "DROPLAN_SHARED_TRUST": f"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE{'A' * 86}==",
        }
        host = made(files).host(scheduled=False, token="", **shared)
        with pytest.raises(NoAnswerError):
            install.run(replace(host, prompt=typed(), clock=Clock()))

    @pytest.mark.parametrize("dry_run", [False, True])
    def test_without_one_and_without_a_terminal_it_says_how_this_install_gets_it(
        self, dry_run: bool, files: Files
    ) -> None:
        host = replace(made(files).host(scheduled=False, token=""), prompt=lambda question: None)
        with pytest.raises(UsageError, match="no API token is set: run this on a terminal") as caught:
            install.run(host, dry_run=dry_run)
        assert "`droplan token`" not in str(caught.value), "there is no droplan yet that could be called"

    @pytest.mark.parametrize("text", [TOKEN, f"{TOKEN}\n", f"DO_KEY={TOKEN}\n", f"DIGITALOCEAN_TOKEN='{TOKEN}'"])
    def test_it_is_read_from_stdin_and_from_a_file(self, text: str, files: Files) -> None:
        droplet = made(files)
        install.run(replace(droplet.host(token=""), stdin=io.StringIO(text)), token_file="-")
        assert f"DO_KEY={TOKEN}\n".encode() in (files.read(paths.SETTINGS) or b"")
        files.write(Path("/root/token"), text.encode(), 0o600)
        install.run(droplet.host(token=""), token_file="/root/token")

    def test_the_new_one_is_tried_and_all_else_in_the_file_stays(self, droplet: MemoryDroplet) -> None:
        text = f"# mine\nexport DIGITALOCEAN_TOKEN={TOKEN}\nDROPLAN_INTERVAL=7\n"
        droplet.files.write(paths.SETTINGS, text.encode(), 0o600)
        token.run(replace(droplet.host(token=""), stdin=io.StringIO(NEW)), token_file="-")
        assert (droplet.files.read(paths.SETTINGS) or b"").decode() == (f"# mine\nDO_KEY={NEW}\nDROPLAN_INTERVAL=7\n")
        assert not any(NEW in line for line in droplet.lines.said)

    def test_one_that_does_not_work_is_not_stored(self, droplet: MemoryDroplet) -> None:
        droplet.refusal = Answer(None, 401)
        before = droplet.files.read(paths.SETTINGS)
        with pytest.raises(TokenError):
            token.run(replace(droplet.host(token=""), prompt=typed(NEW), scheduled=False))
        assert droplet.files.read(paths.SETTINGS) == before

    def test_where_nobody_can_be_asked_it_says_how_to_pass_it(self, droplet: MemoryDroplet) -> None:
        with pytest.raises(UsageError, match="--token-file"):
            token.run(replace(droplet.host(token=""), prompt=lambda question: None, scheduled=False))

    @pytest.mark.parametrize(("text", "said"), [("", "holds no API token"), ("two words", "holds no API token")])
    def test_a_file_without_one_is_a_mistake(self, text: str, said: str, droplet: MemoryDroplet) -> None:
        with pytest.raises(UsageError, match=said):
            token.run(replace(droplet.host(token=""), stdin=io.StringIO(text)), token_file="-")


class TestSettings:
    def test_what_the_environment_sets_for_this_run_only_is_pointed_out(self, droplet: MemoryDroplet) -> None:
        refresh.run(droplet.host(scheduled=False, DROPLAN_ALLOW="10.9.0.0/24", DROPLAN_SCOPE=""))
        said = [line for line in droplet.lines.said if "this run only" in line]
        assert said == [
            (
                f"DROPLAN_ALLOW=10.9.0.0/24 holds for this run only: {paths.SETTINGS} says none, and the schedule "
                "goes by that"
            )
        ]
        droplet.lines.said.clear()
        refresh.run(droplet.host(scheduled=False, token=NEW))
        assert any("the DO_KEY of the environment holds for this run only" in line for line in droplet.lines.said)
        assert not any(NEW in line for line in droplet.lines.said)

    def test_status_tells_of_an_edit_that_no_refresh_has_applied(self, droplet: MemoryDroplet) -> None:
        data = droplet.files.read(paths.SETTINGS) or b""
        droplet.files.write(paths.SETTINGS, data + b"DROPLAN_ALLOW=tcp/22\n", 0o600)
        assert "settings-unapplied" in [one.code for one in standing.look(droplet.host()).problems]
        refresh.run(droplet.host())
        assert "settings-unapplied" not in [one.code for one in standing.look(droplet.host()).problems]

    def test_a_mistake_fails_the_scheduled_run_in_report_and_log_keeps_the_rules_and_heals(
        self, droplet: MemoryDroplet
    ) -> None:
        data, tables = droplet.files.read(paths.SETTINGS) or b"", deepcopy(droplet.tables)
        droplet.files.write(paths.SETTINGS, data + b"DROPLAN_SCOP=vpc\n", 0o600)
        with pytest.raises(UsageError):
            refresh.run(droplet.host(token=""))
        found = report.load(droplet.files)
        assert found
        assert found.result == "failed"
        assert "did you mean DROPLAN_SCOPE?" in (found.error or "")
        assert found.succeeded
        assert droplet.tables == tables
        shown = standing.look(droplet.host(token=""))
        assert [one.code for one in shown.problems] == ["settings-mistake"]
        assert shown.exit_code == 5  # every run of the schedule fails for it
        restore.run(droplet.host(token=""))
        droplet.files.write(paths.SETTINGS, data, 0o600)
        refresh.run(droplet.host(token=""))
        healed = report.load(droplet.files)
        assert healed
        assert (healed.result, healed.error) == ("ok", None)


def test_status_names_what_brings_the_rules_back_at_boot_and_nothing_where_nothing_does(files: Files) -> None:
    found = made(files)
    assert standing.look(found.host()).restored_by == ""
    install.run(found.host())
    assert standing.look(found.host()).restored_by == "droplan-restore.service"


def test_the_last_change_is_kept_through_runs_that_change_nothing_and_runs_that_fail(droplet: MemoryDroplet) -> None:
    droplet.peers = ("10.132.0.2", "10.132.0.9")
    refresh.run(droplet.host())
    refresh.run(droplet.host())
    droplet.refusal = OSError("Connection refused")
    with pytest.raises(NoAnswerError):
        refresh.run(droplet.host())
    found = report.load(droplet.files)
    assert found
    assert found.change
    assert (found.change.added, found.change.removed) == (("droplet-2 10.132.0.9",), ("droplet-2 10.132.0.3",))


@pytest.mark.parametrize("scheduled", [True, False])
def test_nothing_changed_is_kept_once_a_day_and_shown_each_time(droplet: MemoryDroplet, scheduled: bool) -> None:
    refresh.run(droplet.host(scheduled=scheduled))
    assert [line for line in droplet.lines.said if "unchanged" in line] == []
    assert droplet.lines.shown[-1] == "2 peers in droplan-peers, unchanged"
    last = report.load(droplet.files)
    assert last
    report.store(droplet.files, replace(last, time=last.time - 86400))
    refresh.run(droplet.host(scheduled=scheduled))
    assert [line for line in droplet.lines.said if "unchanged" in line] == ["2 peers in droplan-peers, unchanged"]


def test_rules_that_a_setting_changes_are_written_and_only_those_that_somebody_altered_repaired(
    droplet: MemoryDroplet,
) -> None:
    refresh.run(droplet.host(DROPLAN_PEER_PORTS="tcp/80"))
    assert droplet.lines.said[0] == "2 peers in droplan-peers, rules written"
    found = report.load(droplet.files)
    assert found is not None
    assert (found.changed, found.repaired) == (True, False), "nobody is to be woken by a change of settings"
    droplet.tables[4].chains["INPUT"].clear()
    refresh.run(droplet.host(DROPLAN_PEER_PORTS="tcp/80"))
    assert "2 peers in droplan-peers, rules repaired" in droplet.lines.said
    found = report.load(droplet.files)
    assert found is not None
    assert found.repaired


def test_uninstall_keeps_the_log_and_takes_link_and_pages_along(droplet: MemoryDroplet) -> None:
    assert droplet.files.target(paths.LINK) == str(paths.PROGRAM)
    droplet.files.append(paths.LOG, b"x\n", 0o640, keep=99)
    uninstall.run(droplet.host())
    assert not droplet.files.exists(paths.LINK)
    assert droplet.files.read(paths.LOG) == b"x\n"
    assert droplet.lines.said[-1].startswith(f"Kept {paths.LOG}")


def test_a_command_of_that_name_that_is_somebody_elses_is_left_alone(files: Files) -> None:
    droplet = made(files)
    files.write(paths.LINK, b"#!/bin/sh\n", 0o755)
    install.run(droplet.host())
    assert files.read(paths.LINK) == b"#!/bin/sh\n"
    assert any("is there and not ours" in line for line in droplet.lines.said)
    uninstall.run(droplet.host())
    assert files.read(paths.LINK) == b"#!/bin/sh\n"
