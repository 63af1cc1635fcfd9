"""A dry run says the same steps as the real one, and touches nothing."""

from __future__ import annotations

import re

from tests.bed import Lab
from tests.bed.installed import InstalledLab
from tests.bed.picture import picture
from tests.bed.program import CRON, SAVED, SETTINGS, Done, Program, commits, succeeded

STEP = re.compile(
    r"^\S+ \S+ (.+): ((?:would be (?:created|fixed|installed|tried).*|created|fixed.*|installed.*|unchanged))$",
    re.MULTILINE,
)


def steps(done: Done) -> dict[str, str]:
    """Return the steps that a run said, and how each was found."""
    return dict(STEP.findall(done.stdout))


def test_on_a_fresh_machine_nothing_is_touched_not_even_the_package_lists() -> None:
    with Lab() as lab:
        program = Program(lab)
        succeeded(program.download("install", "--dry-run", DO_KEY=lab.token))  # unpacks itself
        for lists in ("fetched", "never fetched"):
            if lists == "fetched":
                lab.droplet.run(["apt-get", "update"])
            else:
                lab.droplet.run(["sh", "-c", "rm -r /var/lib/apt/lists/*"])
            lab.droplet.run(["sh", "-c", "rm -f /var/cache/apt/*.bin"])
            before, written = picture(lab, exact=True), commits(lab.droplet)
            foretold = steps(succeeded(program.download("install", "--dry-run", DO_KEY=lab.token)))
            assert picture(lab, exact=True) == before
            assert commits(lab.droplet) == written
            assert foretold[f"settings {SETTINGS}"] == "would be created"
        real = steps(succeeded(program.download("install", DO_KEY=lab.token)))
        assert list(foretold) == list(real)


def test_on_a_broken_machine_it_says_what_would_be_mended(installed: InstalledLab) -> None:
    installed.sh(f"rm {CRON}; chmod 600 /opt/droplan/refresh.sh; rm {SAVED[4]}")
    installed.program.edit("-F INPUT")
    before = installed.state(exact=True)
    done = succeeded(installed.program.download("install", "--dry-run", DO_KEY=installed.lab.token))
    assert installed.state(exact=True) == before
    foretold = steps(done)
    assert foretold[f"schedule {CRON}"] == "would be created"
    assert foretold["refresh script /opt/droplan/refresh.sh"] == "would be fixed (was mode 0600)"
    real = steps(installed.install())
    assert list(foretold) == list(real)
    assert installed.wrong() == {}


def test_a_setting_is_shown_to_differ_and_not_kept(nft: InstalledLab) -> None:
    done = succeeded(nft.program.run("install", "--dry-run", DO_TAG="web"))
    assert steps(done)[f"settings {SETTINGS}"] == "would be fixed (was altered)"
    assert nft.wrong() == {}
