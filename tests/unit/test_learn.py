"""What is asked, of whom, and what comes of it: names become addresses before any backend hears of them."""

from __future__ import annotations

import pytest

from droplan_boot import paths, settings
from droplan_boot.access.here import Here
from droplan_boot.access.policy import Segment
from droplan_boot.errors import NoAnswerError
from droplan_boot.flow import learn
from droplan_boot.flow.learn import Learned
from droplan_boot.host.files import Files
from droplan_boot.state import report
from droplan_boot.verbs import refresh
from tests.bed.memory.doors import Script
from tests.bed.memory.droplet import TOKEN, MemoryDroplet, made


@pytest.fixture
def droplet(files: Files) -> MemoryDroplet:
    return made(files)


@pytest.fixture
def urls(droplet: MemoryDroplet) -> list[str]:
    """What the metadata service and the API are asked."""
    asked: list[str] = []
    plain = droplet._answer

    def answer(url: str) -> Script:
        asked.append(url)
        return plain(url)

    droplet._answer = answer  # type: ignore[method-assign]
    return asked


def learned(droplet: MemoryDroplet, **environ: str) -> Learned:
    host = droplet.host(scheduled=True, token=TOKEN, **environ)
    wanted = settings.load(host.environ, host.files)
    http = host.session(host.clock)
    return learn.who(host, http, wanted, learn.where(host, http, wanted))


def private(droplet: MemoryDroplet, **environ: str) -> Segment:
    return learned(droplet, **environ).policy.segments[0]


class TestWhatIsAsked:
    @pytest.mark.parametrize(
        ("environ", "filtered"),
        [
            ({"DO_TAG": "web"}, "&tag_name=web"),
            ({"DO_TAG": "web,Web"}, "&tag_name=web"),
            ({"DO_TAG": "web", "DROPLAN_ALLOW": "tcp/22@tag:WEB"}, "&tag_name=web"),
            ({}, ""),
            ({"DO_TAG": "web,db"}, ""),
            ({"DO_TAG": "web", "DROPLAN_ALLOW": "tcp/22@tag:db"}, ""),
            ({"DO_TAG": "web", "DROPLAN_ALLOW": "droplet:web"}, ""),
            ({"DROPLAN_ALLOW": "tag:web"}, ""),
            ({"DO_TAG": "web", "DROPLAN_ALLOW_PUBLIC": "tag:db"}, "&tag_name=web"),
        ],
    )
    def test_digitalocean_filters_by_tag_where_one_tag_is_all_that_matters(
        self, droplet: MemoryDroplet, urls: list[str], environ: dict[str, str], filtered: str
    ) -> None:
        learned(droplet, **environ)
        assert [url for url in urls if "/v2/" in url] == [
            f"https://api.digitalocean.com/v2/droplets?per_page=200{filtered}",
            "https://api.digitalocean.com/v2/droplets?per_page=200&type=gpus",
        ]


class TestWhatComesOfIt:
    def test_a_name_becomes_addresses(self, droplet: MemoryDroplet) -> None:
        found = private(droplet, DROPLAN_ALLOW="tcp/22@droplet:droplet-2", DO_TAG="nobody-has-it")
        (opening,) = found.openings(4)
        assert (str(opening.service), [str(one) for one in opening.sources or ()]) == ("tcp/22", ["10.132.0.3"])
        assert found.peers == ()

    def test_peers_reach_what_they_may(self, droplet: MemoryDroplet) -> None:
        found = private(droplet, DROPLAN_PEER_PORTS="tcp/80")
        assert found.sources(4) == ()
        (opening,) = found.openings(4)
        assert opening.sources == found.peers

    def test_the_droplets_that_names_stand_for_are_known(self, droplet: MemoryDroplet) -> None:
        found = learned(droplet, DROPLAN_ALLOW="droplet:droplet-2", DO_TAG="nobody-has-it")
        assert [one.name for one in found.named] == ["droplet-2"]

    def test_while_nobody_knows_the_droplets_a_name_lets_nobody_in(self, droplet: MemoryDroplet) -> None:
        wanted = settings.parse({"DROPLAN_ALLOW": "tcp/22@tag:web,10.0.0.0/24"})
        here = learned(droplet).here
        (segment,) = learn.nobody(wanted, here).segments
        assert segment.openings(4) == ()
        assert [str(one) for one in segment.sources(4)] == ["10.0.0.0/24"]


class TestThePublicNetwork:
    @pytest.mark.parametrize(
        ("environ", "entries"),
        [
            ({"DROPLAN_ALLOW": "tcp/22"}, ("tcp/22", "tcp/22")),
            ({"DROPLAN_ALLOW": "tcp/22", "DROPLAN_ALLOW_PUBLIC": "tcp/443"}, ("tcp/22", "tcp/443")),
            ({"DROPLAN_ALLOW": "tcp/22", "DROPLAN_ALLOW_PUBLIC": "none"}, ("tcp/22", "")),
            ({"DROPLAN_ALLOW_PUBLIC": "tcp/443"}, ("", "tcp/443")),
        ],
    )
    def test_it_has_its_own_entries_where_they_are_set(
        self, droplet: MemoryDroplet, environ: dict[str, str], entries: tuple[str, str]
    ) -> None:
        wanted = settings.parse({"PUBLIC": "true", **environ})
        here = Here(learned(droplet).here.metadata, ("eth1",), ("eth0",))
        found = learn.nobody(wanted, here).segments
        assert tuple(",".join(map(str, segment.allow)) for segment in found) == entries


class TestWarnings:
    def test_a_tag_of_nobodys_is_a_warning_in_the_report_and_no_failure(self, droplet: MemoryDroplet) -> None:
        host = droplet.host(DROPLAN_ALLOW="tcp/22@tag:wbe")
        refresh.run(host)
        last = report.load(droplet.files)
        assert last is not None
        assert last.result == "ok"
        assert last.warnings == ("tcp/22@tag:wbe lets nobody in, for no Droplet carries the tag wbe",)

    def test_the_schedule_says_it_once(self, droplet: MemoryDroplet) -> None:
        for _ in range(3):
            refresh.run(droplet.host(DROPLAN_ALLOW="tcp/22@tag:wbe"))
        assert sum("tag wbe" in line for line in droplet.lines.said) == 1

    def test_a_person_is_told_every_time(self, droplet: MemoryDroplet) -> None:
        for _ in range(2):
            refresh.run(droplet.host(scheduled=False, DROPLAN_ALLOW="tcp/22@tag:wbe"))
        assert sum("tag wbe" in line for line in droplet.lines.said) == 2


def test_without_tag_read_the_rules_stay_and_one_sentence_says_so(droplet: MemoryDroplet) -> None:
    refresh.run(droplet.host())
    before = droplet.tables[4].save(), droplet.files.read(paths.SNAPSHOT)
    plain = droplet._answer

    def without(url: str) -> Script:
        found = plain(url)
        for one in getattr(found, "document", {}).get("droplets", ()):
            del one["tags"]
        return found

    droplet._answer = without  # type: ignore[method-assign]
    with pytest.raises(NoAnswerError) as caught:
        refresh.run(droplet.host(DROPLAN_ALLOW="tcp/5432@tag:web"))
    assert str(caught.value).startswith("DROPLAN_ALLOW=tag:web needs a token with the scope tag:read")
    assert (droplet.tables[4].save(), droplet.files.read(paths.SNAPSHOT)) == before
