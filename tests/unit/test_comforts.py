"""The manual page and the completions: what was there before them stays, what came with them goes with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from droplan_boot.host.files import Files
from droplan_boot.setup import comforts
from droplan_boot.verbs import install, uninstall
from tests.bed.memory.droplet import MemoryDroplet, made

LOCAL = Path("/usr/local/share")
OWN = LOCAL / "zsh/site-functions"  # as zsh-common makes it, empty


@pytest.fixture
def droplet(files: Files, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> MemoryDroplet:
    """Return a Droplet with zsh, and a droplan that was built with its manual page and completions."""
    share = tmp_path_factory.mktemp("share")
    for name in ("droplan.8", *comforts.COMPLETIONS):
        (share / name).write_text(name)
    monkeypatch.setattr(comforts, "_SHARE", share)
    for path in (OWN, LOCAL / "man"):
        files.directory(path)
    return made(files)


def folders(files: Files) -> set[str]:
    """Return the folders below /usr/local/share."""
    top = files.real(LOCAL)
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_dir()}


def test_folders_that_an_install_made_go_and_others_stay(droplet: MemoryDroplet) -> None:
    before = folders(droplet.files)
    install.run(droplet.host())
    assert folders(droplet.files) > before
    uninstall.run(droplet.host())
    assert folders(droplet.files) == before == {"man", "zsh", "zsh/site-functions"}


def test_a_second_install_forgets_none_of_them(droplet: MemoryDroplet) -> None:
    before = folders(droplet.files)
    install.run(droplet.host())
    droplet.files.remove_tree(LOCAL / "fish")
    install.run(droplet.host())
    uninstall.run(droplet.host())
    assert folders(droplet.files) == before


def test_what_somebody_put_into_one_stays_and_the_folder_with_it(droplet: MemoryDroplet) -> None:
    install.run(droplet.host())
    theirs = LOCAL / "fish/vendor_completions.d/theirs.fish"
    droplet.files.write(theirs, b"", 0o644)
    uninstall.run(droplet.host())
    assert droplet.files.exists(theirs)
    assert not droplet.files.exists(LOCAL / "bash-completion")


def test_where_the_record_was_lost_those_with_only_our_files_are_ours(droplet: MemoryDroplet) -> None:
    install.run(droplet.host())
    theirs = LOCAL / "bash-completion/completions/theirs"
    droplet.files.write(theirs, b"", 0o644)
    droplet.files.remove(comforts._RECORD)
    install.run(droplet.host())
    droplet.files.remove(theirs)
    uninstall.run(droplet.host())
    assert folders(droplet.files) == {"man", "bash-completion", "bash-completion/completions"}


@pytest.mark.parametrize("link", ["man", "share/man"])
def test_a_lost_record_is_written_again_as_it_was_whichever_name_of_the_manuals_is_a_link(
    droplet: MemoryDroplet, link: str
) -> None:
    files, real = droplet.files, {"man": "share/man", "share/man": "man"}[link]
    files.remove_directory(OWN)
    files.remove_directory(OWN.parent)
    files.remove_directory(LOCAL / "man")
    files.directory(LOCAL.parent / real)
    files.real(LOCAL.parent / link).symlink_to(files.real(LOCAL.parent / real))
    install.run(droplet.host())
    record = files.read(comforts._RECORD)
    assert record
    files.remove(comforts._RECORD)
    install.run(droplet.host())
    assert files.read(comforts._RECORD) == record
    uninstall.run(droplet.host())
    assert not any(files.real(LOCAL.parent / real).iterdir())
