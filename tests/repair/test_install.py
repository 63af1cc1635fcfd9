"""From whatever was broken, one `install` leads to the right state: the same as a first installation's."""

from __future__ import annotations

import re

import pytest

from tests.bed.installed import InstalledLab
from tests.bed.program import ANSWER, CRON, PROGRAM, REFRESH, SAVED, SETTINGS, SNAPSHOT, STATUS, VERIFIED, sentence

FILES = (PROGRAM, REFRESH, CRON, SETTINGS, SNAPSHOT, STATUS, VERIFIED, ANSWER, SAVED[4], SAVED[6])

# What may have happened to a file, as shell.
HARM = {
    "missing": "rm $file",
    "empty": ": > $file",
    "altered": "echo x >> $file",
    "cut short": "truncate -s -2 $file",
    "writable by all": "chmod 0666 $file",
    "hidden from its owner": "chmod 0000 $file",
    "set-uid": "chmod u+s $file",
    "somebody else's": "chown 65534:65534 $file",
    "a link": "mv $file $file.elsewhere; ln -s $file.elsewhere $file",
    "a link to nothing": "ln -sf /nowhere $file",
    "hard-linked elsewhere": "ln $file $file.elsewhere",
    "an empty directory": "rm $file; mkdir $file",
    "a pipe": "rm $file; mkfifo $file",
    "half written": "head -c 9 $file > $file.droplan-new",
    "half written, by a link": "ln -s /etc/hostname $file.droplan-new",
}
# Who may have written settings decides where the token goes, so these are left for a person to look at.
NOT_SETTINGS = ("altered", "cut short", "writable by all", "somebody else's", "a link", "a link to nothing")

# What may have happened to the rules, as commands of iptables and ip6tables alike.
RULES = {
    "flushed": ["-F"],
    "our chain flushed": ["-F droplan-peers"],
    "our chain deleted": ["-D INPUT -i eth1 -j droplan-peers", "-F droplan-peers", "-X droplan-peers"],
    "everything deleted": ["-F", "-X"],
    "without the last rule": ["-D INPUT -i eth1 -j DROP"],
    "in another order": ["-D INPUT 1", "-A INPUT -i eth1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"],
    "behind somebody else's": ["-I INPUT -i eth1 -j ACCEPT", "-I FORWARD -j ACCEPT"],
    "behind what shuts everybody out": ["-I INPUT -i eth1 -j REJECT"],
    "doubled": ["-A INPUT -i eth1 -j droplan-peers", "-A INPUT -i eth1 -j DROP", "-A droplan-peers -j ACCEPT"],
    "open to a stranger": ["-I droplan-peers -j ACCEPT"],
    "with a chain of an older version": ["-N droplan-old", "-A droplan-old -j ACCEPT", "-I INPUT -j droplan-old"],
}
NOT_OURS = {
    "in another order": ["-D INPUT -i eth1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"],
    "behind somebody else's": ["-D INPUT -i eth1 -j ACCEPT", "-D FORWARD -j ACCEPT"],
    "behind what shuts everybody out": ["-D INPUT -i eth1 -j REJECT"],
}

# What may have happened to the guard, as commands of nft.
GUARD = {
    "deleted": "delete table inet droplan",
    "emptied": "flush table inet droplan",
    "without its peers": "flush set inet droplan droplan-addresses4",
    "with a stranger among the peers": "add element inet droplan droplan-addresses4 { 10.132.0.66 }",
    "open to all": "insert rule inet droplan droplan-private accept",
    "asked by nobody": "flush chain inet droplan prerouting",
    "with something of somebody else's": "add chain inet droplan mine",
}

# Other things that may be wrong.
MACHINE = {
    "no folder of ours": "rm -r /opt/droplan /etc/droplan /var/lib/droplan",
    "no folder for saved rules": "rm -r /etc/iptables",
    "an install that did not end": "echo > /var/lib/droplan/unfinished",
    "a directory in that mark's place": "mkdir /var/lib/droplan/unfinished",
    "a bootstrap that failed": "echo 'no network' > /var/lib/droplan/bootstrap.failed",
    "a snapshot of nonsense": """echo '{"droplet_id": 1, "written": "x", "policy": {"segments": 7}}' > $snapshot""",
    "a snapshot of bytes": "head -c 4096 /dev/urandom > $snapshot",
    "a snapshot of another Droplet": "sed -i 's/10.132.0.3/10.132.0.9/; s/2756294/1/' $snapshot",
    "a status of nonsense": "echo '[]' > $status",
    "no lock file": "rm -f /run/droplan.lock",
    "an unpacked program that was altered": "echo >> $(ls /var/lib/droplan/zipapp/*/*/requests/api.pyc)",
    "an unpacked program without a module": "rm -r /var/lib/droplan/zipapp/*/site-packages/requests",
    "a package's loader gone": "dpkg --force-depends --purge netfilter-persistent iptables-persistent 2>&1",
}


class TestFiles:
    @pytest.mark.parametrize("harm", HARM)
    def test_all_of_them_are_mended_at_once(self, nft: InstalledLab, harm: str) -> None:
        files = [file for file in FILES if file != SETTINGS or harm not in NOT_SETTINGS]
        for file in files:
            nft.sh(f"file={file}; {HARM[harm]}")
        assert set(files) <= {path.removesuffix(".droplan-new").removesuffix(".elsewhere") for path in nft.wrong()}
        nft.install()
        nft.sh(f"rm -f {' '.join(f'{file}.elsewhere' for file in FILES)}")
        assert nft.wrong() == {}

    @pytest.mark.parametrize("file", FILES)
    def test_each_is_mended_when_the_others_are_well(self, nft: InstalledLab, file: str) -> None:
        nft.sh(f"rm {file}")
        nft.install()
        assert nft.wrong() == {}

    @pytest.mark.parametrize("file", [PROGRAM, CRON, SETTINGS, SAVED[4]])
    def test_a_directory_with_something_in_it_is_not_removed_but_named(self, nft: InstalledLab, file: str) -> None:
        nft.sh(f"mv {file} /tmp/there; mkdir -p {file}/precious")
        done = nft.program.download("install", DO_KEY=nft.lab.token)
        assert done.returncode == 1
        assert sentence(done) == f"{file} is a directory: move it away and run droplan again"
        nft.sh(f"mv {file} /root/precious")
        nft.install()
        nft.sh("rm -r /root/precious /tmp/there")
        assert nft.wrong() == {}

    @pytest.mark.parametrize("harm", ["writable by all", "somebody else's"])
    def test_settings_that_others_may_have_written_are_not_believed_and_named(
        self, nft: InstalledLab, harm: str
    ) -> None:
        nft.sh(f"file={SETTINGS}; {HARM[harm]}")
        done = nft.program.download("install", DO_KEY=nft.lab.token)
        assert done.returncode == 1
        nft.sh(sentence(done).split("`")[1])
        nft.install()
        assert nft.wrong() == {}

    @pytest.mark.parametrize("folder", ["/opt/droplan", "/etc/droplan", "/etc/iptables"])
    def test_a_folder_that_others_may_write_is_not_trusted_and_named(self, nft: InstalledLab, folder: str) -> None:
        nft.sh(f"chmod 0777 {folder}; rm {folder}/*")
        done = nft.program.download("install", DO_KEY=nft.lab.token)
        assert done.returncode == 1
        advice = sentence(done).split("`")[1]
        nft.sh(advice)
        nft.install()
        assert nft.wrong() == {}


class TestRules:
    @pytest.mark.parametrize("harm", RULES)
    def test_they_are_mended_and_saved(self, installed: InstalledLab, harm: str) -> None:
        for tool in ("iptables", "ip6tables"):
            installed.program.edit(*RULES[harm], tool=tool)
        assert {"iptables", "ip6tables"} <= {*installed.wrong()}, "they are broken"
        installed.install()
        for tool in ("iptables", "ip6tables"):
            installed.program.edit(*NOT_OURS.get(harm, ()), tool=tool)
        installed.program.refresh()  # saves them without what was not ours
        assert installed.wrong() == {}

    # It is nft's own beside either variant; beside legacy tables it is mended at night.
    @pytest.mark.parametrize("installed", ["nft", pytest.param("legacy", marks=pytest.mark.nightly)], indirect=True)
    @pytest.mark.parametrize("harm", GUARD)
    def test_the_guard_is_mended(self, installed: InstalledLab, harm: str) -> None:
        installed.droplet.run(["nft", GUARD[harm]])
        assert "nft" in installed.wrong(), "it is broken"
        installed.install()
        assert installed.wrong() == {}

    def test_a_policy_that_somebody_else_set_stays(self, installed: InstalledLab) -> None:
        installed.program.edit("-P FORWARD DROP", "-F INPUT")
        installed.install()
        assert ":FORWARD DROP [0:0]\n" in installed.state()["iptables"]
        assert ":FORWARD ACCEPT [0:0]\n" in installed.program.read(SAVED[4]), "what is saved is never a dump"
        installed.program.edit("-P FORWARD ACCEPT")
        installed.program.refresh()
        assert installed.wrong() == {}


class TestMachine:
    @pytest.mark.parametrize("harm", MACHINE)
    def test_it_is_mended(self, nft: InstalledLab, harm: str) -> None:
        nft.sh(f"snapshot={SNAPSHOT} status={STATUS}; {MACHINE[harm]}")
        nft.install()
        assert {path: what for path, what in nft.wrong().items() if not is_aptitude(path)} == {}

    def test_cron_that_was_stopped_runs_again(self, nft: InstalledLab) -> None:
        nft.program.stop_cron()
        assert "service cron: fixed (was stopped)" in nft.install().stdout
        assert nft.program.crons()
        assert nft.wrong() == {}


class TestAgain:
    def test_nothing_changes_no_file_is_touched_and_no_rule_has_another_number(self, installed: InstalledLab) -> None:
        installed.install()  # the files as this very run leaves them
        before = installed.state(exact=True)
        done = installed.install()
        assert not re.search(": (created|fixed|installed)", done.stdout)
        assert installed.state(exact=True) == before

    def test_neither_does_the_schedule(self, installed: InstalledLab) -> None:
        installed.install()
        before = installed.state(exact=True)
        installed.scheduled()
        assert installed.state(exact=True) == before


def is_aptitude(path: str) -> bool:
    """Whether a file is the package manager's own book-keeping."""
    return path.startswith(("/var/lib/dpkg", "/var/log", "/var/cache", "/var/lib/apt", "/etc/rc"))
