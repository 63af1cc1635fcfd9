"""Killed at any step, the next run ends in the right state, be it a person's or the schedule's."""

from __future__ import annotations

from tests.bed import Lab
from tests.bed.installed import InstalledLab
from tests.bed.picture import difference
from tests.bed.program import Program, succeeded

POLICY = "/usr/sbin/policy-rc.d"  # asked by each package whether its service may start


def rules(installed: InstalledLab, tool: str) -> list[str]:
    """Return a family's rules."""
    saved = installed.droplet.run([f"{tool}-save"]).stdout.splitlines()
    return [line for line in saved if line.startswith("-A ")]


class TestInstall:
    def test_killed_at_any_step_the_schedule_or_the_next_install_goes_on_with_it(
        self, installed: InstalledLab, stride: int
    ) -> None:
        right = {tool: rules(installed, tool) for tool in ("iptables", "ip6tables")}
        installed.clean()
        steps = installed.steps("install")
        assert len(steps) > 20
        if installed.lab.iptables == "legacy":  # what writes rules; the rest is no different from nft
            steps = [step for step in steps if step[0] == "setsockopt"]
            assert steps
        bad = {}
        for number, step in enumerate(steps[::stride]):
            installed.clean()
            installed.killed(step, "install")
            for tool in ("iptables", "ip6tables"):
                assert rules(installed, tool) in ([], right[tool]), f"half of a family's rules after {step}"
            if number % 2 and installed.is_scheduled():
                installed.scheduled()
            else:
                installed.install()
            if installed.wrong():
                bad[step] = installed.wrong()
        assert bad == {}

    def test_a_power_loss_while_packages_are_installed_is_no_obstacle(self) -> None:
        """dpkg is stopped half-way and refuses everything else until that is finished."""
        with Lab() as lab:
            program = Program(lab)
            droplet = lab.droplet
            policy = droplet.path(POLICY).read_text()
            droplet.path(POLICY).write_text("#!/bin/sh\nkill -9 $(pidof dpkg)\nexit 101\n")
            cut_off = program.download("install", DO_KEY=lab.token)
            assert cut_off.returncode == 1
            assert "apt-get" in cut_off.stderr
            assert "dpkg --configure -a" in droplet.run(["apt-get", "-y", "install", "cron"], check=False).stderr
            droplet.reboot()
            droplet.path(POLICY).write_text(policy)
            succeeded(program.download("install", DO_KEY=lab.token))
            assert droplet.run(["dpkg", "--audit"]).stdout == ""


class TestUninstall:
    def test_what_a_killed_install_began_to_write_goes_too(self, nft: InstalledLab) -> None:
        nft.uninstall()
        clean = nft.state()
        for number in (2, 3, 5):
            succeeded(nft.program.download("--version"))  # unpacks itself, which takes renames too
            nft.killed(("rename", number), "install")
            assert any(path.endswith(".droplan-new") for path in nft.state()), "it was killed in the midst of it"
            nft.uninstall()
            assert difference(clean, nft.state()) == {}
        nft.install()
        assert nft.wrong() == {}

    def test_killed_half_way_install_mends_it(self, nft: InstalledLab) -> None:
        for step in (("unlink", 1), ("vfork", 3), ("unlinkat", 100)):
            nft.killed(step, "uninstall")
            nft.install()
            assert nft.wrong() == {}, step
