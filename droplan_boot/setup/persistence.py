"""How the rules outlive a reboot on this machine.

Where iptables-persistent or iptables-services load saved rules at boot, ours are saved there. Elsewhere (nft, ufw,
which must not meet a second loader, or none of those packages) our own unit replays the snapshot before the network
comes up.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from droplan_boot import paths
from droplan_boot.access.policy import Policy
from droplan_boot.firewall import edits, ruleset
from droplan_boot.firewall.backend import Backend
from droplan_boot.firewall.iptables import Iptables
from droplan_boot.host import selinux
from droplan_boot.host.doors import Host

UNIT_NAME: Final = "droplan-restore.service"
UNIT: Final = Path("/etc/systemd/system") / UNIT_NAME
UNIT_TEXT: Final = f"""\
# Written by `droplan install`, which undoes changes made here.
[Unit]
Description=Restore droplan's firewall rules
Documentation=file:{paths.REFRESH}
DefaultDependencies=no
RequiresMountsFor={paths.PROGRAM} {paths.STATE}
After=local-fs.target ufw.service nftables.service
Before=network-pre.target shutdown.target
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

# Programs that write rules as they run. Loaded at boot from a file, those rules would be stale and, with some
# programs, doubled. fail2ban, Docker, Podman, Kubernetes and its network plugins, libvirt, ufw.
_DYNAMIC: Final = re.compile(
    r"^:(?:f2b-|DOCKER|KUBE-|CNI-|cali-|FLANNEL|CILIUM|WEAVE|NETAVARK|LIBVIRT_|ufw-)", re.MULTILINE
)


@dataclass(frozen=True)
class Saved:
    """Where saved rules are loaded from at boot.

    Args:
        loaders: the services that load them.
        files: by IP version.
        mode: their permission bits.
    """

    loaders: tuple[str, ...]
    files: dict[int, Path]
    mode: int


_DEBIAN: Final = Saved(
    ("netfilter-persistent",), {4: Path("/etc/iptables/rules.v4"), 6: Path("/etc/iptables/rules.v6")}, 0o640
)
_EL: Final = Saved(
    ("iptables", "ip6tables"), {4: Path("/etc/sysconfig/iptables"), 6: Path("/etc/sysconfig/ip6tables")}, 0o600
)


def loader(host: Host, backend: Backend, packages: Collection[str] = ()) -> Saved | None:
    """Find what loads saved rules at boot; None when our own unit has to.

    Args:
        host: this machine.
        backend: how rules are written here.
        packages: what is there or, in a dry run, would be.
    """
    if not isinstance(backend, Iptables) or host.runner.which("ufw"):
        return None
    plugin = Path("/usr/share/netfilter-persistent/plugins.d/15-ip4tables")
    if "iptables-persistent" in packages or host.files.exists(plugin):
        return _DEBIAN
    unit = Path("/usr/lib/systemd/system/iptables.service")
    if {"iptables-services", "iptables-nft-services"} & set(packages) or host.files.exists(unit):
        return _EL
    return None


def save(host: Host, backend: Backend, policy: Policy) -> Iterator[str]:
    """Save the rules that are in force, where a loader reads them; write only what differs.

    Yields:
        A line for each file that was written.

    Raises:
        DroplanError: one could not be written; it is as it was.
    """
    saved = loader(host, backend)
    if saved is None or not isinstance(backend, Iptables):
        return
    for version in backend.save:
        path = saved.files[version]
        old = host.files.read(path)
        text = _text(backend.last(version), policy, version, (old or b"").decode(errors="surrogateescape"))
        data = text.encode(errors="surrogateescape")
        backup = path.with_name(path.name + _BACKUP)
        if old and b"droplan-" not in old and not host.files.exists(backup):
            host.files.write(backup, old, host.files.mode(path))
        problem = host.files.ensure(path, data, saved.mode)
        if problem:
            selinux.restore(host, (path, backup))
            yield f"Saved the IPv{version} rules to {path} (was {problem})"


def only_ours(dump: str) -> bool:
    """Whether a program that writes rules as it runs lives here, so that only our own rules may be saved."""
    return bool(_DYNAMIC.search(dump))


def forget(host: Host, former: Policy | None, enabled: Collection[str]) -> Iterator[str]:
    """Take our rules out of the saved files, and put back what was there before us.

    Args:
        host: this machine.
        former: what was enforced last, if known.
        enabled: the services that we enabled. What such a one loads, nothing loaded before us and nothing will.

    Yields:
        A line for each file that changed.
    """
    for saved in (_DEBIAN, _EL):
        idle = saved.loaders[0] in enabled
        for version, path in saved.files.items():
            old = host.files.read(path)
            backup = path.with_name(path.name + _BACKUP)
            if old is None or b"droplan-" not in old:
                if old is not None and host.files.read(backup) == old:
                    host.files.remove(backup)  # an earlier run was killed after it had put the file back
                continue
            before = host.files.read(backup)
            text = splice(old.decode(errors="surrogateescape"), ruleset.nothing(former, version))
            others = "\n-A " in text
            if before is not None and (idle or not others or _rules(before.decode(errors="replace")) == _rules(text)):
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


def splice(text: str, wanted: ruleset.Ruleset) -> str:
    """Put our rules into a saved file, and leave all else in it as it is.

    Args:
        text: the file, in iptables-save's format; "" for none.
        wanted: our rules.

    Returns:
        The new text: every line of others as it was, ours as wanted.
    """
    lines = text.removesuffix("\n").split("\n") if text else []
    if "*filter" not in lines:
        lines += ["*filter", ":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", "COMMIT"]
    start = lines.index("*filter")
    end = lines.index("COMMIT", start) if "COMMIT" in lines[start:] else len(lines)
    bare = [re.sub(r"^\[\d+:\d+\] (?=-A )", "", line) for line in lines]  # saved with `-c`, rules begin with counters
    table = edits.parse("\n".join(bare[start:end]))
    drop = {
        hook: edits.mine(rules, edits.known(hook, wanted)) for hook, rules in table.items() if hook in ruleset.HOOKS
    }
    kept: list[str] = []
    count: dict[str, int] = {}
    for line, rule in zip(lines[start + 1 : end], bare[start + 1 : end]):
        chain = (
            rule.split(" ")[1] if rule.startswith("-A ") else rule[1:].split(" ")[0] if rule.startswith(":") else ""
        )
        if chain.startswith(ruleset.PREFIX):
            continue
        if rule.startswith("-A "):
            count[chain] = count.get(chain, -1) + 1
            if count[chain] in drop.get(chain, ()):
                continue
        kept.append(line)
    declared = [line for line in kept if line.startswith(":")]
    others = [line for line in kept if not line.startswith(":")]
    ours = [f":{chain} - [0:0]" for chain in wanted.chains]
    rules = [f"-A {hook} {rule}" for hook in ruleset.HOOKS for rule in wanted.heads.get(hook, ())]
    rules += [f"-A {chain} {rule}" for chain, listed in wanted.chains.items() for rule in listed]
    lines[start + 1 : end] = [*declared, *ours, *rules, *others]
    return "\n".join([*lines, ""])


def _text(dump: str, policy: Policy, version: int, old: str) -> str:
    if only_ours(dump):
        return splice(old, ruleset.build(policy, version))
    return _bare(dump)


def _bare(dump: str) -> str:
    """Leave out counters and the time of day, which would make every save differ from the one before."""
    text = re.sub(r"^#.*\n", "", dump, flags=re.MULTILINE)
    return re.sub(r"^(:\S+ \S+) \[\d+:\d+\]$", r"\1 [0:0]", text, flags=re.MULTILINE)


def _rules(text: str) -> dict[str, list[str]]:
    """Reduce a saved file to what it sets: each table's chains and rules. Tables that set nothing are left out."""
    tables: dict[str, list[str]] = {}
    chains: dict[str, list[str]] = {}
    name = ""
    for line in _bare(text).splitlines():
        if line.startswith("*"):
            name = line
        elif line.startswith(":") and not line.endswith(" ACCEPT [0:0]"):
            chains.setdefault(name, []).append(line)
        elif line.startswith("-"):
            tables.setdefault(name, []).append(line)
    return {name: sorted(chains.get(name, ())) + tables.get(name, []) for name in {*tables, *chains}}
