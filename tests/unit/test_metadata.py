"""Asking the metadata service who this Droplet is."""

from __future__ import annotations

import pytest

from droplan_boot.errors import NoAnswerError
from droplan_boot.sources.digitalocean import metadata
from tests.bed.memory.doors import Answer, session
from tests.unit.test_model import document


def test_it_is_read_without_a_token() -> None:
    http, transport = session([Answer(document())])
    assert metadata.fetch(http, "http://169.254.169.254").droplet_id == 2756294
    assert transport.urls == ["http://169.254.169.254/metadata/v1.json"]
    assert "Authorization" not in transport.asked[0].headers


@pytest.mark.parametrize("answer", [Answer(None, 404), Answer(body=b"<html>"), OSError("No route to host")])
def test_elsewhere_than_on_a_droplet_it_says_so(answer: Answer | Exception) -> None:
    http, _ = session(lambda url: answer)
    with pytest.raises(NoAnswerError, match=r"^no metadata: .* droplan runs on DigitalOcean Droplets only$"):
        metadata.fetch(http, "http://169.254.169.254")
