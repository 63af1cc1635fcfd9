"""From `terraform apply` to a closed interface: the whole way, as one story an example."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from tests.bed.booted.container import poll
from tests.bed.booted.fleet import ONE_INTERVAL, Fleet, ThreeTiers, knock_all
from tests.bed.booted.probe import CLOSED, PEERS_ONLY, Knocking, greets
from tests.bed.booted.region import Region
from tests.bed.hosts import Host
from tests.bed.reach import Echo, answers_to

PATIENCE = 3.0


def test_terraform_makes_a_fleet_that_only_its_droplets_reach(roots: None, pyz: bytes) -> None:
    with Region() as region, Fleet(region, pyz) as fleet:
        stranger = region.stranger

        # Two Droplets, and what Terraform gave them is all they know.
        one, two = fleet.apply(2)
        for droplet in (one, two):
            report = droplet.wait_cloud_init()
            assert (report["status"], report["errors"]) == ("done", [])
        assert set(knock_all([one, two], [one, two]).values()) == {PEERS_ONLY}
        assert set(knock_all([stranger], [one, two]).values()) == {CLOSED}

        # A third one is accepted by those that run already.
        (three,) = fleet.apply(3)
        assert three.wait_cloud_init()["status"] == "done"
        everyone = [one, two, three]
        poll(
            lambda: set(knock_all(everyone, everyone).values()) == {PEERS_ONLY},
            ONE_INTERVAL,
            lambda: f"the third is not let in: {knock_all(everyone, everyone)}",
        )
        assert set(knock_all([stranger], everyone).values()) == {CLOSED}

        # It is removed; here it runs on, as whoever is given its address next.
        assert fleet.apply(2) == []
        poll(
            lambda: set(knock_all([three], [one, two]).values()) == {CLOSED},
            ONE_INTERVAL,
            lambda: f"the removed one is not shut out: {knock_all([three], [one, two])}",
        )
        assert set(knock_all([one, two], [one, two]).values()) == {PEERS_ONLY}

        # A reboot opens the door to nobody, not even for a moment.
        with Knocking(stranger, one) as first, Knocking(three, one) as second, Knocking(two, one) as peer:
            one.reboot()
            assert one.wait_cloud_init()["errors"] == []
            poll(lambda: peer.answered > 20, 60, lambda: "a peer stays out after the reboot")
        for knocking in (first, second):
            assert knocking.sent > 100
            assert (knocking.answered, knocking.answered6) == (0, 0)

        # Terraform has what it wanted, and keeps no token.
        assert fleet.is_settled(2)
        assert region.token in one.path("/etc/droplan/droplan.env").read_text()
        assert region.token not in fleet.printed
        written = [path for path in fleet.folder.rglob("*") if path.is_file()]
        assert fleet.folder / "terraform.log" in written
        assert [path for path in written if region.token.encode() in path.read_bytes()] == []


def test_each_tier_reaches_of_the_others_what_their_entries_open_to_its_tag(roots: None, pyz: bytes) -> None:
    with Region() as region, contextlib.closing(Echo()) as echo, ThreeTiers(region, pyz) as fleet:
        tiers = fleet.apply(3)
        for droplet in tiers:
            report = droplet.wait_cloud_init()
            assert (report["status"], report["errors"]) == ("done", [])
            for port in (5432, 8080):
                echo.listen(droplet, port)

        def settles_at(expected: dict[tuple[str, str], set[str]]) -> None:
            poll(
                lambda: reached([region.stranger, *tiers], tiers) == expected,
                ONE_INTERVAL,
                lambda: f"who reaches what: {reached([region.stranger, *tiers], tiers)}",
            )

        # Who has booted first did not yet see the others.
        settles_at(
            {
                ("shop-web", "shop-db"): {"tcp/5432"},
                ("shop-bastion", "shop-db"): {"tcp/22"},
                ("shop-bastion", "shop-web"): {"tcp/22"},
            }
        )

        # Its tag is all that makes a web server of a Droplet.
        listed = region.do.droplets
        for each in listed:
            each["tags"] = ["bastion"] if each["name"] == "shop-web" else each["tags"]
        region.do.set_droplets(listed)
        settles_at(
            {
                ("shop-web", "shop-db"): {"tcp/22"},
                ("shop-bastion", "shop-db"): {"tcp/22"},
                ("shop-bastion", "shop-web"): {"tcp/22"},
            }
        )


def reached(sources: Iterable[Host], targets: Iterable[Host]) -> dict[tuple[str, str], set[str]]:
    """Try five ways to everybody from everybody else; return those that are open, by who tried it on whom."""

    def is_open(source: Host, target: Host, way: str) -> bool:
        if way == "tcp/22":
            return greets(source, target, PATIENCE)
        protocol, _, port = way.partition("/")
        return answers_to(source, (target.address, int(port or 0)), protocol, PATIENCE)

    ways = ("tcp/22", "tcp/5432", "udp/5432", "tcp/8080", "icmp")
    pairs = [(source, target) for source in sources for target in list(targets) if source is not target]
    asked = [(*pair, way) for pair in pairs for way in ways]
    found: dict[tuple[str, str], set[str]] = {}
    with ThreadPoolExecutor(len(asked)) as pool:
        for (source, target, way), answered in zip(asked, pool.map(lambda each: is_open(*each), asked)):
            if answered:
                found.setdefault((source.name, target.name), set()).add(way)
    return found
