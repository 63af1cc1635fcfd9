"""The publisher's unit: there where publish.env is, and nowhere else."""

from __future__ import annotations

from droplan_boot import paths
from droplan_boot.host.files import Files
from droplan_boot.setup import publishing
from droplan_boot.verbs import install, uninstall
from tests.bed.memory.droplet import made


def test_a_droplet_with_publish_env_publishes_from_now_on_and_after_a_reboot(files: Files) -> None:
    files.write(paths.PUBLISH, b"DO_KEY=x\n", 0o600)
    droplet = made(files)
    install.run(droplet.host())
    assert files.read(publishing.UNIT.path) == publishing.UNIT.text.encode()
    assert publishing.UNIT.name in droplet.enabled
    assert ("systemctl", "restart", publishing.UNIT.name) in droplet.ran


def test_any_other_has_no_such_unit(files: Files) -> None:
    install.run(made(files).host())
    assert not files.exists(publishing.UNIT.path)


def test_without_publish_env_it_is_taken_away_again(files: Files) -> None:
    files.write(paths.PUBLISH, b"DO_KEY=x\n", 0o600)
    droplet = made(files)
    install.run(droplet.host())
    files.remove(paths.PUBLISH)
    install.run(droplet.host())
    assert not files.exists(publishing.UNIT.path)


def test_uninstall_takes_it_away_and_keeps_what_the_user_wrote(files: Files) -> None:
    files.write(paths.PUBLISH, b"DO_KEY=x\n", 0o600)
    droplet = made(files)
    install.run(droplet.host())
    uninstall.run(droplet.host())
    assert not files.exists(publishing.UNIT.path)
    assert files.read(paths.PUBLISH) == b"DO_KEY=x\n"
