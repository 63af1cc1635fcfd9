"""Settings are kept from one installation to the next, until one is given anew or emptied."""

from __future__ import annotations

from tests.bed.installed import InstalledLab
from tests.bed.program import CRON, SETTINGS

GIVEN = {
    "DO_TAG": "web",
    "PUBLIC": "true",
    "DROPLAN_SCOPE": "vpc",
    "DROPLAN_ALLOW": "192.0.2.0/24, tcp/22",
    "DROPLAN_BACKEND": "iptables",
    "DROPLAN_INTERVAL": "15",
    "DROPLAN_FAIL_CLOSED": "true",
    "DROPLAN_LOCK_METADATA": "true",
}


def stored(installed: InstalledLab) -> dict[str, str]:
    """Return what the settings file holds, without the token."""
    lines = [line for line in installed.program.read(SETTINGS).splitlines() if not line.startswith("#")]
    values = dict(line.split("=", 1) for line in lines)
    assert values.pop("DO_KEY") == installed.lab.token
    return values


def test_all_are_kept_one_is_replaced_and_empty_ones_go_back_to_their_defaults(nft: InstalledLab) -> None:
    nft.install(**GIVEN)
    assert stored(nft) == GIVEN
    given = nft.state()
    assert "-59/15 " in nft.program.read(CRON)
    assert ":droplan-peers-public " in given["iptables"]

    nft.install()
    assert nft.state() == given

    nft.install("--force", DO_TAG="db")  # which nobody carries
    assert stored(nft) == {**GIVEN, "DO_TAG": "db"}

    nft.install(**dict.fromkeys(GIVEN, ""))
    assert stored(nft) == {}
    assert nft.wrong() == {}


def test_the_token_goes_by_three_names_and_is_stored_under_one(nft: InstalledLab) -> None:
    before = nft.program.read(SETTINGS)
    for name in ("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN"):
        nft.sh(f"rm {SETTINGS}")
        assert nft.program.download("install", **{name: nft.lab.token}).returncode == 0
        assert nft.program.read(SETTINGS) == before
    assert nft.wrong() == {}


def test_settings_that_a_person_wrote_by_hand_count(nft: InstalledLab) -> None:
    nft.sh(f"""printf "export DO_TAG='web'\\n\\n# a comment\\nDO_KEY={nft.lab.token}\\n" > {SETTINGS}""")
    assert nft.program.download("install").returncode == 0
    assert stored(nft) == {"DO_TAG": "web"}
    nft.install(DO_TAG="")
    assert nft.wrong() == {}
