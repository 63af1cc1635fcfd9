"""Settings: every name, every value it can have, and a sentence for every value it cannot."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_boot import paths, settings
from droplan_boot.access import allow
from droplan_boot.access.allow import Allow, Name
from droplan_boot.access.services import Service
from droplan_boot.errors import UsageError
from droplan_boot.host import openssl
from droplan_boot.host.command import Commands
from droplan_boot.host.files import Files
from droplan_boot.networks import Network
from droplan_boot.settings import Settings

CLUSTER = "bd5f5959-5e1e-4205-a714-a914373942af"
TOKEN = "dop_v1_" + "0" * 64


def net(text: str) -> Network:
    return ipaddress.ip_network(text)


SERVICES = [None, Service("tcp", 22, 22), Service("udp", 1, 65535), Service("icmp"), Service("tcp"), Service("47")]
SOURCES = [None, net("10.0.0.0/8"), net("fd00::1"), Name("tag", "a:b"), Name("droplet", "7"), Name("k8s", CLUSTER)]


class TestParse:
    def test_without_any_setting_the_defaults_hold(self) -> None:
        assert settings.parse({}) == Settings(
            token="",
            tags=(),
            peer_ports=None,
            allow_public=None,
            scope="region",
            public=False,
            allow=(),
            backend="auto",
            interval=5,
            fail_closed=False,
            lock_metadata=False,
            api_url="https://api.digitalocean.com",
            metadata_url="http://169.254.169.254",
        )

    @pytest.mark.parametrize(
        ("name", "value", "field", "parsed"),
        [
            ("DO_KEY", TOKEN, "token", TOKEN),
            ("DO_TAG", "web:blue_1-2", "tags", ("web:blue_1-2",)),
            ("DO_TAG", "web,db, Web", "tags", ("web", "db")),
            ("DROPLAN_PEER_PORTS", "everything", "peer_ports", None),
            ("DROPLAN_PEER_PORTS", "none", "peer_ports", ()),
            (
                "DROPLAN_PEER_PORTS",
                "tcp/80,udp/53 icmp, tcp/8000-8100 tcp/80",
                "peer_ports",
                (Service("tcp", 80, 80), Service("udp", 53, 53), Service("icmp"), Service("tcp", 8000, 8100)),
            ),
            ("DROPLAN_ALLOW_PUBLIC", "none", "allow_public", ()),
            ("DROPLAN_ALLOW_PUBLIC", "tcp/443", "allow_public", (Allow(None, Service("tcp", 443, 443)),)),
            ("DO_TAG", "x" * 255, "tags", ("x" * 255,)),
            ("PUBLIC", "true", "public", True),
            ("PUBLIC", "True", "public", True),
            ("PUBLIC", "false", "public", False),
            ("DROPLAN_SCOPE", "vpc", "scope", "vpc"),
            ("DROPLAN_SCOPE", "account", "scope", "account"),
            ("DROPLAN_BACKEND", "nftables", "backend", "nftables"),
            ("DROPLAN_BACKEND", "iptables", "backend", "iptables"),
            ("DROPLAN_MODE", "observe", "observe", True),
            ("DROPLAN_MODE", "enforce", "observe", False),
            ("DROPLAN_INTERVAL", "1", "interval", 1),
            ("DROPLAN_INTERVAL", "60", "interval", 60),
            ("DROPLAN_FAIL_CLOSED", "TRUE", "fail_closed", True),
            ("DROPLAN_WATCH", "false", "watch", False),
            ("DROPLAN_LOCK_METADATA", "true", "lock_metadata", True),
            ("DIGITALOCEAN_API_URL", "https://proxy.internal:8443/do/", "api_url", "https://proxy.internal:8443/do"),
            ("DROPLAN_METADATA_URL", "http://10.0.0.1", "metadata_url", "http://10.0.0.1"),
        ],
    )
    def test_each_setting_takes_what_it_can_have(self, name: str, value: str, field: str, parsed: object) -> None:
        assert getattr(settings.parse({name: value}), field) == parsed

    @pytest.mark.parametrize(
        ("name", "value", "sentence"),
        [
            (
                "DO_KEY",
                "two words",
                "DO_KEY is no API token (it holds blanks, quotes or special characters): paste it again",
            ),
            ("DO_KEY", '"quoted"', "DO_KEY is no API token"),
            ("DO_KEY", "tökén", "DO_KEY is no API token"),
            ("DO_TAG", "a b", "DO_TAG=a b is no tag: tags hold letters, digits, colons, dashes and underscores"),
            ("DO_TAG", "x" * 256, "is no tag"),
            ("DO_TAG", "grün", "is no tag"),
            ("DO_TAG", "web,a b", "DO_TAG=web,a b: a b is no tag"),
            ("DO_TAG", "web,", "is no tag"),
            (
                "DROPLAN_PEER_PORTS",
                "tcp",
                "DROPLAN_PEER_PORTS: tcp names no port by its number: write",
            ),
            ("DROPLAN_PEER_PORTS", "all", "all is no service: write everything, none, or such as tcp/80"),
            ("DROPLAN_PEER_PORTS", "tcp/80@tag:web", "besides the peers belongs into DROPLAN_ALLOW"),
            ("DROPLAN_PEER_PORTS", "tag:web", "besides the peers belongs into DROPLAN_ALLOW"),
            ("DROPLAN_PEER_PORTS", "none,tcp/80", "none is no service"),
            ("DROPLAN_PEER_PORTS", " , ", "DROPLAN_PEER_PORTS names nothing: write everything, none"),
            ("DROPLAN_PEER_PORTS", "80/tcp", "80/tcp is no service: write tcp/80"),
            ("DROPLAN_ALLOW_PUBLIC", "0.0.0.0/0", "DROPLAN_ALLOW_PUBLIC=0.0.0.0/0 would let everyone in"),
            ("PUBLIC", "yes", "PUBLIC=yes is neither true nor false: set one of them"),
            ("DROPLAN_FAIL_CLOSED", "1", "DROPLAN_FAIL_CLOSED=1 is neither true nor false"),
            ("DROPLAN_LOCK_METADATA", "on", "DROPLAN_LOCK_METADATA=on is neither"),
            ("DROPLAN_SCOPE", "global", "DROPLAN_SCOPE=global is unknown: set region, vpc or account"),
            ("DROPLAN_BACKEND", "pf", "DROPLAN_BACKEND=pf is unknown: set auto, iptables or nftables"),
            ("DROPLAN_MODE", "watch", "DROPLAN_MODE=watch is unknown: set enforce or observe"),
            ("DROPLAN_INTERVAL", "0", "DROPLAN_INTERVAL=0 is no number of minutes from 1 to 60: set one"),
            ("DROPLAN_INTERVAL", "61", "no number of minutes"),
            ("DROPLAN_INTERVAL", "5m", "no number of minutes"),
            ("DROPLAN_INTERVAL", "-5", "no number of minutes"),
            ("DROPLAN_INTERVAL", "\u0665", "no number of minutes"),
            ("DIGITALOCEAN_API_URL", "http://api.example", "is no https address: set one such as https://host"),
            ("DIGITALOCEAN_API_URL", "api.example", "is no https address"),
            ("DIGITALOCEAN_API_URL", "https://user:word@api.example", "is no https address"),
            ("DIGITALOCEAN_API_URL", "https://api.example/?a=b", "is no https address"),
            ("DROPLAN_METADATA_URL", "ftp://169.254.169.254", "is no http or https address"),
            ("DROPLAN_ALLOW", "0.0.0.0/0", "0.0.0.0/0 would let everyone in: name the networks you mean"),
            ("DROPLAN_ALLOW", "::/0", "would let everyone in"),
            ("DROPLAN_ALLOW", "0.0.0.0/1,128.0.0.0/1", "would let everyone in"),
            ("DROPLAN_ALLOW", "10.0.0.1/24", "10.0.0.1/24 names a host within a network: write 10.0.0.0/24"),
            ("DROPLAN_ALLOW", "tcp/22@10.0.0.1/24", "write 10.0.0.0/24"),
            ("DROPLAN_ALLOW", "tcp/0", "DROPLAN_ALLOW: tcp/0 has no such port: write one from 1 to 65535"),
            ("DROPLAN_ALLOW", "tcp/65536", "no such port"),
            ("DROPLAN_ALLOW", "tcp/1-65536", "no such port"),
            ("DROPLAN_ALLOW", "tcp/8100-8000", "tcp/8100-8000 runs backwards: write tcp/8000-8100"),
            ("DROPLAN_ALLOW", "tcp/ssh", "tcp/ssh names no port by its number: write such as tcp/22"),
            ("DROPLAN_ALLOW", "tcp/", "write such as tcp/22 or tcp/8000-8100, or proto/6 for all of TCP"),
            ("DROPLAN_ALLOW", "tcp", "or proto/6 for all of TCP"),
            ("DROPLAN_ALLOW", "udp@tag:web", "write such as udp/22 or udp/8000-8100, or proto/17 for all of UDP"),
            ("DROPLAN_ALLOW", "icmp/8", "icmp/8 is no service: write icmp, which takes no type"),
            ("DROPLAN_ALLOW", "icmpv6", "icmpv6 is no service: write icmp"),
            ("DROPLAN_ALLOW", "TCP/22", "TCP/22 is no service: write tcp/22"),
            ("DROPLAN_ALLOW", "22/tcp", "22/tcp is no service: write tcp/22"),
            ("DROPLAN_ALLOW", "6000:6007/tcp", "write tcp/6000-6007"),
            ("DROPLAN_ALLOW", "tcp:22", "tcp:22 is no service: write tcp/22"),
            ("DROPLAN_ALLOW", "5432", "5432 is no service: write tcp/5432 or udp/5432"),
            ("DROPLAN_ALLOW", "5432@tag:web", "5432 is no service: write tcp/5432 or udp/5432"),
            ("DROPLAN_ALLOW", "proto/gre", "needs the number of an IP protocol, 1 to 255: write such as proto/47"),
            ("DROPLAN_ALLOW", "proto/0", "needs the number"),
            ("DROPLAN_ALLOW", "proto/256", "needs the number"),
            ("DROPLAN_ALLOW", "tag:web@tcp/22", "names the source first: write tcp/22@tag:web"),
            ("DROPLAN_ALLOW", "tcp/22@", "tcp/22@ is no SERVICE@SOURCE: write such as tcp/5432@tag:web"),
            ("DROPLAN_ALLOW", "tcp/22@tag:a@tag:b", "is no SERVICE@SOURCE"),
            ("DROPLAN_ALLOW", "@10.0.0.0/8", "@10.0.0.0/8 is no SERVICE@SOURCE"),
            ("DROPLAN_ALLOW", "10.0.0.0/33", "10.0.0.0/33 is neither a network nor a service: write such as"),
            ("DROPLAN_ALLOW", "example.org", "example.org is neither a network nor a service"),
            ("DROPLAN_ALLOW", "web", "(a tag or a Droplet: tag:web, droplet:web)"),
            ("DROPLAN_ALLOW", "tags:web", "tags:web is no source: write tag:web"),
            ("DROPLAN_ALLOW", "TAG:web", "TAG:web is no source: write tag:web"),
            ("DROPLAN_ALLOW", "tag=web", "tag=web is no source: write tag:web"),
            ("DROPLAN_ALLOW", "tag:", "tag: names no tag"),
            ("DROPLAN_ALLOW", "tag:grün", "tag:grün names no tag"),
            ("DROPLAN_ALLOW", "tcp/22@droplet:a_b", "droplet:a_b names no Droplet"),
            ("DROPLAN_ALLOW", "k8s:production", "k8s:production needs the cluster's UUID"),
            ("DROPLAN_ALLOW", "fe80::%eth1/64", "fe80::%eth1/64 is neither"),
            ("DROPLAN_ALLOW", "tcp/22@fd00::1%eth1", "is neither"),
            ("DO_TAG", "a\nb", "DO_TAG holds a line break or another control character: remove it"),
            ("DO_KEY", "a\x1b[2J", "DO_KEY holds a line break or another control character"),
        ],
    )
    def test_any_other_value_gets_a_sentence_that_says_what_to_set(
        self, name: str, value: str, sentence: str
    ) -> None:
        with pytest.raises(UsageError) as caught:
            settings.parse({name: value})
        assert sentence in str(caught.value)
        assert caught.value.exit_code == 2

    @pytest.mark.parametrize("name", settings.NAMES)
    def test_every_name_is_a_setting_that_takes_effect(self, name: str) -> None:
        values = {
            "DO_TAG": "web",
            "PUBLIC": "true",
            "DROPLAN_SCOPE": "vpc",
            "DROPLAN_PEER_PORTS": "none",
            "DROPLAN_ALLOW": "10.0.0.0/8",
            "DROPLAN_ALLOW_PUBLIC": "none",
            "DROPLAN_BACKEND": "nftables",
            "DROPLAN_MODE": "observe",
            "DROPLAN_INTERVAL": "7",
            "DROPLAN_FAIL_CLOSED": "true",
            "DROPLAN_WATCH": "false",
            "DROPLAN_LOCK_METADATA": "true",
            "DROPLAN_METADATA_URL": "http://10.0.0.1",
            "DIGITALOCEAN_API_URL": "https://api.example",
            "DROPLAN_SHARED": "https://nyc3.digitaloceanspaces.com/bucket/prod",
            "DROPLAN_SHARED_KEY": "ID:SECRET",
            "DROPLAN_SHARED_TRUST": openssl.public_key(Commands(), openssl.make_key(Commands())),
        }
        together = [each for each in values if each == name or (name == "DROPLAN_SHARED" and name in each)]
        found = settings.merged(
            {each: values.get(each, TOKEN) for each in together or [name]}, Files(Path("/nonexistent"))
        )
        assert settings.parse(found) != Settings()

    @given(st.text(max_size=40), st.sampled_from(settings.NAMES))
    def test_a_value_is_taken_or_refused_and_nothing_else_happens(self, value: str, name: str) -> None:
        try:
            settings.parse({name: value})
        except UsageError:
            pass


def test_only_an_address_of_the_metadata_service_can_be_locked() -> None:
    with pytest.raises(UsageError, match="names no IPv4 address, which DROPLAN_LOCK_METADATA needs"):
        settings.parse({"DROPLAN_LOCK_METADATA": "true", "DROPLAN_METADATA_URL": "http://metadata.internal"})


class TestAllow:
    @given(st.sampled_from(SERVICES), st.sampled_from(SOURCES))
    def test_an_entry_that_nobody_wrote_is_spelled_so_that_it_reads_the_same(
        self, service: Service | None, source: Network | Name | None
    ) -> None:
        entry = Allow(source, service)
        if str(entry):
            assert allow.entry("DROPLAN_ALLOW", str(entry)) == entry

    @pytest.mark.parametrize(
        ("value", "entries"),
        [
            ("", ()),
            (" , ", ()),
            ("10.0.0.0/8", (Allow(net("10.0.0.0/8")),)),
            ("10.0.0.7", (Allow(net("10.0.0.7/32")),)),
            ("10.0.0.0/255.255.0.0", (Allow(net("10.0.0.0/16")),)),
            ("tag:Web", (Allow(Name("tag", "web")),)),
            ("tcp/5432@tag:web:1", (Allow(Name("tag", "web:1"), Service("tcp", 5432, 5432)),)),
            ("droplet:Db-1.example", (Allow(Name("droplet", "Db-1.example")),)),
            ("udp/1-2@droplet:27", (Allow(Name("droplet", "27"), Service("udp", 1, 2)),)),
            (f"k8s:{CLUSTER.upper()}", (Allow(Name("k8s", CLUSTER)),)),
            ("icmp", (Allow(None, Service("icmp")),)),
            ("icmp@fd00::/8", (Allow(net("fd00::/8"), Service("icmp")),)),
            ("proto/47@10.0.0.0/8", (Allow(net("10.0.0.0/8"), Service("47")),)),
            ("proto/6", (Allow(None, Service("tcp")),)),
            ("none", ()),
            ("fd00::/8", (Allow(net("fd00::/8")),)),
            ("tcp/22", (Allow(None, Service("tcp", 22, 22)),)),
            ("udp/53@10.0.0.0/8", (Allow(net("10.0.0.0/8"), Service("udp", 53, 53)),)),
            ("tcp/443@0.0.0.0/0", (Allow(net("0.0.0.0/0"), Service("tcp", 443, 443)),)),
            (
                "10.0.0.7,tcp/22 udp/53, 10.0.0.7",
                (Allow(net("10.0.0.7")), Allow(None, Service("tcp", 22, 22)), Allow(None, Service("udp", 53, 53))),
            ),
        ],
    )
    def test_the_list_holds_networks_and_services_each_once(self, value: str, entries: tuple[Allow, ...]) -> None:
        assert settings.parse({"DROPLAN_ALLOW": value}).allow == entries

    @pytest.mark.parametrize("value", ["10.0.0.0/8", "tcp/22", "10.0.0.7", "tcp/1-9@tag:Web"])
    def test_an_entry_is_shown_as_the_user_would_write_it(self, value: str) -> None:
        assert str(settings.parse({"DROPLAN_ALLOW": value}).allow[0]) == value


def with_file(files: Files, text: str) -> Files:
    files.write(paths.SETTINGS, text.encode(), 0o600)
    return files


class TestPrecedence:
    def test_the_environment_comes_before_the_file_and_the_file_before_the_default(self, files: Files) -> None:
        with_file(files, "DO_TAG=file\nDROPLAN_SCOPE=vpc\n")
        found = settings.load({"DO_TAG": "environment"}, files)
        assert (found.tags, found.scope, found.interval) == (("environment",), "vpc", 5)

    def test_an_empty_value_takes_a_setting_back_to_its_default(self, files: Files) -> None:
        assert settings.load({"DO_TAG": ""}, with_file(files, "DO_TAG=file\n")).tags == ()

    def test_without_a_file_the_environment_is_all(self, files: Files) -> None:
        assert settings.load({"DO_TAG": "web"}, files).tags == ("web",)

    @pytest.mark.parametrize(
        ("environ", "stored", "token"),
        [
            ({"DO_KEY": "a", "DIGITALOCEAN_TOKEN": "b", "DIGITALOCEAN_ACCESS_TOKEN": "c"}, "", "a"),
            ({"DIGITALOCEAN_TOKEN": "b", "DIGITALOCEAN_ACCESS_TOKEN": "c"}, "", "b"),
            ({"DIGITALOCEAN_ACCESS_TOKEN": "c"}, "", "c"),
            ({"DO_KEY": "", "DIGITALOCEAN_TOKEN": "b"}, "", "b"),
            ({"DIGITALOCEAN_ACCESS_TOKEN": "c"}, "DO_KEY=f\n", "c"),
            ({}, "DIGITALOCEAN_TOKEN=f\n", "f"),
            ({}, "", ""),
        ],
    )
    def test_the_token_is_DO_KEY_or_what_other_tools_call_it(  # noqa: N802
        self, files: Files, environ: dict[str, str], stored: str, token: str
    ) -> None:
        assert settings.load(environ, with_file(files, stored)).token == token


class TestUnknown:
    @pytest.mark.parametrize(
        ("name", "advice"),
        [
            ("DROPLAN_SCOP", "unknown setting DROPLAN_SCOP: did you mean DROPLAN_SCOPE?"),
            ("DROPLAN_ALLOWED", "did you mean DROPLAN_ALLOW?"),
            ("DROPLAN_QQQQQQQQQQQQQQQQQQ", 'README.md, "Settings", lists them'),
            ("DROPLAN_\x1b", "unknown setting 'DROPLAN_\\x1b'"),
        ],
    )
    def test_a_setting_that_nobody_knows_is_refused_with_a_suggestion(
        self, files: Files, name: str, advice: str
    ) -> None:
        with pytest.raises(UsageError) as caught:
            settings.load({name: "x"}, files)
        assert advice in str(caught.value)

    def test_so_is_one_in_the_file_whatever_it_begins_with(self, files: Files) -> None:
        with pytest.raises(UsageError, match="unknown setting DO_TAGS: did you mean DO_TAG"):
            settings.load({}, with_file(files, "DO_TAGS=x\n"))

    def test_the_rest_of_the_environment_is_none_of_our_business(self, files: Files) -> None:
        assert settings.load({"HOME": "/root", "DO_SOMETHING": "else"}, files) == Settings()


class TestFile:
    def test_comments_blank_lines_quotes_and_export_are_understood(self) -> None:
        text = b"# a comment\n\n  DO_TAG=web  \nexport PUBLIC='true'\nDROPLAN_ALLOW=\"tcp/22 tcp/80\"\nDO_KEY=a=b#c\n"
        assert settings.read(text) == {
            "DO_TAG": "web",
            "PUBLIC": "true",
            "DROPLAN_ALLOW": "tcp/22 tcp/80",
            "DO_KEY": "a=b#c",
        }

    @pytest.mark.parametrize("line", ["DO_TAG", "do_tag=x", "DO TAG=x", "=x", "$(reboot)=x", "DO_TAG = x"])
    def test_any_other_line_is_named_by_its_number_and_never_quoted(self, line: str) -> None:
        # It might hold the token.
        with pytest.raises(
            UsageError, match=r"^/etc/droplan/droplan.env, line 2, is not NAME=value: mend that line$"
        ):
            settings.read(f"# one\n{line}\n".encode())

    @given(st.binary(max_size=200))
    def test_any_bytes_are_read_or_refused(self, data: bytes) -> None:
        try:
            settings.read(data)
        except UsageError:
            pass

    @given(
        st.dictionaries(
            st.sampled_from([name for name in settings.NAMES if name not in settings.TOKEN_NAMES[1:]]),
            st.one_of(
                st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30),
                st.sampled_from(["true", "vpc", "7", "tcp/22, 10.0.0.0/8", "iptables", "https://h", "web", "'q'"]),
            ),
        )
    )
    def test_what_is_written_means_the_same_when_it_is_read(self, values: dict[str, str]) -> None:
        try:
            meant = settings.parse(values)
        except UsageError:
            return  # never written: values are checked first
        assert settings.parse(settings.read(settings.render(values))) == meant


class TestSecrecy:
    def test_the_token_is_in_no_repr(self) -> None:
        assert TOKEN not in repr(settings.parse({"DO_KEY": TOKEN}))
        assert TOKEN not in str(settings.parse({"DO_KEY": TOKEN}))

    def test_a_token_that_is_none_is_not_quoted_in_the_error(self) -> None:
        with pytest.raises(UsageError) as caught:
            settings.parse({"DO_KEY": TOKEN + " oops"})
        assert TOKEN not in str(caught.value)
