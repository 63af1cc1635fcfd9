"""How the rules outlive a reboot on this machine.

Wherever systemd runs, our own unit replays the snapshot before the network comes up: guard and door. Where
iptables-persistent or iptables-services load saved rules at boot, the door is saved there too (not beside ufw, which
must not meet a second loader), and the guard where it is in mangle. The files hold our rules and what stood there
before us, never what other programs had written at that moment: loaded at boot, that would be stale and, with some
programs, doubled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from droplan_boot import paths
from droplan_boot.access.policy import Policy
from droplan_boot.firewall import ruleset
from droplan_boot.firewall import saved as saved_rules
from droplan_boot.firewall.iptables import Iptables
from droplan_boot.host import selinux
from droplan_boot.host.doors import Host
from droplan_boot.host.services import Services
from droplan_boot.plural import counted
from droplan_boot.setup import loaders

UNIT_NAME: Final = "droplan-restore.service"
UNIT: Final = Path("/etc/systemd/system") / UNIT_NAME
UNIT_TEXT: Final = f"""\
# Written by `droplan install`, which undoes changes made here.
[Unit]
Description=Restore droplan's firewall rules
Documentation=file:{paths.REFRESH}
DefaultDependencies=no
RequiresMountsFor={paths.PROGRAM} {paths.STATE}
# After whatever loads rules from files, for it flushes what is there. Before firewalld, which flushes no table of
# nftables: it starts late, and a unit that is to come before the network cannot wait for it.
After=local-fs.target systemd-modules-load.service ufw.service nftables.service
After=netfilter-persistent.service iptables.service ip6tables.service
Before=network-pre.target firewalld.service shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={paths.PROGRAM} restore

[Install]
WantedBy=multi-user.target
"""

_BACKUP: Final = ".before-droplan"


def save(host: Host, door: Iptables | None, policy: Policy) -> Iterator[str]:
    """Save our rules where a loader reads them, beside what is saved there already; write only what differs.

    It is never a dump of all rules in force. Those that fail2ban, Docker, Tailscale or a person wrote as they went
    would be stale when they are loaded again, and with some programs doubled. droplan 1.0.0 dumped them where it knew
    of no such program. A file that holds its dump loses only the rules that are ours: whose the others are, nobody
    can tell by now. What stood in a file that nothing loaded before us stays out of it (its copy keeps it).

    Yields:
        A line for each file that was written.

    Raises:
        DroplanError: one could not be written; it is as it was.
    """
    saved = loaders.loader(host, door)
    if saved is None or door is None:
        return
    for version in door.save:
        path = saved.files[version]
        old = host.files.read(path)
        if policy.observe and b"droplan-" not in (old or b""):
            continue  # there is nothing of ours to take out, and nothing is to be loaded that was not before
        backup = path.with_name(path.name + _BACKUP)
        kept = host.files.read(backup)
        first = old is not None and b"droplan-" not in old and kept in (None, old)
        text, left_out = saved_rules.mended((old or b"").decode(errors="surrogateescape"))
        if first and saved is loaders.EL and _dormant(host, saved.loaders[0 if version == 4 else -1]):
            text, left_out = "", ()
        for wanted in door.wanted(policy, version, door.last(version)):
            text = saved_rules.splice(text, wanted)
        data = text.encode(errors="surrogateescape")
        if old and first and kept is None:
            host.files.write(backup, old, host.files.mode(path))
        problem = host.files.ensure(path, data, saved.mode)
        if left_out:
            shown = "; ".join(ascii(line[:60]) for line in left_out[:3])
            lines = counted(len(left_out), "line")
            yield f"Left {lines} out of {path} that iptables-restore cannot read: {shown}"
        if problem:
            selinux.restore(host, (path, backup))
            yield f"Saved the IPv{version} rules to {path} (was {problem})"


def _dormant(host: Host, loader: str) -> bool:
    """Whether nothing loaded what is saved before we enabled its loader, which nobody started since.

    So it is with the rules that come with iptables-services: loaded at the next boot, they would let in SSH only, by
    the public interface too.
    """
    services = Services(host)
    return loader in services.remembered() and not services.active(loader)


def holding(host: Host) -> Iterator[Path]:
    """Find the files of saved rules that hold rules of ours."""
    for saved in (loaders.DEBIAN, loaders.EL):
        for path in saved.files.values():
            if b"droplan-" in (host.files.read(path) or b""):
                yield path


def forget(host: Host, former: Policy | None, enabled: Collection[str]) -> Iterator[str]:
    """Take our rules out of the saved files, and put back what was there before us.

    Args:
        host: this machine.
        former: what was enforced last, if known.
        enabled: the services that we enabled. What such a one loads, nothing loaded before us and nothing will.

    Yields:
        A line for each file that changed.
    """
    for saved in (loaders.DEBIAN, loaders.EL):
        idle = saved.loaders[0] in enabled
        for version, path in saved.files.items():
            old = host.files.read(path)
            backup = path.with_name(path.name + _BACKUP)
            if old is None or b"droplan-" not in old:
                if old is not None and host.files.read(backup) == old:
                    host.files.remove(backup)  # an earlier run was killed after it had put the file back
                continue
            before = host.files.read(backup)
            text = old.decode(errors="surrogateescape")
            for table in ruleset.TABLES:
                text = saved_rules.splice(text, ruleset.nothing(former, version, table))
            others = "\n-A " in text
            if before is not None and (
                idle or not others or saved_rules.rules(before.decode(errors="replace")) == saved_rules.rules(text)
            ):
                host.files.write(path, before, host.files.mode(backup))
                host.files.remove(backup)
                selinux.restore(host, (path,))
                yield f"Put {path} back as it was"
            elif others and not idle:
                host.files.write(path, text.encode(errors="surrogateescape"), saved.mode)
                selinux.restore(host, (path,))
                kept = f" ({backup} is how it was before droplan)" if before is not None else ""
                yield f"Took our rules out of {path}; it keeps the others' that were saved with them{kept}"
            else:
                host.files.remove(path)
                yield f"Removed {path}, which held nothing but our rules"
