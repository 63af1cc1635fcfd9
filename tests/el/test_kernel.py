"""EL 10 ships xt_conntrack apart: it is installed for the kernel that runs, or a reboot is asked for."""

from __future__ import annotations

import pytest

from tests.el import rpms
from tests.el.conftest import Make
from tests.el.machine import Machine
from tests.lab.program import PROTECTED_INPUT, REFRESH, succeeded

UNFINISHED = "/var/lib/droplan/unfinished"
RUNNING, NEXT = rpms.KERNELS


def test_the_modules_of_the_kernel_that_runs_are_installed_and_no_others(make: Make) -> None:
    """A newer kernel's would be of no use before a reboot."""
    machine = make("almalinux-10", repository="kernel-that-runs")
    machine.kernel(RUNNING)

    done = machine.install()

    assert "kernel matches: fixed" in done.stdout
    assert machine.installed(f"kernel-modules-extra-{RUNNING}", f"kernel-modules-extra-{NEXT}") == [
        f"kernel-modules-extra-{RUNNING}"
    ]
    assert tuple(machine.chain("INPUT")[:3]) == PROTECTED_INPUT
    assert not machine.exists(UNFINISHED)


@pytest.fixture
def waiting(make: Make) -> Machine:
    """A Droplet whose kernel is older than the modules that are on offer, after an installation that said so."""
    machine = make("almalinux-10", repository="next-kernel-only")
    machine.kernel(RUNNING)
    done = machine.download("install", DO_KEY=machine.lab.token)
    assert done.returncode == 1
    assert "reboot this Droplet, and the schedule ends the installation" in done.stderr
    return machine


def test_where_only_the_next_kernel_has_them_a_reboot_is_asked_for_and_nothing_is_half_closed(
    waiting: Machine,
) -> None:
    """The schedule is in place, and cron runs, so that it can end the installation."""
    assert waiting.exists(UNFINISHED)
    assert waiting.units("crond") == {"crond": "enabled active"}
    assert waiting.mode("/etc/cron.d/droplan") == 0o644
    assert "-A" not in waiting.rules()


def test_until_then_the_schedule_fails_with_the_same_sentence(waiting: Machine) -> None:
    """It installs nothing twice, and changes no rule."""
    done = waiting.droplet.run([REFRESH], check=False, timeout=100)

    assert done.returncode == 1
    assert "reboot this Droplet" in waiting.read("/var/log/droplan.log")
    assert waiting.exists(UNFINISHED)
    assert "-A" not in waiting.rules()


def test_after_the_reboot_the_schedule_ends_the_installation(waiting: Machine) -> None:
    """Nobody needs to touch the Droplet again."""
    waiting.kernel(NEXT)
    waiting.reboot()

    succeeded(waiting.droplet.run([REFRESH], check=False, timeout=100))

    assert tuple(waiting.chain("INPUT")[:3]) == PROTECTED_INPUT
    assert waiting.units("iptables", "ip6tables") == dict.fromkeys(("iptables", "ip6tables"), "enabled inactive")
    assert PROTECTED_INPUT[1] in waiting.read("/etc/sysconfig/iptables")
    assert not waiting.exists(UNFINISHED)
