"""A kernel's packet filter in memory, behind the commands that write and read it.

True enough to judge our rules beside other programs': iptables' tables of both variants and nft's own stand in one
kernel, all are walked, and each program obeys and refuses as the real one does (see
:mod:`tests.bed.memory.xtables` and :mod:`tests.bed.memory.nft`). iptables-nft's tables are kept as iptables spells
them: ``nft list`` does not show them, but
``nft flush ruleset`` takes them away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from droplan_boot.firewall.iptables import Iptables
from droplan_boot.firewall.iptables_restore import RestoreWriter
from droplan_boot.host.command import Completed
from droplan_boot.host.nfnetlink import Generation
from tests.bed.memory.doors import FakeCommands, ended
from tests.bed.memory.machine import Netfilter
from tests.bed.memory.packet import Packet, Verdict, icmp_error
from tests.bed.memory.xtables import HOOKS, LONGEST_NAME, Table
from tests.bed.memory.xtables_rules import TERMINAL, NetfilterError, read

__all__ = [
    "HOOKS", "LONGEST_NAME", "TERMINAL", "Kernel", "Netfilter", "NetfilterError", "Packet", "Table", "Verdict",
    "icmp_error", "read",
]  # fmt: skip

TOOLS = ((4, "iptables"), (6, "ip6tables"))
Meddler = Callable[[dict[int, Table]], None]


@dataclass
class Kernel(FakeCommands):
    """A machine with iptables and nft, and other programs that may write at any moment.

    Args:
        tables: the filter tables of iptables-nft.
        scripts: what was given to iptables-restore, with its version.
        nft_scripts: what was given to ``nft -f``.
        meddlers: what others do to the tables, one before each of our writes, as long as there are any.
        spoilers: likewise, after our writes.
        before: called before every write, with this machine and the write's number from 0; raise to kill the writer.
        after: called after every write that was obeyed.
        alternative: the variant that ``iptables`` and its kin are: ``nft`` or ``legacy``.
        namespace: the number of its network namespace.
        commits: how many transactions of nf_tables there were.
    """

    tables: dict[int, Table] = field(default_factory=lambda: {4: Table(version=4), 6: Table(version=6)})
    scripts: list[tuple[int, str]] = field(default_factory=list)
    nft_scripts: list[str] = field(default_factory=list)
    meddlers: list[Meddler] = field(default_factory=list)
    spoilers: list[Meddler] = field(default_factory=list)
    before: list[Callable[[Kernel, int], None]] = field(default_factory=list)
    after: list[Callable[[Kernel, int], None]] = field(default_factory=list)
    alternative: str = "nft"
    writes: int = 0
    namespace: int = 1
    commits: int = 0

    def __post_init__(self) -> None:
        self.netfilter = Netfilter(self.tables)
        self._looked = (0, repr(self.netfilter))
        for version, tool in TOOLS:
            for infix in ("", "-nft", "-legacy"):
                self._knows_tool(version, tool, infix)
        self.knows("iptables", self._iptables, at=Path("/usr/sbin/xtables-nft-multi"))
        self.knows("nft", self._nft)

    def _knows_tool(self, version: int, tool: str, infix: str) -> None:
        def variant() -> str:
            return infix[1:] or self.alternative

        def save(argv: Sequence[str], stdin: str) -> str:
            return self.netfilter.save(variant(), version)

        def restore(argv: Sequence[str], stdin: str) -> str | Completed:
            return self._restore(variant(), version, argv, stdin)

        self.commands[f"{tool}{infix}-save"] = save
        self.commands[f"{tool}{infix}-restore"] = restore
        self.commands[f"{tool}{infix}"] = lambda argv, stdin: self._edit(variant(), version, argv)
        if infix == "-nft":  # the others are there to be run by who knows them; a search finds these
            self.knows(f"{tool}{infix}-save", save)
            self.knows(f"{tool}{infix}-restore", restore)

    def _iptables(self, argv: Sequence[str], stdin: str) -> str | Completed:
        if len(argv) > 1 and argv[1] not in ("-V", "--version"):
            return self._edit(self.alternative, 4, argv)
        return f"iptables v1.8.9 ({'nf_tables' if self.alternative == 'nft' else 'legacy'})"

    def generation(self) -> Generation:
        """Tell how many transactions there were; what a test changed by itself counts as one more."""
        commits, content = self._looked
        if commits == self.commits and content != repr(self.netfilter):
            self.commits += 1
        self._looked = (self.commits, repr(self.netfilter))
        return Generation(self.namespace, self.commits)

    def table_stands(self, table: str) -> bool:
        """Tell whether a table of nft's own is there, as the kernel does to whoever asks without nft."""
        family, name = table.split()
        return (family, name) in self.netfilter.nft.tables

    def loses(self, *beginnings: str) -> Callable[[], None]:
        """Have commands taken off the machine, by how they begin; return what puts them back.

        What they wrote stays in the kernel.
        """
        commands, places = dict(self.commands), dict(self.places)
        for known in (self.commands, self.places):
            for name in [each for each in known if each.startswith(beginnings)]:
                del known[name]

        def back() -> None:
            self.commands, self.places = commands, places

        return back

    def _write(self, argv: Sequence[str], do: Callable[[], None], variant: str = "nft") -> str | Completed:
        """Write once, others before and after it."""
        number, self.writes = self.writes, self.writes + 1
        for watch in self.before:
            watch(self, number)
        if self.meddlers:
            self.meddlers.pop(0)(self.tables)
            self.commits += 1
        try:
            do()
        except NetfilterError as error:
            return ended(argv, error.status, stderr=str(error))
        self.commits += variant == "nft"
        if self.spoilers:
            self.spoilers.pop(0)(self.tables)
            self.commits += 1
        for watch in self.after:
            watch(self, number)
        return ""

    def _restore(self, variant: str, version: int, argv: Sequence[str], script: str) -> str | Completed:
        assert "--noflush" in argv or "-n" in argv, "without --noflush everybody's rules are gone"
        if "--test" in argv or "-t" in argv:
            return self._tried(argv, lambda trial: trial.restore(variant, version, script))
        self.scripts.append((version, script))
        return self._write(argv, lambda: self.netfilter.restore(variant, version, script), variant)

    def _edit(self, variant: str, version: int, argv: Sequence[str]) -> str | Completed:
        """Do what ``iptables [-t TABLE] …`` does: a transaction of one line."""
        words = [word for word in argv[1:] if word not in ("-w", "--wait")]
        name = words[words.index("-t") + 1] if "-t" in words else "filter"
        if "-t" in words:
            del words[words.index("-t") : words.index("-t") + 2]
        line = " ".join(f'"{word}"' if " " in word else word for word in words)
        script = f"*{name}\n{line}\nCOMMIT\n"
        return self._write(argv, lambda: self.netfilter.restore(variant, version, script), variant)

    def _nft(self, argv: Sequence[str], stdin: str) -> str | Completed:
        words = [word for word in argv[1:] if word not in ("-a", "-n", "-nn", "-s", "-t")]
        checked = [word for word in words if word not in ("-c", "--check")]
        if words in (["-v"], ["--version"]):
            return "nftables v1.0.6 (Lester Gooch #5)"
        if checked == ["list", "ruleset"]:
            return self.netfilter.nft.list()
        if checked[:2] == ["list", "tables"]:
            return "".join(f"table {family} {name}\n" for family, name in self.netfilter.nft.tables)
        if checked[:2] == ["list", "table"]:
            family, name = checked[2:] if len(checked) == 4 else ("ip", checked[2])
            try:
                return self.netfilter.nft.list_table(family, name)
            except NetfilterError as error:
                return ended(argv, 1, stderr=f"{error}{' '.join(checked)}\n")
        if checked[:3] == ["list", "chain", "ip"]:  # what iptables-nft made is shown as well
            found = self.netfilter.table("nft", 4, checked[3]).chains
            return "" if checked[4] in found else ended(argv, 1, stderr="Error: No such file or directory\n")
        script = stdin if checked == ["-f", "-"] else " ".join(checked)
        if checked[:1] == ["-f"] and checked[1:] != ["-"]:
            raise NotImplementedError("the fake nft reads scripts from standard input only")
        if checked != words:
            return self._tried(argv, lambda trial: trial.run_nft(script))
        self.nft_scripts.append(script)
        return self._write(argv, lambda: self.netfilter.run_nft(script))

    def _tried(self, argv: Sequence[str], do: Callable[[Netfilter], None]) -> str | Completed:
        try:
            do(self.netfilter.copy())
        except NetfilterError as error:
            return ended(argv, error.status, stderr=str(error))
        return ""

    def receive(self, packet: Packet) -> Verdict:
        """Walk a packet that comes in through the whole machine."""
        return self.netfilter.receive(packet)

    def send(self, packet: Packet) -> Verdict:
        """Walk a packet that this machine sends."""
        return self.netfilter.send(packet)

    def picture(self) -> Netfilter:
        """Return a copy of all rules, to go back to."""
        return self.netfilter.copy()

    def put_back(self, picture: Netfilter) -> None:
        """Go back to a copy."""
        self.netfilter = picture.copy()
        self.tables.clear()
        self.tables.update(self.netfilter.filters)
        self.netfilter.filters = self.tables

    def backend(self, versions: Sequence[int] = (4, 6)) -> Iptables:
        """Return the real backend on this machine."""
        tools = {version: "iptables" if version == 4 else "ip6tables" for version in versions}
        return Iptables(
            "iptables-nft",
            self,
            {version: f"{tool}-nft-save" for version, tool in tools.items()},
            RestoreWriter(self, {version: f"{tool}-nft-restore" for version, tool in tools.items()}, waits=False),
        )
