"""Every reason for which status is not green: which facts make it so, and which do not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from droplan_boot.errors import EXIT_ATTENTION
from droplan_boot.state import problems, soundness
from droplan_boot.state.soundness import Unit
from tests.golden import problems as page

DAY = 86_400
NOW = 20_000 * DAY + 3600.0


BOOTED = "system/test_booted_status.py"
EACH = f"{BOOTED}::test_each_reason_is_told_with_exit_5_and_only_that_one"
SEEN = {
    "not-installed": f"{BOOTED}::test_a_machine_without_droplan_is_told_so",
    "unknown-snapshot": "lab/test_install.py::test_a_snapshot_that_a_later_droplan_wrote_is_closed_and_told_of",
    "unanswered": "lab/test_install.py::test_with_fail_closed_it_closes_until_the_peers_are_known",
    "observing": "lab/test_observe.py::test_status_check_and_metrics_say_so",
    "cards": EACH,
    "stale": EACH,
    "failed": f"{BOOTED}::test_a_failed_run_is_told",
    "fleet": "shared/test_lab.py::test_whatever_goes_wrong_keeps_the_rules_is_told_and_heals",
    "settings-mistake": EACH,
    "unscheduled": EACH,
    "cron-missing": EACH,
    "cron-disabled": EACH,
    "cron-stopped": EACH,
    "root-expired": f"{BOOTED}::test_an_expired_password_is_told_when_pam_refuses_roots_jobs",
    "unwatched": "system/test_booted_watch.py::test_status_tells_when_it_does_not_run",
    "no-loader": EACH,
    "saved-other": EACH,
    "nftables-flush": EACH,
    "firewalld-refuses": f"{BOOTED}::test_firewalld_is_told_by_name_when_it_keeps_peers_out_and_its_zone_"
    "trusted_lets_them_in",
    "table-refuses": f"{BOOTED}::test_another_programs_table_is_told_when_it_keeps_peers_out",
    "quarrel": "system/test_booted_watch.py::test_status_names_whom_it_quarrels_with_until_a_refresh",
    "cron-missed": "system/test_booted_watch.py::test_status_tells_that_it_runs_what_cron_missed",
}
"""Where each reason for exit 5 is seen on a Droplet, with the real program."""

CASES = {
    "cron does not run": "cron-stopped",
    "cron is disabled": "cron-disabled",
    "cron is not there": "cron-missing",
    "cron's file is gone": "unscheduled: gone",
    "cron's file is another": "unscheduled: other",
    "cron does not take its file, which others may write": "unscheduled: readable by others",
    "the loader is disabled": "no-loader",
    "the loader is masked": "no-loader: masked",
    "our own unit is disabled": "no-loader: our unit",
    "a saved file is gone": "saved-other: gone",
    "a saved file is of before us": "saved-other: before us",
    "a saved file is older": "saved-other: older",
    "a card was renamed": "cards: renamed",
    "a card is in a bridge": "cards: in a bridge",
    "nftables.conf flushes": "nftables-flush",
}
"""What one reason may come from: the case of the same test that makes it so, each undone by the remedy as well."""


def test_every_reason_for_exit_5_is_seen_on_a_droplet() -> None:
    assert set(SEEN) == {kind.code for kind in problems.KINDS if kind.exit_code == EXIT_ATTENTION}


@pytest.mark.parametrize("code", SEEN)
def test_the_test_that_sees_it_is_there_and_names_it(code: str) -> None:
    place, _, name = SEEN[code].partition("::")
    text = (Path(__file__).parents[1] / place).read_text()
    assert f"def {name}(" in text
    assert re.search(rf"[\"']{code}[:\"']", text)


@pytest.mark.parametrize("case", CASES)
def test_whatever_a_reason_comes_from_is_made_on_a_droplet(case: str) -> None:
    text = (Path(__file__).parents[1] / BOOTED).read_text()
    reasons = text.partition("\nREASONS = {")[2].partition("\n}\n")[0]
    assert f'\n    "{CASES[case]}": (' in reasons
    assert SEEN[CASES[case].partition(":")[0]] == EACH


def test_the_page_lists_every_problem_with_its_remedy() -> None:
    assert page.PAGE.read_text() == page.render(), "if the change is meant: python -m tests.golden.problems"


@pytest.mark.parametrize(
    ("age", "interval", "is_stale"),
    [(None, 5, False), (0, 5, False), (900, 5, False), (901, 5, True), (180, 1, False), (181, 1, True)],
)
def test_an_answer_is_stale_when_it_is_older_than_three_intervals(
    age: float | None, interval: int, is_stale: bool
) -> None:
    assert [one.code for one in soundness.stale(age, interval, "old")] == ["stale"] * is_stale


def test_of_a_schedule_that_is_broken_the_first_file_is_named_once() -> None:
    assert list(soundness.schedule({"/a": None, "/b": None})) == []
    (found,) = soundness.schedule({"/a": None, "/b": "missing", "/c": "altered"})
    assert (found.code, found.sentence) == ("unscheduled", "/b is missing, so nothing refreshes")


@pytest.mark.parametrize(
    ("unit", "codes"),
    [
        (None, ["cron-missing"]),
        (Unit("cron", "enabled", True), []),
        (Unit("crond", "disabled", True), ["cron-disabled"]),
        (Unit("crond", "masked", False), ["cron-disabled", "cron-stopped"]),
        (Unit("cron", "enabled", False), ["cron-stopped"]),
    ],
)
def test_cron_has_to_run_and_to_start_at_boot(unit: Unit | None, codes: list[str]) -> None:
    assert [one.code for one in soundness.daemon(unit)] == codes


@pytest.mark.parametrize(
    ("line", "expired"),
    [
        ("root:*:19000:0:99999:7:::", False),
        ("root:!:19000::::::", False),
        ("root:$y$x:0:0:99999:7:::", True),  # as DigitalOcean makes it where no SSH key was given
        ("root:*:19900:0:90:7:::", True),
        ("root:*:19910:0:90:7:::", False),
        ("root:*:20005:0:1:7:::", False),  # changed in the future, as where the clock was wrong: PAM lets it pass
        ("root:*:19000:0:99999:7::19999:", True),
        ("root:*:19000:0:99999:7::20000:", True),
        ("root:*:19000:0:99999:7::20001:", False),
        ("daemon:*:0:0:1:7:::", False),
        ("root:*", False),
        ("", False),
    ],
)
def test_an_expired_password_of_roots_is_told_as_pam_tells_it(line: str, expired: bool) -> None:
    shadow = f"bin:*:0:0:1:7:::\n{line}\nsys:*:0:0:1:7:::\n"
    assert [one.code for one in soundness.password(shadow, NOW)] == ["root-expired"] * expired


class TestBoot:
    def test_what_restores_the_rules_has_to_be_there_and_enabled(self) -> None:
        sound = [Unit("netfilter-persistent", "enabled", True)]
        assert list(soundness.boot(sound, {}, systemd=True, loader=True)) == []
        for state in ("disabled", "masked", "not-found", ""):
            (found,) = soundness.boot([Unit("iptables", state, True)], {}, systemd=True, loader=True)
            assert found.code == "no-loader"
            assert f"iptables is {state or 'missing'}" in found.sentence

    def test_our_unit_has_to_read_as_we_wrote_it(self) -> None:
        enabled = [Unit("droplan-restore.service", "enabled", True)]
        (found,) = soundness.boot(enabled, {"/unit": "altered"}, systemd=True, loader=False)
        assert (found.code, "/unit is altered" in found.sentence) == ("no-loader", True)

    def test_without_systemd_an_installed_loader_counts_as_sound(self) -> None:
        assert list(soundness.boot([], {}, systemd=False, loader=True)) == []
        assert [one.code for one in soundness.boot([], {}, systemd=False, loader=False)] == ["no-loader"]

    @pytest.mark.parametrize(
        ("text", "ours", "what"),
        [
            ("x", True, None),
            (None, False, "it is missing"),
            ("*filter\nCOMMIT\n", False, "it holds no rules of ours"),
            (":droplan-peers - [0:0]", False, "its rules are older or altered"),
        ],
    )
    def test_what_the_loader_loads_has_to_be_ours(self, text: str | None, ours: bool, what: str | None) -> None:
        found = list(soundness.saved("/etc/iptables/rules.v4", text, ours=ours))
        assert [one.code for one in found] == ["saved-other"] * (what is not None)
        assert what is None or what in found[0].sentence


@pytest.mark.parametrize(
    ("there", "codes"),
    [
        ({"eth0": False, "eth1": False}, []),
        ({"eth0": False, "ens4": False}, ["cards"]),
        ({"eth0": False, "eth1": True, "br0": False}, ["cards"]),
        ({}, ["cards"]),
    ],
)
def test_the_cards_in_the_rules_have_to_be_the_machines(there: dict[str, bool], codes: list[str]) -> None:
    assert [one.code for one in soundness.cards(("eth1",), there)] == codes


FLUSHES = "#!/usr/sbin/nft -f\n\nflush ruleset\n\ntable inet filter {\n}\n"
INCLUDES = FLUSHES + 'include "/etc/droplan/*.nft"\n'


@pytest.mark.parametrize(
    ("text", "state", "active", "flushes", "told"),
    [
        (FLUSHES, "enabled", False, False, True),
        (FLUSHES, "disabled", True, False, True),
        (FLUSHES, "disabled", False, False, False),
        (INCLUDES, "enabled", True, False, False),
        (FLUSHES + '# include "/etc/droplan/*.nft"\n', "enabled", True, False, True),
        ("# flush ruleset\n", "enabled", True, False, False),
        ("table inet filter {\n}\n", "enabled", True, True, True),
    ],
)
def test_a_service_that_flushes_has_to_include_our_rules(
    text: str, state: str, active: bool, flushes: bool, told: bool
) -> None:
    service = Unit("nftables", state, active)
    found = [one.code for one in soundness.nftables_conf("/etc/nftables.conf", text, service, flushes=flushes)]
    assert found == ["nftables-flush"] * told


def test_what_to_do_about_another_programs_table_depends_on_whose_it_is() -> None:
    (firewalld,) = soundness.refused("inet firewalld", "filter_INPUT", "eth1", "x")
    assert firewalld.code == "firewalld-refuses"
    assert "--zone=trusted --change-interface=eth1" in firewalld.remedy
    (other,) = soundness.refused("inet filter", "input", "eth1", "/etc/nftables.conf")
    assert other.code == "table-refuses"
    assert 'iifname "eth1" accept`, in /etc/nftables.conf' in other.remedy


def test_every_problem_but_what_heals_by_itself_or_is_only_to_be_known_ends_with_3_or_5() -> None:
    harmless = {kind.code for kind in problems.KINDS if kind.exit_code == 0}
    assert harmless == {"settings-unapplied", "bootstrap-failed", "unfinished", "name", "guests"}
