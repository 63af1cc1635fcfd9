"""The status: the verdict first, one screen, plain words, nothing a terminal would obey."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_boot.state import problems
from droplan_boot.state.problems import Problem, problem
from droplan_boot.state.report import LastChange, Report
from droplan_boot.verbs import status, words
from droplan_boot.verbs.standing import Status

NOW = 1_800_000_000.0
REPORT = Report(
    NOW - 240,
    "ok",
    0.4,
    10_000,
    False,
    "iptables-legacy",
    succeeded=NOW - 240,
    interval=5,
    by_network={"private 4": 10_000},
    change=LastChange(NOW - 9000, ("web-41 10.132.1.41",), ("db-3 10.132.0.7",)),
    api_limit=5000,
    api_remaining=4700,
)
NORMAL = Status(
    interfaces=("eth1", "eth0"),
    peers={"droplan-peers": 10_000, "droplan-peers-public": 10_000},
    allow=("tcp/22",),
    scope="region",
    tags=("web",),
    backend="iptables-legacy",
    backend_why="/usr/sbin/iptables is xtables-legacy-multi; small changes through python-iptables",
    saved=("/etc/iptables/rules.v4", "/etc/iptables/rules.v6"),
    restored_by="droplan-restore.service",
    saved_by="netfilter-persistent",
    guard="nftables",
    guard_why="`nft --check` takes it",
    snapshot_age=250,
    next_run=NOW + 50,
    last=REPORT,
)
DRIFT = ("IPv4: our rules in INPUT are not first, once and in order", "IPv6: droplan-peers is missing")
WORST = replace(
    NORMAL,
    drift=DRIFT,
    problems=(
        problem("drift", what=DRIFT[0]),
        problem(
            "failed", error="api.digitalocean.com refuses the token (401): the rules stay as they are; make another"
        ),
        problem("unfinished"),
    ),
)


@pytest.mark.parametrize("shown", [NORMAL, WORST], ids=["normal", "with problems"])
def test_it_fits_a_screen(shown: Status) -> None:
    lines = status.render(shown, NOW).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_what_is_wrong_stands_before_all_that_is_right() -> None:
    labels = [line[:13].strip() for line in status.render(WORST, NOW).splitlines() if line[:13].strip()]
    start = labels.index("next step")
    assert labels[start : start + 5] == ["next step", "drift", "drift", "problem", "problem"]
    assert labels[start + 5] == "peers"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"allow": ()}, "OK  eth1, eth0 are open to 10000 Droplets, closed to everyone else"),
        ({}, "OK  eth1, eth0 are open to 10000 Droplets and 1 allowed service, closed to"),
        (
            {"allow": ("10.0.0.0/8", "tcp/22", "udp/53")},
            "OK  eth1, eth0 are open to 10000 Droplets and 1 allowed network and 2 allowed",
        ),
        ({"problems": (problem("stale", age="4 d"),)}, "next step     see the last refresh; run `droplan refresh`"),
        (
            {"problems": (problem("stale", age="4 d"),)},
            "STALE  the last good answer is 4 d old: Droplets that were made or destroyed",
        ),
        (
            {"problems": (problem("not-installed"),)},
            "NOT INSTALLED  droplan is not installed here: nothing keeps the rules up to",
        ),
        ({"problems": (problem("observing"),)}, "OBSERVING  DROPLAN_MODE=observe: nobody is shut out"),
        ({"peers": {}}, "peers         none known"),
        ({}, "allowed       tcp/22"),
        ({}, "last answer   4 min ago"),
        ({"snapshot_age": None}, "last answer   never"),
        ({}, "last refresh  ok, 4 min ago, took 0.4 s"),
        ({}, "next refresh  in 50 s"),
        ({"next_run": None}, "next refresh  not scheduled"),
        ({"watched": True}, "next refresh  in 50 s, or when a new Droplet knocks (the watcher hears it)"),
        ({}, "last change   2 h ago: added web-41 10.132.1.41; removed db-3 10.132.0.7"),
        ({"last": None}, "last change   none since the first answer"),
        ({}, "API           4700 of 5000 requests left; the token's users took 300 in an hour"),
        ({"blocked": 7}, "blocked       7 sources in the last hour (`droplan blocked` names who)"),
        ({"blocked": 1}, "blocked       1 source in the last hour (`droplan blocked` names who)"),
        ({}, "reboot        rules come back by droplan-restore.service, netfilter-persistent"),
        ({"saved": ()}, "reboot        rules come back by droplan-restore.service"),
        ({"restored_by": ""}, "reboot        rules come back by netfilter-persistent (/etc/iptables/rules.v4,"),
        (
            {"restored_by": "", "saved": ()},
            "reboot        nothing survives: no unit of droplan's and no loader of saved",
        ),
        ({"drift": ("IPv4: x",)}, "drift         IPv4: x"),
        ({"problems": (Problem("unfinished", "y", "z"),)}, "problem       y -> z"),
    ],
)
def test_each_line_says_one_thing(changes: dict[str, object], line: str) -> None:
    assert line in status.render(replace(NORMAL, **changes), NOW).splitlines()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d"), (1e9, "11574 d")],
)
def test_an_age_is_told_in_the_unit_that_people_would_use(seconds: float, said: str) -> None:
    shown = replace(NORMAL, snapshot_age=seconds)
    assert f"last answer   {said} ago\n" in status.render(shown, NOW)


@pytest.mark.parametrize(
    ("codes", "verdict", "exit_code"),
    [
        ((), "OK", 0),
        (("unfinished",), "OK", 0),
        (("failed",), "FAILED", 5),
        (("stale", "failed"), "STALE", 5),
        (("unscheduled", "stale"), "STALE", 5),
        (("stale", "drift"), "DRIFT", 3),
        (("stray", "not-installed"), "NOT INSTALLED", 3),
    ],
)
def test_the_worst_problem_gives_verdict_and_exit_code_and_drift_goes_before_all(
    codes: tuple[str, ...], verdict: str, exit_code: int
) -> None:
    found = tuple(problem(code, what="w", error="e", age="a", backend="b") for code in codes)
    shown = replace(NORMAL, problems=found)
    assert status.verdict(shown)[0] == verdict
    assert shown.exit_code == exit_code


def test_every_problem_has_a_sentence_and_a_remedy_and_no_code_comes_twice() -> None:
    assert len({kind.code for kind in problems.KINDS}) == len(problems.KINDS)
    for kind in problems.KINDS:
        assert kind.sentence
        assert kind.remedy
        assert bool(kind.verdict) == (kind.exit_code != 0)


def test_programs_get_the_same_as_json() -> None:
    found = json.loads(json.dumps(status.document(WORST)))
    assert found["schema"] == 1
    assert (found["verdict"], found["exit_code"]) == ("drift", 3)
    assert found["drift"] == list(WORST.drift)
    assert [one["code"] for one in found["problems"]] == ["drift", "failed", "unfinished"]
    assert found["last"]["change"]["added"] == ["web-41 10.132.1.41"]


def test_colour_is_for_terminals_whose_owner_does_not_object(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in status.render(NORMAL, NOW, {})
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert status.render(NORMAL, NOW, {"TERM": "xterm"}).startswith("\x1b[32mOK\x1b[0m  eth1")
    assert "\x1b" not in status.render(NORMAL, NOW, {"NO_COLOR": "1"})


@given(st.text(), st.floats(allow_nan=False))
def test_whatever_went_wrong_it_is_rendered_and_no_terminal_obeys_it(said: str, age: float) -> None:
    for shown in (
        replace(NORMAL, problems=(Problem("failed", said, said),), snapshot_age=age),
        replace(NORMAL, drift=(said,)),
        replace(NORMAL, last=replace(REPORT, change=LastChange(NOW, (said,)))),
    ):
        assert all(line.isprintable() for line in status.render(shown, NOW).split("\n"))


def test_a_table_is_aligned() -> None:
    assert words.table([("A", "BB"), ("CCC", "D")]) == ["A    BB", "CCC  D"]
