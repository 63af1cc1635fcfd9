"""``droplan fleet``: what it shows, to people and to programs, of what the bucket holds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from droplan_boot.errors import DroplanError, UsageError
from droplan_boot.publish import lease
from droplan_boot.publish.lease import Lease
from droplan_boot.sources.shared import head
from droplan_boot.verbs import fleet
from tests.bed.memory.doors import Answer, Clock, Host, session
from tests.bed.memory.heads import FLEET, NOW, RUNNER, a_head, signed
from tests.unit.test_schemas import check

LEASED = Lease(
    "pub-1-00ab12cd",
    beat=70,
    version=NOW,
    requests=4093,
    standby=(("pub-2-00ab12ce", 60),),
    recent=((NOW - 300, "+", "web-7"), (NOW - 60, "-", "web-2")),
)


def host(public: str, body: bytes, leased: Lease | None, now: float = NOW) -> Host:
    """Return a machine anywhere that has the read key alone, and a bucket that holds these."""
    objects = {"head": body, "lease": lease.render(leased) if leased else None}

    def answer(url: str) -> Answer:
        found = objects[url.rpartition("/")[2]]
        return Answer(status=404, body=b"") if found is None else Answer(body=found)

    wanted = {"DROPLAN_SHARED": FLEET, "DROPLAN_SHARED_KEY": "READ:SECRET", "DROPLAN_SHARED_TRUST": public}
    return Host(runner=RUNNER, session=lambda clock: session(answer)[0], clock=Clock(now), environ=wanted, uid=1000)


def test_a_person_sees_who_publishes_how_old_the_list_is_and_what_changed(
    key: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    body = signed(key, changes=([2],))

    assert fleet.run(host(key[1], body, LEASED)) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"fleet      {FLEET}",
        "list       issued 10 s ago, fresh",
        "publisher  pub-1",
        "standby    pub-2",
        f"version    {NOW}, written by pub-1",
        f"Droplets   2, 1 change since the base, a head of {len(body)} bytes",
        "interval   members look every 30 s",
        "requests   4093 to the API in the last hour",
        "changes    - web-2, 60 s ago",
        "           + web-7, 5 min ago",
    ]


def test_a_program_reads_the_same_from_a_versioned_document(
    key: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    body = signed(key, changes=([2],))

    assert fleet.run(host(key[1], body, LEASED), as_json=True) == 0

    assert json.loads(capsys.readouterr().out) == {
        "schema": 1,
        "fleet": FLEET,
        "verdict": "fresh",
        "publisher": "pub-1",
        "standby": ["pub-2"],
        "version": NOW,
        "written_by": "pub-1",
        "key": head.key_id(key[1]),
        "issued": NOW - 10,
        "expires": NOW - 10 + head.LIFETIME_S,
        "age": 10.0,
        "droplets": 2,
        "base": "0" * 64,
        "changes_since_base": 1,
        "head_bytes": len(body),
        "interval": 30,
        "api_requests_last_hour": 4093,
        "changes": [
            {"time": NOW - 60, "change": "gone", "droplet": "web-2"},
            {"time": NOW - 300, "change": "created", "droplet": "web-7"},
        ],
    }


@pytest.mark.parametrize("leased", [LEASED, Lease(), Lease("a-1", recent=((NOW, "+", "\x1b[2J\n"),) * 20)])
def test_the_document_is_as_its_schema_says(key: tuple[Path, str], leased: Lease) -> None:
    check("fleet", fleet.document(a_head(key[1]), leased, 1000, NOW))


def test_an_expired_list_is_told_and_ends_with_1(key: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    late = host(key[1], signed(key), None, NOW + head.LIFETIME_S)
    assert fleet.run(late) == 1
    shown = capsys.readouterr().out
    assert "EXPIRED, issued 20 min ago: see why no publisher writes" in shown
    assert "publisher  nobody: start one, `python3 droplan.pyz publish`" in shown, "by hand, as here"
    assert fleet.run(late, as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    check("fleet", found)
    assert (found["verdict"], found["publisher"], found["standby"]) == ("expired", None, [])


def test_between_two_runs_of_publish_once_nobody_is_told_to_start_a_publisher(
    key: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    free = dataclasses.replace(LEASED, holder="", standby=())
    assert fleet.run(host(key[1], signed(key), free)) == 0
    assert "publisher  nobody at the moment, pub-1 was the last\nstandby    none\n" in capsys.readouterr().out


def test_a_head_that_is_not_believed_is_no_document(
    key: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    strange = host(key[1], signed(key, fleet=FLEET + "-2"), None)
    with pytest.raises(DroplanError, match="another fleet"):
        fleet.run(strange, as_json=True)
    assert capsys.readouterr().out == ""


def test_a_key_is_no_document(key: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave out --json"):
        fleet.run(host(key[1], signed(key), None), part="key", file=str(tmp_path / "new"), as_json=True)
    assert not (tmp_path / "new").exists()


def test_a_name_in_the_lease_which_nobody_signed_begins_no_line_of_its_own(key: tuple[Path, str]) -> None:
    leased = Lease("pub-1-ab", recent=((NOW, "+", "x\x1b[2J\npublisher  evil"),))
    shown = fleet.render(a_head(key[1]), leased, 1000, NOW)
    assert "+ x?[2J?publisher  evil, 0 s ago" in shown
    assert sum(line.startswith("publisher") for line in shown.splitlines()) == 1
