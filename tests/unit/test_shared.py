"""A fleet's shared source: what is signed, and what is believed."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path

import pytest

from droplan_boot.access import peers
from droplan_boot.errors import NoAnswerError, UsageError
from droplan_boot.flow import polling
from droplan_boot.host import openssl
from droplan_boot.host.files import Files
from droplan_boot.sources.digitalocean.model import ipv4
from droplan_boot.sources.listing import Droplet, Listing
from droplan_boot.sources.own import Metadata
from droplan_boot.sources.shared import base, head, store
from droplan_boot.sources.shared.base import Fleet
from droplan_boot.sources.shared.head import Base, NotBelievedError
from droplan_boot.sources.shared.member import Seen
from droplan_boot.state import budget, shared
from tests.bed.memory.heads import FLEET, NOW, RUNNER, a_head, signed


def droplet(number: int, private: str = "10.132.0.9", **changes: object) -> Droplet:
    one = Droplet(number, f"web-{number}", "nyc3", ("web",), "vpc-1", (ipv4(private),), (ipv4("104.236.32.9"),))
    return dataclasses.replace(one, **changes)  # type: ignore[arg-type]


class TestBase:
    def test_a_fleet_comes_back_as_it_was_written(self) -> None:
        fleet = Fleet({1: droplet(1), 2: droplet(2, tags=None, vpc=None, public=())}, (("vpc-1", "vpc-2"),))
        assert base.decode(base.encode(fleet)) == fleet

    def test_the_same_fleet_gives_the_same_bytes_in_whichever_order_it_was_learned(self) -> None:
        one, two = droplet(1), droplet(2)
        assert base.encode(Fleet({1: one, 2: two})) == base.encode(Fleet({2: two, 1: one}))

    def test_changes_lead_from_one_fleet_to_the_other(self) -> None:
        before = Fleet({1: droplet(1), 2: droplet(2), 3: droplet(3)})
        now = Fleet({1: droplet(1), 2: droplet(2, "10.132.0.77"), 4: droplet(4)})
        rows = base.changes(before, now)
        assert len(rows) == 3
        assert base.changed(before, json.loads(json.dumps(rows))) == now

    @pytest.mark.parametrize(
        "address",
        ["0.0.0.0", "127.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255", "10.0.0.0/8", "1", "::1"],
    )
    def test_an_address_that_no_droplet_can_have_is_refused_from_the_base_and_from_the_changes(
        self, address: str
    ) -> None:
        row = base.row(droplet(1))
        row[5] = [address]
        with pytest.raises(NoAnswerError, match="the fleet's list is malformed"):
            base.changed(Fleet(), [row])
        value = {"schema": 1, "droplets": [row], "peerings": []}
        with pytest.raises(NoAnswerError, match="the fleet's list is malformed"):
            base.decode(gzip.compress(json.dumps(value).encode()))

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"no gzip",
            gzip.compress(b"no JSON", mtime=0),
            gzip.compress(b"[]", mtime=0),
            gzip.compress(b'{"schema":2,"droplets":[],"peerings":[]}', mtime=0),
            gzip.compress(b'{"schema":1,"droplets":[[1]],"peerings":[]}', mtime=0),
            gzip.compress(b'{"schema":1,"droplets":[[0,"n","nyc3",[],"v",[],[]]],"peerings":[]}', mtime=0),
            gzip.compress(b'{"schema":1,"droplets":[[1,"n","nyc3",{"a":1},"v",[],[]]],"peerings":[]}', mtime=0),
            gzip.compress(b'{"schema":1,"droplets":[],"peerings":[["a"]]}', mtime=0),
            base.encode(Fleet({1: droplet(1)}))[:-9],
            gzip.compress(b" " * (65 << 20), mtime=0),
        ],
    )
    def test_anything_else_is_no_answer(self, data: bytes) -> None:
        with pytest.raises(NoAnswerError, match="the fleet's list is malformed"):
            base.decode(data)


class TestHead:
    def test_what_the_fleets_key_signed_is_believed(self, key: tuple[Path, str]) -> None:
        found = head.verified(RUNNER, signed(key), [key[1]], FLEET)
        assert found == a_head(key[1])
        head.check(found, NOW, NOW)

    def test_of_two_trusted_keys_either_will_do(self, key: tuple[Path, str]) -> None:
        other = openssl.public_key(RUNNER, openssl.make_key(RUNNER))
        assert head.verified(RUNNER, signed(key), [other, key[1]], FLEET)

    def test_another_key_is_refused_even_if_it_claims_to_be_ours(self, key: tuple[Path, str], tmp_path: Path) -> None:
        private = openssl.make_key(RUNNER)
        (tmp_path / "forger").write_text(private)
        forger = (tmp_path / "forger", openssl.public_key(RUNNER, private))
        with pytest.raises(NotBelievedError, match="a key that is not trusted here"):
            head.verified(RUNNER, signed(forger), [key[1]], FLEET)
        with pytest.raises(NotBelievedError, match="its signature is wrong"):
            head.verified(RUNNER, signed(forger, key=head.key_id(key[1])), [key[1]], FLEET)

    @pytest.mark.parametrize("position", range(0, 400, 23))
    def test_one_bit_changed_anywhere_is_refused(self, key: tuple[Path, str], position: int) -> None:
        data = bytearray(signed(key))
        data[position] ^= 1
        with pytest.raises(NotBelievedError):
            head.verified(RUNNER, bytes(data), [key[1]], FLEET)

    @pytest.mark.parametrize("length", [0, 1, 100, -1, -2, -40])
    def test_one_that_is_cut_off_is_refused(self, key: tuple[Path, str], length: int) -> None:
        with pytest.raises(NotBelievedError):
            head.verified(RUNNER, signed(key)[:length], [key[1]], FLEET)

    def test_the_head_of_another_fleet_is_refused(self, key: tuple[Path, str]) -> None:
        with pytest.raises(NotBelievedError, match="the head of another fleet"):
            head.verified(RUNNER, signed(key, fleet=FLEET + "-test"), [key[1]], FLEET)

    @pytest.mark.parametrize(
        "changes",
        [
            {"version": 0},
            {"version": 1 << 62},
            {"expires": NOW - 10 + head.LIFETIME_S + 1},
            {"interval": 1},
            {"interval": 86400},
            {"base": Base("head", "0" * 64)},
            {"base": Base("base/../head", "../head")},
        ],
    )
    def test_a_signed_head_that_makes_no_sense_is_refused(
        self, key: tuple[Path, str], changes: dict[str, object]
    ) -> None:
        with pytest.raises(NotBelievedError):
            head.verified(RUNNER, signed(key, **changes), [key[1]], FLEET)

    def test_an_older_version_than_was_seen_is_refused(self, key: tuple[Path, str]) -> None:
        with pytest.raises(NotBelievedError, match="older than"):
            head.check(a_head(key[1]), NOW, NOW + 1)

    def test_one_that_has_expired_is_refused_at_that_second(self, key: tuple[Path, str]) -> None:
        made = a_head(key[1])
        head.check(made, made.expires - 1, None)
        with pytest.raises(NotBelievedError, match="it expired 0 s ago"):
            head.check(made, made.expires, None)

    def test_a_clock_that_is_20_minutes_slow_is_said(self, key: tuple[Path, str]) -> None:
        with pytest.raises(NotBelievedError, match="set this machine's clock"):
            head.check(a_head(key[1]), NOW - 1200, None)

    @pytest.mark.parametrize("data", [b"", b"\xff\n", b"[]\n", b'{"version":"7"}\n', b'{"version":-1}\n'])
    def test_the_version_of_rubbish_is_0(self, data: bytes) -> None:
        assert head.claimed_version(data) == 0

    def test_nobody_can_use_the_versions_up(self) -> None:
        assert head.claimed_version(b'{"version":%d}\n' % ((1 << 62) - 1)) == (1 << 62) - 1
        assert head.claimed_version(b'{"version":%d}\n' % (1 << 62)) == 0


class TestKeys:
    def test_a_public_key_is_one_line_without_comma_or_blank(self, key: tuple[Path, str]) -> None:
        assert key[1].isascii()
        assert not set(key[1]) & set(" ,\n:")
        assert openssl.is_public_key(key[1])

    @pytest.mark.parametrize("line", ["", "x", "AAAA", "MFkw" + "A" * 120])
    def test_anything_else_is_none(self, line: str) -> None:
        assert not openssl.is_public_key(line)

    def test_a_signature_is_of_one_text_and_one_key(self, key: tuple[Path, str]) -> None:
        signature = openssl.sign(RUNNER, key[0], "text")
        assert openssl.verify(RUNNER, key[1], signature, "text")
        assert not openssl.verify(RUNNER, key[1], signature, "text ")
        assert not openssl.verify(RUNNER, key[1], "", "text")
        assert not openssl.verify(RUNNER, key[1], "no base64!", "text")


class TestRegion:
    @pytest.mark.parametrize(
        ("host", "region"),
        [
            ("nyc3.digitaloceanspaces.com", "nyc3"),
            ("bucket.ams3.digitaloceanspaces.com", "ams3"),
            ("s3.eu-west-1.amazonaws.com", "eu-west-1"),
            ("bucket.s3.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("bucket.s3.dualstack.ap-southeast-2.amazonaws.com", "ap-southeast-2"),
            ("bucket.s3.amazonaws.com", "us-east-1"),
            ("ceph.example.org:8443", "us-east-1"),
        ],
    )
    def test_it_is_taken_from_the_hosts_name(self, host: str, region: str) -> None:
        assert store.region(host) == region


class TestOwnDroplet:
    METADATA = Metadata(7, "nyc3", (), ())

    def test_one_that_is_not_listed_yet_takes_the_peers_it_reads(self) -> None:
        listing = Listing((droplet(1),), (), NOW, vouched=True)
        found = peers.select(self.METADATA, listing, scope="region")
        assert [str(address) for address in found.private] == ["10.132.0.9"]
        assert not found.listed

    def test_a_listing_that_nobody_vouches_for_is_another_accounts(self) -> None:
        with pytest.raises(NoAnswerError, match="has no Droplet 7"):
            peers.select(self.METADATA, Listing((droplet(1),), (), NOW), scope="region")

    def test_its_vpc_is_not_guessed(self) -> None:
        listing = Listing((droplet(1),), (), NOW, vouched=True)
        with pytest.raises(NoAnswerError, match="not listed yet"):
            peers.select(self.METADATA, listing, scope="vpc")


class TestStatus:
    SEEN = Seen(FLEET, 7, NOW, NOW + 1200, 30, "pub-1", "0" * 64, 1, True)

    def test_what_is_fresh_is_no_fault(self, files: Files) -> None:
        shared.Kept(files).keep(self.SEEN)
        assert list(shared.blind(files, FLEET, NOW + 1199)) == []

    def test_what_has_expired_is_told_with_its_age(self, files: Files) -> None:
        shared.Kept(files).keep(self.SEEN)
        assert "is of version 7 and 20 min old" in next(shared.blind(files, FLEET, NOW + 1200))

    def test_a_refresh_that_failed_is_told_at_once_with_what_the_rules_are_of(self, files: Files) -> None:
        shared.Kept(files).keep(self.SEEN)
        assert "of version 7, 2 min old" in next(shared.blind(files, FLEET, NOW + 120, failed=True))

    def test_nothing_believed_yet_is_told(self, files: Files) -> None:
        assert "nothing of the fleet" in next(shared.blind(files, FLEET, NOW))

    def test_not_being_listed_is_told(self, files: Files) -> None:
        shared.Kept(files).keep(dataclasses.replace(self.SEEN, listed=False))
        assert "not in the fleet's list yet" in next(shared.blind(files, FLEET, NOW))

    def test_another_fleets_version_does_not_count(self, files: Files) -> None:
        shared.Kept(files).keep(self.SEEN)
        assert shared.Kept(files).seen(FLEET + "-2") is None
        assert shared.Kept(files).seen(FLEET) == self.SEEN


class TestPhase:
    def test_neighbouring_numbers_are_spread_over_the_interval(self) -> None:
        shares = sorted(budget.share(500_000_000 + n) for n in range(1000))
        assert max(b - a for a, b in zip(shares, shares[1:])) < 0.01

    @pytest.mark.parametrize("interval", [5, 30, 300])
    def test_each_moment_comes_once_an_interval(self, interval: int) -> None:
        now, share = float(NOW), budget.share(12345)
        first = now + polling.pause(now, interval, share)
        second = first + polling.pause(first, interval, share)
        assert second - first == pytest.approx(interval, abs=1e-3)


def test_half_a_setting_is_refused() -> None:
    from droplan_boot import settings

    with pytest.raises(UsageError, match="DROPLAN_SHARED_KEY is not: set it as well"):
        settings.parse({"DROPLAN_SHARED": FLEET})
