"""A refresh that is told what the one before was told decides nothing anew; whatever differs has all of it read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from droplan_boot import paths
from droplan_boot.flow import learn
from droplan_boot.host.files import Files
from droplan_boot.sources.digitalocean import model
from droplan_boot.state import snapshot
from droplan_boot.verbs import install, refresh
from tests.bed.memory.doors import Clock, Host
from tests.bed.memory.droplet import MemoryDroplet, made

PEERS = ("10.132.0.2", "10.132.0.3")


@pytest.fixture
def droplet(files: Files) -> MemoryDroplet:
    """Return one that was refreshed twice, and told the same."""
    droplet = made(files)
    install.run(droplet.host())
    refresh.run(droplet.host())
    return droplet


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return the Droplets that are read from an answer from now on."""
    found: list[object] = []
    real = model.droplet
    monkeypatch.setattr(model, "droplet", lambda value: found.append(value) or real(value))  # type: ignore[func-returns-value]
    return found


def kept(droplet: MemoryDroplet) -> tuple[str, ...]:
    """Tell who may come in, as a boot would have it."""
    found = snapshot.load(droplet.files)
    assert found
    assert [str(one) for peer in found.peers for one in peer.private] == [
        str(one) for one in found.policy.segments[0].peers
    ]
    return tuple(str(one) for one in found.policy.segments[0].peers)


def later(droplet: MemoryDroplet, **environ: str) -> Host:
    """Return it a good while after now."""
    return replace(droplet.host(scheduled=False, **environ), clock=Clock(2_000_000_000.0))


def test_what_is_said_again_is_not_read_again_and_counts_as_an_answer(
    droplet: MemoryDroplet, read: list[object]
) -> None:
    before, rules = droplet.files.read(paths.SNAPSHOT), droplet.picture()
    refresh.run(later(droplet))
    assert read == []
    assert droplet.netfilter == rules
    assert droplet.lines.shown[-1] == "2 peers in droplan-peers, unchanged"
    found = snapshot.load(droplet.files)
    assert found
    assert found.written == 2_000_000_000.0
    assert {**json.loads(before or b""), "written": 0} == {
        **json.loads(droplet.files.read(paths.SNAPSHOT) or b""),
        "written": 0,
    }
    report = json.loads(droplet.files.read(paths.REPORT) or b"")
    assert (report["result"], report["peers"], report["droplets"]) == ("ok", 2, 3)


def test_nothing_is_asked_twice_where_something_else_is_said(droplet: MemoryDroplet) -> None:
    asked: list[str] = []
    answer = droplet._answer
    droplet._answer = lambda url: asked.append(url) or answer(url)  # type: ignore[method-assign, func-returns-value]
    refresh.run(droplet.host())
    same = list(asked)
    asked.clear()
    droplet.peers = (*PEERS, "10.132.0.4")
    refresh.run(droplet.host())
    assert sorted(asked) == sorted(same)
    assert kept(droplet) == (*PEERS, "10.132.0.4")


def test_rules_that_somebody_removed_are_written_again(droplet: MemoryDroplet, read: list[object]) -> None:
    addresses = droplet.netfilter.nft.tables["inet", "droplan"].sets["droplan-addresses4"]
    droplet.netfilter.flush_ruleset()
    refresh.run(droplet.host())
    assert read == []
    assert droplet.netfilter.nft.tables["inet", "droplan"].sets["droplan-addresses4"] == addresses
    assert "2 peers in droplan-peers, rules repaired" in droplet.lines.said


def rewritten(path: str) -> Callable[[MemoryDroplet], object]:
    """Have a file of ours written again with what it holds."""
    return lambda one: one.files.write(getattr(paths, path), one.files.read(getattr(paths, path)) or b"", 0o600)


def peers(*addresses: str) -> Callable[[MemoryDroplet], object]:
    return lambda one: setattr(one, "peers", addresses)


def settings(line: str) -> Callable[[MemoryDroplet], object]:
    return lambda one: one.files.write(
        paths.SETTINGS, (one.files.read(paths.SETTINGS) or b"") + line.encode() + b"\n", 0o600
    )


@pytest.mark.parametrize(
    ("change", "come_in"),
    [
        (peers(*PEERS, "10.132.0.4"), (*PEERS, "10.132.0.4")),
        (peers("10.132.0.2"), ("10.132.0.2",)),
        (lambda one: setattr(one, "off", PEERS[:1]), PEERS),
        (settings("DO_TAG=db"), ()),
        (settings("# a remark"), PEERS),
        (settings("DROPLAN_ALLOW=192.0.2.1"), PEERS),
        (lambda one: one.files.remove(paths.SNAPSHOT), PEERS),
        (rewritten("SNAPSHOT"), PEERS),
        (lambda one: one.files.remove(paths.OUTLINE), PEERS),
        (lambda one: one.files.remove(paths.ANSWER), PEERS),
        (lambda one: one.files.write(paths.ANSWER, b"[]", 0o600), PEERS),
        (lambda one: one.files.write(paths.ANSWER, b'{"rest": 1', 0o600), PEERS),
    ],
    ids=[
        "a Droplet more",
        "a Droplet gone",
        "a Droplet switched off",
        "a tag",
        "a remark in the settings",
        "an entry",
        "the snapshot gone",
        "the snapshot written by somebody",
        "the outline gone",
        "nothing known",
        "nonsense",
        "other nonsense",
    ],
)
def test_whatever_differs_has_the_answer_read(
    change: Callable[[MemoryDroplet], object], come_in: Sequence[str], droplet: MemoryDroplet, read: list[object]
) -> None:
    change(droplet)
    refresh.run(droplet.host())
    assert read != []
    assert kept(droplet) == tuple(come_in)
    read.clear()
    refresh.run(droplet.host())
    assert read == []
    assert kept(droplet) == tuple(come_in)
    for path in (paths.SNAPSHOT, paths.OUTLINE):
        assert droplet.files.exists(path)


def test_a_setting_of_the_environment_counts_too(droplet: MemoryDroplet, read: list[object]) -> None:
    refresh.run(droplet.host(DROPLAN_ALLOW="192.0.2.1"))
    assert read != []


def test_other_interfaces_have_it_decided_anew(
    droplet: MemoryDroplet, read: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = learn.where
    monkeypatch.setattr(learn, "where", lambda *known: replace(here(*known), outside=("ens7",)))
    refresh.run(droplet.host())
    assert read != []


def shut_out(droplet: MemoryDroplet, *addresses: str) -> None:
    """Have the watcher note whom it saw shut out."""
    of_all = {"packets": 1, "first": 1.0, "last": 1.0, "interface": "eth1", "public": False, "observed": False}
    sources = [{"source": address, "services": [], **of_all} for address in addresses]
    droplet.files.write(
        paths.BLOCKED, json.dumps({"sources": sources, "total": 1, "sampled": True}).encode() + b"\n", 0o644
    )


def names(droplet: MemoryDroplet) -> dict[str, str]:
    found = json.loads(droplet.files.read(paths.STRANGERS) or b"{}")
    return {address: each["why"] for address, each in found.items()}


def test_who_was_shut_out_since_is_looked_for_among_the_droplets_once(
    droplet: MemoryDroplet, read: list[object]
) -> None:
    settings("DO_TAG=web,db\nDROPLAN_SCOPE=account")(droplet)
    droplet.tags = {"10.132.0.3": "other"}
    refresh.run(droplet.host())
    for address, known in (("192.0.2.1", {}), ("10.132.0.3", {"10.132.0.3": "tag"})):
        read.clear()
        shut_out(droplet, "192.0.2.1", address)
        refresh.run(droplet.host())
        assert read != []
        assert names(droplet) == known
        read.clear()
        refresh.run(droplet.host())
        assert read == []
        assert names(droplet) == known


def test_a_disk_that_is_full_costs_the_memory_and_no_peer(droplet: MemoryDroplet, read: list[object]) -> None:
    droplet.files.remove(paths.ANSWER)
    droplet.files.real(paths.ANSWER).mkdir()
    (droplet.files.real(paths.ANSWER) / "in the way").touch()
    refresh.run(droplet.host())
    assert read != []
    assert "move it away" in droplet.lines.complained[-1]
    assert kept(droplet) == PEERS
