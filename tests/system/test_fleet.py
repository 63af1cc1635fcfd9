"""From `terraform apply` to a closed interface: the whole way, as one story."""

from __future__ import annotations

from tests.bed.booted.container import poll
from tests.bed.booted.fleet import ONE_INTERVAL, Fleet, knock_all
from tests.bed.booted.probe import CLOSED, PEERS_ONLY, Knocking
from tests.bed.booted.region import Region


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
