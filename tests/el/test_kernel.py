"""EL 10 ships xt_conntrack apart: it is installed for the kernel that runs, or a reboot is asked for."""

from __future__ import annotations

import pytest

from tests.bed.el import rpms
from tests.bed.el.droplet import ElDroplet
from tests.bed.program import PROTECTED_INPUT, REFRESH, succeeded
from tests.el.conftest import Make

UNFINISHED = "/var/lib/droplan/unfinished"
RUNNING, NEXT = rpms.KERNELS


def test_the_modules_of_the_kernel_that_runs_are_installed_and_no_others(make: Make) -> None:
    """A newer kernel's would be of no use before a reboot."""
    el = make("almalinux-10", repository="kernel-that-runs")
    el.kernel(RUNNING)

    done = el.install()

    assert "kernel matches: fixed" in done.stdout
    assert el.installed(f"kernel-modules-extra-{RUNNING}", f"kernel-modules-extra-{NEXT}") == [
        f"kernel-modules-extra-{RUNNING}"
    ]
    assert tuple(el.chain("INPUT")[:3]) == PROTECTED_INPUT
    assert not el.exists(UNFINISHED)


@pytest.fixture(scope="module")
def waiting(make_for_many: Make) -> ElDroplet:
    """A Droplet whose kernel is older than the modules that are on offer, after an installation that said so."""
    el = make_for_many("almalinux-10", repository="next-kernel-only")
    el.kernel(RUNNING)
    done = el.download("install", DO_KEY=el.lab.token)
    assert done.returncode == 1
    assert "reboot this Droplet, and the schedule ends the installation" in done.stderr
    return el


def test_where_only_the_next_kernel_has_them_a_reboot_is_asked_for_and_nothing_is_half_closed(
    waiting: ElDroplet,
) -> None:
    """The schedule is in place, and cron runs, so that it can end the installation."""
    assert waiting.exists(UNFINISHED)
    assert waiting.units("crond") == {"crond": "enabled active"}
    assert waiting.mode("/etc/cron.d/droplan") == 0o644
    assert "-A" not in waiting.rules()


def test_until_then_the_schedule_fails_with_the_same_sentence(waiting: ElDroplet) -> None:
    """It installs nothing twice, and changes no rule."""
    done = waiting.droplet.run([REFRESH], check=False, timeout=100)

    assert done.returncode == 1
    assert "reboot this Droplet" in waiting.read("/var/log/droplan.log")
    assert waiting.exists(UNFINISHED)
    assert "-A" not in waiting.rules()


def test_after_the_reboot_the_schedule_ends_the_installation(waiting: ElDroplet) -> None:
    """The last of the module: nobody needs to touch the Droplet again."""
    waiting.kernel(NEXT)
    waiting.reboot()

    succeeded(waiting.droplet.run([REFRESH], check=False, timeout=100))

    assert tuple(waiting.chain("INPUT")[:3]) == PROTECTED_INPUT
    assert waiting.units("iptables", "ip6tables") == dict.fromkeys(("iptables", "ip6tables"), "enabled inactive")
    assert PROTECTED_INPUT[1] in waiting.read("/etc/sysconfig/iptables")
    assert not waiting.exists(UNFINISHED)
