"""A newer program over an older one, and the other way round: settings stay, the firewall is closed throughout."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from tests.bed import Flows, probe
from tests.bed.installed import InstalledLab
from tests.bed.program import ARCHIVE, DOWNLOADED, SETTINGS, succeeded

OLDER = "0.9.0"
VERSION = "site-packages/droplan_boot/__init__.py"


def older() -> bytes:
    """Return the zipapp as an earlier version of it: with another number, and so another build."""
    shebang, _, packed = ARCHIVE.read_bytes().partition(b"\n")
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        build = json.loads(source.read("environment.json"))["build_id"]
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename == VERSION:
                before, data = data, data.replace(b'__version__ = "', b'__version__ = "0.9.0"  # "')
                assert data != before
            if entry.filename in ("__main__.py", "environment.json"):
                data = data.replace(build.encode(), build[::-1].encode())
            target.writestr(entry, data)
    return shebang + b"\n" + made.getvalue()


def version(installed: InstalledLab) -> str:
    return succeeded(installed.program.run("--version")).stdout.split()[1]


@pytest.fixture
def outdated(installed: InstalledLab) -> InstalledLab:
    """A Droplet on which an older version is installed, with settings; the current one is downloaded."""
    download = installed.droplet.path(DOWNLOADED)
    download.write_bytes(older())
    installed.install(DROPLAN_ALLOW="tcp/22@192.0.2.0/24")
    assert version(installed) == OLDER
    download.write_bytes(ARCHIVE.read_bytes())
    return installed


def test_an_upgrade_keeps_settings_and_loses_and_admits_no_packet(outdated: InstalledLab) -> None:
    lab = outdated.lab
    settings = outdated.program.read(SETTINGS)
    assert "DROPLAN_ALLOW=tcp/22@192.0.2.0/24\n" in settings
    with Flows(lab.peers[0], lab.droplet, rate=500) as peer, Flows(lab.stranger, lab.droplet, rate=500) as stranger:
        succeeded(outdated.program.download("install"))  # the token is in the settings
    assert (peer.lost, stranger.received) == (0, 0)
    assert peer.sent > 50
    assert stranger.sent > 50
    assert probe(lab.stranger, lab.droplet, patience=0.7).nothing
    assert version(outdated) != OLDER
    assert outdated.program.read(SETTINGS) == settings
    outdated.install(DROPLAN_ALLOW="")
    assert outdated.wrong() == {}, "nothing of the older version is left"


def test_a_downgrade_does_too(outdated: InstalledLab) -> None:
    lab = outdated.lab
    outdated.install()
    outdated.droplet.path(DOWNLOADED).write_bytes(older())
    with Flows(lab.peers[0], lab.droplet, rate=500) as peer, Flows(lab.stranger, lab.droplet, rate=500) as stranger:
        succeeded(outdated.program.download("install"))
    assert (peer.lost, stranger.received) == (0, 0)
    assert version(outdated) == OLDER
    assert "DROPLAN_ALLOW=tcp/22@192.0.2.0/24\n" in outdated.program.read(SETTINGS)
    outdated.droplet.path(DOWNLOADED).write_bytes(ARCHIVE.read_bytes())
    outdated.install(DROPLAN_ALLOW="")
    assert outdated.wrong() == {}


def test_an_upgrade_that_is_killed_leaves_one_of_the_two_whole(nft: InstalledLab) -> None:
    download = nft.droplet.path(DOWNLOADED)
    for unpacked, step in ((False, ("rename", 1)), (True, ("rename", 2))):  # while it unpacks itself, and after
        download.write_bytes(older())
        nft.install()
        download.write_bytes(ARCHIVE.read_bytes())
        if unpacked:
            succeeded(nft.program.download("--version"))
        nft.killed(step, "install")
        assert version(nft) == OLDER
        nft.scheduled()
        nft.install()
        assert nft.wrong() == {}, step
