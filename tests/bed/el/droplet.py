"""A lab's Droplet made to look like Enterprise Linux or Fedora, with what this machine lacks to be one stood in for.

The file system below is Debian's. What droplan can tell a distribution by is exchanged: os-release, the package
manager, systemctl, the commands' names. docs/distributions.md says what that does not show.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.bed import Lab
from tests.bed.el import rpms
from tests.bed.program import Program

_HERE = Path(__file__).parent
OS_RELEASES = _HERE.parent / "os-release"
_LAB = "/usr/lib/lab"  # where what the stand-ins call is moved to

# Debian's own, which no such machine has.
_DEBIAN = (
    *("usr/bin/apt*", "usr/bin/dpkg*", "usr/bin/debconf*", "usr/sbin/update-rc.d", "usr/bin/deb-systemd-*"),
    *("usr/bin/update-alternatives", "usr/sbin/policy-rc.d", "etc/debian_version", "usr/sbin/ufw", "root/.rpmdb"),
    *("usr/share/netfilter-persistent", "etc/init.d/*", "usr/sbin/cron", "var/lib/rpm"),
)

_DNF = """\
#!/bin/sh
exec /usr/bin/dnf-3 --setopt=reposdir=/etc/yum.repos.d "$@"
"""

# yum 3.4.3 as on CentOS 7, which has no options for what to list, only words.
_YUM = """\
#!/bin/sh
for word; do
    case $word in
        --available | --installed | --setopt=install_weak_deps=*)
            echo "Command line error: no such option: $word" >&2
            exit 1 ;;
    esac
done
exec /usr/bin/dnf-3 --setopt=reposdir=/etc/yum.repos.d "$@"
"""

_REPOSITORY = """\
[stand-ins]
name=Stand-ins
baseurl=file:///srv/repository
gpgcheck=0
"""

# iptables 1.4.21 says no variant, and its restore command knows no -w.
_OLD_IPTABLES = """\
#!/bin/sh
case "{name} $*" in
    *tables' '-V | *tables' '--version) echo "{name} v1.4.21"; exit 0 ;;
    *-restore*' '-w* | *-restore*' '--wait*) echo "{name}: unrecognized option '-w'" >&2; exit 2 ;;
esac
exec /usr/sbin/xtables-legacy-multi {name} "$@"
"""

_UNAME = f"""\
#!/bin/sh
[ "$*" = -r ] || exec {_LAB}/uname "$@"
echo "$(cat /etc/kernel-that-runs).$({_LAB}/uname -m)"
"""

# In the words of iptables 1.8.11 where the kernel has no xt_conntrack.
_NO_CONNTRACK = """\
#!/bin/sh
rules=$(cat)
case $rules in
    *conntrack*) [ -e "/usr/lib/modules/$(cat /etc/kernel-that-runs)/extra/xt_conntrack.ko" ] || {
        echo "Warning: Extension conntrack revision 0 not supported, missing kernel module?" >&2
        echo "iptables-restore v1.8.11 (nf_tables): " >&2
        echo "line 3: RULE_APPEND failed (No such file or directory): rule in chain droplan-probe" >&2
        exit 4
    } ;;
esac
printf '%s\\n' "$rules" | exec /usr/sbin/xtables-nft-multi {name} "$@"
"""

# In the words of policycoreutils. What is wrong stands in a file; a label that was restored goes from it.
_RESTORECON = """\
#!/bin/sh
echo "$*" >>/run/restorecon.log
for word; do
    case $word in
        -n) dry=1 ;;
        /*) grep -q "^$word" /etc/wrong-labels && echo "Would relabel $word from etc_t to its own"
            [ "$dry" ] || sed -i "\\\\|^$word|d" /etc/wrong-labels ;;
    esac
done
exit 0
"""


@dataclass(frozen=True)
class Release:
    """What distinguishes a release for droplan.

    Args:
        name: of its os-release among OS_RELEASES.
        tool: the one package manager command it has: ``yum``, ``dnf`` or ``dnf5``.
        iptables: ``1.4.21`` (legacy, before there were variants), ``plain`` (nf_tables, no iptables-nft names) or
            ``nft`` (with them).
        loader: the package that brings iptables.service.
    """

    name: str
    tool: str
    iptables: str
    loader: str


RELEASES = {
    release.name: release
    for release in (
        Release("centos-7", "yum", "1.4.21", "iptables-services"),
        Release("almalinux-8", "dnf", "plain", "iptables-services"),
        Release("almalinux-9", "dnf", "nft", "iptables-nft-services"),
        Release("almalinux-10", "dnf", "nft", "iptables-nft-services"),
        Release("fedora-42", "dnf5", "nft", "iptables-services"),
    )
}


class ElDroplet(Program):
    """droplan on a Droplet that looks like a release.

    Args:
        lab: a lab made with ``variant(release)``.
        release: which.
        repository: whose packages it can install: a name of ``rpms.REPOSITORIES``; the release's own by default.
        systemd: whether systemd runs it.
        has_service: whether it has the command ``service``.
    """

    def __init__(
        self, lab: Lab, release: Release, *, repository: str = "", systemd: bool = True, has_service: bool = True
    ) -> None:
        super().__init__(lab)
        self.release = release
        self.systemd = systemd
        self.has_service = has_service
        self._hide()
        self.identify(release.name)
        shutil.copytree(rpms.repository(repository or release.name), self._at("srv/repository"), dirs_exist_ok=True)
        self.write("/etc/yum.repos.d/stand-ins.repo", _REPOSITORY)
        self.write("/etc/rpm/macros", "%_dbpath /var/lib/rpm\n")
        self.write("/etc/sudoers", "Defaults    secure_path = /sbin:/bin:/usr/sbin:/usr/bin\n", 0o440)
        self._package_manager()
        self._iptables()
        self._services()
        self.boot()

    def _at(self, path: str) -> Path:
        return self.droplet.path(path)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the Droplet, in place of what is there."""
        target = self._at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def exists(self, path: str) -> bool:
        """Whether a file of the Droplet is there."""
        return os.path.lexists(self._at(path))

    def identify(self, name: str) -> None:
        """Give the Droplet one of the OS_RELEASES as its os-release."""
        self.write("/usr/lib/os-release", (OS_RELEASES / name).read_text())

    def boot(self) -> None:
        """Let systemd be there, and start what is enabled."""
        if self.systemd:
            self._at("run/systemd/system").mkdir(parents=True)
            self.systemctl("boot")

    def reboot(self) -> None:
        """Boot again: the file system stays, rules and processes don't."""
        self.droplet.reboot()
        self.boot()

    def systemctl(self, *words: str) -> str:
        """Run systemctl; return what it prints."""
        return self.droplet.run(["systemctl", *words], check=False).stdout.strip()

    def calls(self) -> list[str]:
        """List the calls of systemctl since boot."""
        return self.read("/run/systemctl.log").splitlines()

    def units(self, *names: str) -> dict[str, str]:
        """Tell for each unit whether it is enabled and active, in systemctl's words."""
        return {
            name: f"{self.systemctl('is-enabled', name) or 'absent'} {self.systemctl('is-active', name)}"
            for name in names
        }

    def firewalld(self) -> str:
        """Ask firewalld how it is, in its own words; one that has just started answers once its rules are written."""
        done = self.droplet.run(["firewall-cmd", "--state"], check=False)
        return (done.stdout + done.stderr).strip()

    def add(self, *packages: str) -> None:
        """Install packages as the Droplet's owner."""
        self.droplet.run([self.release.tool, "-y", "install", *packages], timeout=120)

    def installed(self, *packages: str) -> list[str]:
        """List those of the packages that are installed."""
        return [name for name in packages if self.droplet.run(["rpm", "-q", name], check=False).returncode == 0]

    def mode(self, path: str) -> int:
        """Return a file's permission bits."""
        return self._at(path).stat().st_mode & 0o7777

    def tree(self) -> dict[str, str]:
        """Describe what is in /etc, among systemd's units and wherever else droplan writes."""
        root = self._at("/")
        found: dict[str, str] = {}
        for top in ("etc", "usr/lib/systemd", "var/spool", "opt/droplan", "var/lib/droplan", "var/log/droplan.log"):
            if os.path.lexists(root / top):
                found[f"/{top}"] = _describe(root / top)
            for folder, folders, files in os.walk(root / top):
                place = f"/{Path(folder).relative_to(root)}"
                folders[:] = [name for name in folders if f"{place}/{name}" not in _RECORDS]
                names = [name for name in (*folders, *files) if f"{place}/{name}" not in _RECORDS]
                found |= {f"{place}/{name}": _describe(Path(folder, name)) for name in names}
        return found

    def selinux(self, *wrong: str) -> None:
        """Have SELinux enforced, where these files (and new ones of the same names) have a wrong label."""
        self.droplet.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/sys/fs"])
        self.write("/sys/fs/selinux/enforce", "1")
        self.write("/usr/sbin/restorecon", _RESTORECON, 0o755)
        self.write("/etc/wrong-labels", "".join(f"{path}\n" for path in wrong))

    def kernel(self, version: str) -> None:
        """Say which kernel runs, of rpms.KERNELS. Its xt_conntrack is in kernel-modules-extra."""
        self.write("/etc/kernel-that-runs", f"{version}\n")
        if not self.exists(f"{_LAB}/uname"):
            self._move("/usr/bin/uname")
            self.write("/usr/bin/uname", _UNAME, 0o755)
            for name in ("iptables-nft-restore", "ip6tables-nft-restore"):
                self.write(f"/usr/sbin/{name}", _NO_CONNTRACK.replace("{name}", name), 0o755)

    def _move(self, path: str) -> None:
        self._at(_LAB).mkdir(exist_ok=True)
        shutil.move(str(self._at(path)), str(self._at(f"{_LAB}/{Path(path).name}")))

    def _hide(self) -> None:
        for pattern in (*_DEBIAN, rpms.POLKIT):
            for found in self._at("/").glob(pattern):
                if found.is_dir() and not found.is_symlink():
                    shutil.rmtree(found)
                else:
                    found.unlink()

    def _package_manager(self) -> None:
        self._at("usr/bin/dnf").unlink()
        script = _YUM if self.release.tool == "yum" else _DNF
        self.write(f"/usr/bin/{self.release.tool}", script, 0o755)

    def _iptables(self) -> None:
        if self.release.iptables == "nft":
            return
        for tool in ("iptables", "ip6tables"):
            for suffix in ("", "-save", "-restore"):
                for variant in ("legacy", "nft"):
                    self._at(f"usr/sbin/{tool}-{variant}{suffix}").unlink()
                path = self._at(f"usr/sbin/{tool}{suffix}")
                path.unlink()
                if self.release.iptables == "plain":
                    path.symlink_to("xtables-nft-multi")
                else:
                    self.write(f"/usr/sbin/{path.name}", _OLD_IPTABLES.format(name=path.name), 0o755)

    def _services(self) -> None:
        self._move("/usr/bin/systemctl")
        self.write("/usr/bin/systemctl", (_HERE / "systemctl.py").read_text(), 0o755)
        for link in self._at("etc/systemd/system/multi-user.target.wants").glob("*"):
            link.unlink()
        if not self.has_service:
            self._at("usr/sbin/service").unlink()


def variant(release: Release) -> str:
    """Name the lab's variant of iptables that a release has."""
    return "legacy" if release.iptables == "1.4.21" else "nft"


UNPACKED = "/var/lib/droplan"
"""The directory that any start of a zipapp makes, to unpack below it; ``tree`` shows all else that is in it."""

# Written by every run of dnf or of droplan, with the time in it, and what a starting zipapp unpacks; the lab's own.
_RECORDS = (
    *("/etc/dnf", "/var/lib/droplan/zipapp", "/var/lib/droplan/status.json", "/var/lib/droplan/snapshot.json"),
    *("/var/lib/droplan/metrics.prom", "/var/lib/droplan/budget.json", "/var/lib/droplan/verified.json"),
    "/var/lib/droplan/answer.json",
    *("/etc/kernel-that-runs", "/etc/wrong-labels", "/etc/mtab"),
)


def in_force(rules: str) -> list[str]:
    """Return the rules, chains and policies of a dump that do something; empty tables come by looking at them."""
    lines = rules.splitlines()
    return [line for line in lines if line.startswith("-A") or (line[:1] == ":" and not line.endswith(" ACCEPT"))]


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """List the paths that two descriptions of a tree differ in."""
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


def _describe(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    found = path.stat()
    kind = (
        "directory" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "other"
    )
    return f"{found.st_mode & 0o7777:04o} {found.st_uid}:{found.st_gid} {kind}"
