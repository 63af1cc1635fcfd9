"""What a bootstrap that works hands over to `droplan install`."""

from __future__ import annotations

import pytest

from tests.bed.stage0.droplet import SYSTEM_PYTHON, Machine
from tests.bed.stage0.server import Reply, Server
from tests.stage0.conftest import Release

TOKEN = "dop_v1_" + "0" * 64


def test_every_python_fetches_and_runs_install_with_the_rest_of_the_arguments(
    python: str, machine: Machine, release: Release
) -> None:
    outcome = machine.run(
        python, *release.arguments, "--dry-run", "--tag=web", environment={**release.trust, "DO_KEY": TOKEN}
    )

    assert outcome.installed["arguments"] == ["install", "--dry-run", "--tag=web"]
    assert outcome.installed["environment"]["DO_KEY"] == TOKEN
    assert tuple(outcome.installed["version"]) >= (3, 9)
    assert "/opt/droplan/.bootstrap.lock" not in outcome.installed["files"], "droplan must not hold stage-0's lock"
    assert machine.left_behind == [machine.pyz.name]
    assert machine.pyz.read_bytes() == release.body


def test_the_program_starts_in_a_known_state(machine: Machine, release: Release) -> None:
    names = ("SHIV_ROOT", "SHIV_INTERPRETER", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE")
    planted = dict.fromkeys(names, "/planted")
    machine.mounts.append("umask 0")

    seen = machine.run(
        SYSTEM_PYTHON, *release.arguments, environment={**release.trust, **planted}, wait=True
    ).installed

    assert not planted.keys() & seen["environment"].keys()
    assert seen["environment"]["PATH"] == "/usr/sbin:/usr/bin:/sbin:/bin"
    assert seen["umask"] == 0o022
    assert (seen["isolated"], seen["no_site"]) == (1, 1)
    assert seen["input"] == "/dev/null", "the rest of a piped script must not become the program's input"
    assert seen["python"] == SYSTEM_PYTHON


@pytest.mark.parametrize("umask", ["000", "077"])
def test_the_directory_and_the_file_belong_to_root_alone(umask: str, machine: Machine, release: Release) -> None:
    machine.mounts.append(f"umask {umask}")

    machine.run(SYSTEM_PYTHON, *release.arguments, environment=release.trust)

    assert machine.directory.stat().st_mode & 0o7777 == 0o755
    assert machine.pyz.stat().st_mode & 0o7777 == 0o644
    assert (machine.pyz.stat().st_uid, machine.directory.stat().st_uid) == (0, 0)


def test_a_file_that_is_already_right_is_not_fetched_again(
    machine: Machine, release: Release, server: Server
) -> None:
    for _ in range(2):
        assert machine.run(SYSTEM_PYTHON, *release.arguments, environment=release.trust).installed

    assert server.requests == ["/droplan.pyz"]


def test_a_file_that_others_could_have_written_is_fetched_again(
    machine: Machine, release: Release, server: Server
) -> None:
    machine.run(SYSTEM_PYTHON, *release.arguments, environment=release.trust)
    machine.pyz.chmod(0o666)

    assert machine.run(SYSTEM_PYTHON, *release.arguments, environment=release.trust).installed

    assert len(server.requests) == 2
    assert machine.pyz.stat().st_mode & 0o7777 == 0o644


def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(machine: Machine, release: Release) -> None:
    precious = machine.opt / "precious"
    precious.write_bytes(release.body)
    machine.directory.mkdir()
    machine.pyz.symlink_to("../precious")
    (machine.directory / (machine.pyz.name + ".part")).symlink_to("../precious")

    assert machine.run(SYSTEM_PYTHON, *release.arguments, environment=release.trust).installed

    assert not machine.pyz.is_symlink()
    assert precious.read_bytes() == release.body
    assert machine.left_behind == [machine.pyz.name]


def test_redirects_are_followed_as_long_as_they_stay_encrypted(
    python: str, machine: Machine, release: Release, server: Server
) -> None:
    permanent = server.offer("/old", Reply(status=308, headers=(("Location", "/droplan.pyz"),)))
    found = server.offer("/latest", Reply(status=302, headers=(("Location", permanent),)))

    outcome = machine.run(python, "--url", found, "--sha256", release.sha256, environment=release.trust)

    assert outcome.installed
    assert server.requests == ["/latest", "/old", "/droplan.pyz"]


def test_a_server_that_is_busy_is_asked_again_after_growing_waits(
    python: str, machine: Machine, release: Release, server: Server
) -> None:
    server.offer("/droplan.pyz", Reply(status=503), Reply(status=429), Reply(release.body))

    outcome = machine.run(python, *release.arguments, environment=release.trust)

    assert outcome.installed
    assert machine.waited == [1, 2]


def test_a_body_that_was_cut_short_is_fetched_again(
    python: str, machine: Machine, release: Release, server: Server
) -> None:
    cut = Reply(release.body[:1000], declared=len(release.body))
    server.offer("/droplan.pyz", cut, Reply(release.body))

    assert machine.run(python, *release.arguments, environment=release.trust).installed


def test_a_signed_address_is_not_written_to_the_log(machine: Machine, release: Release) -> None:
    outcome = machine.run(
        *(SYSTEM_PYTHON, "--url", release.url + "?X-Amz-Signature=abc", "--sha256", release.sha256),
        environment=release.trust,
    )

    assert outcome.installed
    assert "Signature" not in outcome.stderr
