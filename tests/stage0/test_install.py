"""What a bootstrap that works hands over to `droplan install`."""

from __future__ import annotations

import pytest

from tests.bed.stage0.droplet import SYSTEM_PYTHON, Stage0Droplet
from tests.bed.stage0.server import LoopbackServer, Reply
from tests.stage0.conftest import Published

TOKEN = "dop_v1_" + "0" * 64


def test_every_python_fetches_and_runs_install_with_the_rest_of_the_arguments(
    python: str, droplet: Stage0Droplet, published: Published
) -> None:
    outcome = droplet.run(
        python, *published.arguments, "--dry-run", "--tag=web", environment={**published.trust, "DO_KEY": TOKEN}
    )

    assert outcome.installed["arguments"] == ["install", "--dry-run", "--tag=web"]
    assert outcome.installed["environment"]["DO_KEY"] == TOKEN
    assert tuple(outcome.installed["version"]) >= (3, 9)
    assert "/opt/droplan/.bootstrap.lock" not in outcome.installed["files"], "droplan must not hold stage-0's lock"
    assert droplet.left_behind == [droplet.pyz.name]
    assert droplet.pyz.read_bytes() == published.body


def test_the_program_starts_in_a_known_state(droplet: Stage0Droplet, published: Published) -> None:
    names = ("SHIV_ROOT", "SHIV_INTERPRETER", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE")
    planted = dict.fromkeys(names, "/planted")
    droplet.mounts.append("umask 0")

    seen = droplet.run(
        SYSTEM_PYTHON, *published.arguments, environment={**published.trust, **planted}, wait=True
    ).installed

    assert not planted.keys() & seen["environment"].keys()
    assert seen["environment"]["PATH"] == "/usr/sbin:/usr/bin:/sbin:/bin"
    assert seen["umask"] == 0o022
    assert (seen["isolated"], seen["no_site"]) == (1, 1)
    assert seen["input"] == "/dev/null", "the rest of a piped script must not become the program's input"
    assert seen["python"] == SYSTEM_PYTHON


@pytest.mark.parametrize("umask", ["000", "077"])
def test_the_directory_and_the_file_belong_to_root_alone(
    umask: str, droplet: Stage0Droplet, published: Published
) -> None:
    droplet.mounts.append(f"umask {umask}")

    droplet.run(SYSTEM_PYTHON, *published.arguments, environment=published.trust)

    assert droplet.directory.stat().st_mode & 0o7777 == 0o755
    assert droplet.pyz.stat().st_mode & 0o7777 == 0o644
    assert (droplet.pyz.stat().st_uid, droplet.directory.stat().st_uid) == (0, 0)


def test_a_file_that_is_already_right_is_not_fetched_again(
    droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    for _ in range(2):
        assert droplet.run(SYSTEM_PYTHON, *published.arguments, environment=published.trust).installed

    assert server.requests == ["/droplan.pyz"]


def test_a_file_that_others_could_have_written_is_fetched_again(
    droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    droplet.run(SYSTEM_PYTHON, *published.arguments, environment=published.trust)
    droplet.pyz.chmod(0o666)

    assert droplet.run(SYSTEM_PYTHON, *published.arguments, environment=published.trust).installed

    assert len(server.requests) == 2
    assert droplet.pyz.stat().st_mode & 0o7777 == 0o644


def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(
    droplet: Stage0Droplet, published: Published
) -> None:
    precious = droplet.opt / "precious"
    precious.write_bytes(published.body)
    droplet.directory.mkdir()
    droplet.pyz.symlink_to("../precious")
    (droplet.directory / (droplet.pyz.name + ".part")).symlink_to("../precious")

    assert droplet.run(SYSTEM_PYTHON, *published.arguments, environment=published.trust).installed

    assert not droplet.pyz.is_symlink()
    assert precious.read_bytes() == published.body
    assert droplet.left_behind == [droplet.pyz.name]


def test_redirects_are_followed_as_long_as_they_stay_encrypted(
    python: str, droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    permanent = server.offer("/old", Reply(status=308, headers=(("Location", "/droplan.pyz"),)))
    found = server.offer("/latest", Reply(status=302, headers=(("Location", permanent),)))

    outcome = droplet.run(python, "--url", found, "--sha256", published.sha256, environment=published.trust)

    assert outcome.installed
    assert server.requests == ["/latest", "/old", "/droplan.pyz"]


def test_a_server_that_is_busy_is_asked_again_after_growing_waits(
    python: str, droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    server.offer("/droplan.pyz", Reply(status=503), Reply(status=429), Reply(published.body))

    outcome = droplet.run(python, *published.arguments, environment=published.trust)

    assert outcome.installed
    assert droplet.waited == [1, 2]


def test_a_body_that_was_cut_short_is_fetched_again(
    python: str, droplet: Stage0Droplet, published: Published, server: LoopbackServer
) -> None:
    cut = Reply(published.body[:1000], declared=len(published.body))
    server.offer("/droplan.pyz", cut, Reply(published.body))

    assert droplet.run(python, *published.arguments, environment=published.trust).installed


def test_a_signed_address_is_not_written_to_the_log(droplet: Stage0Droplet, published: Published) -> None:
    outcome = droplet.run(
        *(SYSTEM_PYTHON, "--url", published.url + "?X-Amz-Signature=abc", "--sha256", published.sha256),
        environment=published.trust,
    )

    assert outcome.installed
    assert "Signature" not in outcome.stderr
