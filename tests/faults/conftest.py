"""The lab's fixtures, for the tests of faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed import Lab
from tests.bed.harm import Patient


@pytest.fixture(scope="session")
def _nft_patient() -> Iterator[Patient]:
    with Lab("nft") as lab:
        yield Patient(lab)


@pytest.fixture
def patient(_nft_patient: Patient) -> Patient:
    """A Droplet on which droplan is at work and all is well, for what no variant of iptables changes."""
    _nft_patient.recover()
    return _nft_patient
