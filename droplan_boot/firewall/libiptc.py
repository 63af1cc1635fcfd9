"""Write edits with python-iptables: only what changed, in one commit, without a process.

python-iptables writes the legacy tables only, and takes no lock: whatever another program commits between its read
and its commit is lost. So everything here happens under the lock that iptables itself uses.
"""

from __future__ import annotations

import ctypes.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from droplan_boot.errors import DroplanError, FirewallError
from droplan_boot.firewall import edits
from droplan_boot.firewall.iptables import Writer
from droplan_boot.host import lock

_XTABLES_LOCK: Final = Path("/run/xtables.lock")
_LOCK_S: Final = 8.0
_LIBRARIES: Final = ("xtables", "ip4tc", "ip6tc", "iptc", "c")
_FOLDERS: Final = ("usr/lib/*-linux-gnu", "lib/*-linux-gnu", "usr/lib64", "lib64", "usr/lib", "lib")
_FIELDS: Final = {"-i": "in_interface", "-s": "src", "-d": "dst", "-p": "protocol"}
_ALIASES: Final = {"ipv6-icmp": "icmpv6"}  # python-iptables knows only the other name of the protocol

_MODULES: Final = {"conntrack", "icmp6", "owner", "tcp", "udp"}

BULK: Final = 256
"""From so many rules on, iptables-legacy-restore is cheaper than python-iptables (docs/benchmarks.md)."""


def load() -> Any:
    """Import python-iptables without the 36 processes that its import starts to look for libraries.

    Returns:
        The module ``iptc``.

    Raises:
        FirewallError: it does not work here; the message says why.
    """
    real = ctypes.util.find_library
    ctypes.util.find_library = _library
    try:
        modules = _library("xtables")
        if modules:
            os.environ.setdefault("XTABLES_LIBDIR", str(Path(modules).parent / "xtables"))
        import iptc
    except Exception as error:  # its import can raise anything: OSError, its own errors, plain Exception
        raise FirewallError(f"python-iptables does not work here: {error}") from None
    finally:
        ctypes.util.find_library = real
    return iptc


@dataclass(frozen=True)
class LibiptcWriter:
    """python-iptables on the legacy tables.

    Args:
        iptc: the module, from :func:`load`.
        bulk: writes transactions of :data:`BULK` rules and more, and what python-iptables cannot.
    """

    iptc: Any
    bulk: Writer

    def write(self, version: int, table: str, planned: Sequence[edits.Edit]) -> None:
        """See :meth:`Writer.write`."""
        size = sum(len(step.rules) if isinstance(step, edits.Fill) else 1 for step in planned)
        if size >= BULK or not all(map(_knows, _rules(planned))) or not self._commit(version, table, planned):
            self.bulk.write(version, table, planned)

    def _commit(self, version: int, name: str, planned: Sequence[edits.Edit]) -> bool:
        """Write edits in one commit; return False when python-iptables could not, and nothing was written.

        It does not find every rule that it is to delete: IPv6 ones that ip6tables-restore wrote look otherwise to it.
        """
        kind = self.iptc.Table if version == 4 else self.iptc.Table6
        # The table is read anew under the lock, so that what others committed before is in it.
        with lock.held(_XTABLES_LOCK, wait=_LOCK_S):
            try:
                table = kind(name, autocommit=False)
                table.refresh()
                self._edit(table, version, planned)
                table.commit()
                table.close()
            except DroplanError:
                raise  # the time is up
            except Exception:  # IPTCError, XTablesError, OSError, ValueError: they have no common base
                return False
        return True

    def _edit(self, table: Any, version: int, planned: Sequence[edits.Edit]) -> None:
        fills = [edit for edit in planned if isinstance(edit, edits.Fill)]
        erased = [edit.chain for edit in planned if isinstance(edit, edits.Erase)]
        for fill in fills:  # all chains first: rules refer to each other's
            if table.is_chain(fill.chain):
                table.flush_entries(fill.chain)
            else:
                table.create_chain(fill.chain)
        for fill in fills:
            for rule in fill.rules:
                self.iptc.Chain(table, fill.chain).append_rule(self._rule(version, rule))
        for edit in planned:
            if isinstance(edit, edits.Delete):
                self.iptc.Chain(table, edit.chain).delete_rule(self._rule(version, edit.rule))
            elif isinstance(edit, edits.Insert):
                self.iptc.Chain(table, edit.chain).insert_rule(self._rule(version, edit.rule), edit.position - 1)
        for chain in erased:
            table.flush_entries(chain)
        for chain in erased:
            table.delete_chain(chain)

    def _rule(self, version: int, text: str) -> Any:
        """Make python-iptables' rule from our own spelling, which is a small part of iptables'."""
        rule = self.iptc.Rule() if version == 4 else self.iptc.Rule6()
        match = None
        words = iter(text.split())
        for word in words:
            value = next(words)
            if word in ("-j", "-g"):
                match = rule.create_target(value, goto=word == "-g")
            elif word == "-m":
                match = rule.create_match(value)
            elif word in _FIELDS:
                setattr(rule, _FIELDS[word], _ALIASES.get(value, value))
                if word == "-i" and version == 6:
                    # python-iptables writes a mask of 01 bytes for IPv6, which takes eth3 for eth1, and which
                    # ip6tables does not take for its own: it could not delete such a rule.
                    rule.entry.ipv6.iniface_mask = b"\xff" * (len(value) + 1)
            elif match is not None and word.startswith("--"):
                setattr(match, word[2:].replace("-", "_"), value)
            else:
                raise ValueError(f"cannot spell {text!r}")
        return rule


def _rules(planned: Sequence[edits.Edit]) -> Iterator[str]:
    for edit in planned:
        if isinstance(edit, edits.Fill):
            yield from edit.rules
        elif not isinstance(edit, edits.Erase):
            yield edit.rule


def _knows(rule: str) -> bool:
    """Whether python-iptables is known to spell a rule: with hashlimit and NFLOG it ends the process (SIGSEGV)."""
    words = rule.split()
    modules = {value for word, value in zip(words, words[1:]) if word == "-m"}
    return modules <= _MODULES and "NFLOG" not in words


def _library(name: str) -> str | None:
    """Answer for ctypes.util.find_library, which would start ldconfig and gcc."""
    if name in _LIBRARIES:
        for folder in _FOLDERS:
            found = sorted(str(place) for place in Path("/").glob(f"{folder}/lib{name}.so.*"))
            if found:
                return found[0]
    return None
