"""The status: one screen, plain words, nothing a terminal would obey."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_boot.verbs import status
from droplan_boot.verbs.status import Status

NOW = 1_800_000_000.0
LEGACY = "iptables-legacy (/usr/sbin/iptables is xtables-legacy-multi; small changes through python-iptables)"
NORMAL = Status(
    interfaces=("eth1", "eth0"),
    backend=LEGACY,
    peers={"droplan-peers": 10_000, "droplan-peers-public": 10_000},
    snapshot_age=250,
    next_run=NOW + 50,
    saved="/etc/iptables/rules.v4, /etc/iptables/rules.v6 (only our rules: a program here writes its own as it runs)",
    last="ok, 4 min ago, took 0.4 s",
    drift=(),
    problems=(),
)
WORST = replace(
    NORMAL,
    drift=("IPv4: our rules in INPUT are not first, once and in order", "IPv6: droplan-peers is missing"),
    problems=(
        "api.digitalocean.com refuses the token (401): the rules stay as they are; make another token",
        "an install has not ended; the schedule goes on with it, or run `droplan install` now",
    ),
)


@pytest.mark.parametrize("shown", [NORMAL, WORST], ids=["normal", "with problems"])
def test_it_fits_a_screen(shown: Status) -> None:
    lines = status.render(shown, NOW).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "interface     eth1, eth0"),
        ({"interfaces": ()}, "interface     none yet"),
        ({}, "peers         10000 in droplan-peers, 10000 in droplan-peers-public"),
        ({"peers": {}}, "peers         none known"),
        ({}, "last answer   4 min ago"),
        ({"snapshot_age": None}, "last answer   never"),
        ({}, "next refresh  in 50 s"),
        ({"next_run": None}, "next refresh  not scheduled: run `droplan install`"),
        ({}, "rules         as they should be"),
        ({"drift": ("IPv4: x",)}, "rules         DRIFT: run `droplan refresh`"),
        ({"drift": ("IPv4: x",)}, "              IPv4: x"),
        ({"problems": ("y",)}, "problem       y"),
        ({"warnings": ("z",)}, "warning       z"),
    ],
)
def test_each_line_says_one_thing(changes: dict[str, object], line: str) -> None:
    assert line in status.render(replace(NORMAL, **changes), NOW).splitlines()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d"), (1e9, "11574 d")],
)
def test_an_age_is_told_in_the_unit_that_people_would_use(seconds: float, words: str) -> None:
    shown = replace(NORMAL, snapshot_age=seconds)
    assert f"last answer   {words} ago\n" in status.render(shown, NOW)


def test_programs_get_the_same_as_json() -> None:
    assert json.loads(json.dumps(asdict(WORST)))["drift"] == list(WORST.drift)


@given(st.text(), st.floats(allow_nan=False))
def test_whatever_went_wrong_it_is_rendered_and_no_terminal_obeys_it(words: str, age: float) -> None:
    for shown in (replace(NORMAL, problems=(words,), snapshot_age=age), replace(NORMAL, drift=(words,))):
        assert all(line.isprintable() for line in status.render(shown, NOW).split("\n"))
