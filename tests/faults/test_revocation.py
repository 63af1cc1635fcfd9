"""A peer that is removed is out at the next refresh, its live connections included, whatever writes the rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed import Connection, Lab, fleet, probe
from tests.bed.harm import Patient


@pytest.fixture(scope="module", params=["iptables-nft", "iptables-legacy", "nftables"])
def fleet_of_one(request: pytest.FixtureRequest) -> Iterator[tuple[Patient, dict[str, str]]]:
    with Lab("legacy" if request.param == "iptables-legacy" else "nft") as lab:
        settings = {"DROPLAN_BACKEND": "nftables"} if request.param == "nftables" else {}
        patient = Patient(lab, **settings)
        assert patient.report()["backend"] == request.param
        yield patient, settings


def refreshed(patient: Patient, settings: dict[str, str]) -> None:
    """Run the refresh that is due next; it must know whom the account lists now."""
    patient.come()
    patient.sound(**settings)
    assert patient.report()["peers"] == len(patient.lab.do.droplets) - 1


@pytest.mark.parametrize("among", [0, 500], ids=["among few", "among hundreds"])
def test_a_removed_peer_is_out_and_the_others_notice_nothing(
    fleet_of_one: tuple[Patient, dict[str, str]], among: int
) -> None:
    patient, settings = fleet_of_one
    lab = patient.lab
    leaving, staying = lab.peers
    patient.list_droplets(*lab.peer_droplets, *fleet(among))
    refreshed(patient, settings)
    with Connection(leaving, lab.droplet) as cut, Connection(staying, lab.droplet) as kept:
        assert cut.echoes()
        assert kept.echoes()
        lab.do.remove(lab.peer_droplets[0])
        refreshed(patient, settings)
        assert not cut.echoes(patience=1.5)
        assert kept.echoes()
    assert probe(leaving, lab.droplet, patience=0.7).nothing
    assert probe(staying, lab.droplet).tcp


def test_what_the_droplet_itself_opened_to_a_peer_goes_on(fleet_of_one: tuple[Patient, dict[str, str]]) -> None:
    patient, settings = fleet_of_one
    lab = patient.lab
    patient.list_droplets(*lab.peer_droplets)
    refreshed(patient, settings)
    with Connection(lab.droplet, lab.peers[0]) as opened:
        assert opened.echoes()
        lab.do.remove(lab.peer_droplets[0])
        refreshed(patient, settings)
        assert opened.echoes()
