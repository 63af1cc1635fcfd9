"""The include that makes a reload of nftables.service one transaction with the guard."""

from __future__ import annotations

from pathlib import Path

import pytest

from droplan_boot import paths
from droplan_boot.firewall.nftables import Nftables
from droplan_boot.setup import nft_include
from tests.bed.memory.doors import Host
from tests.bed.memory.netfilter import Kernel
from tests.unit.test_iptables import TWO

CONF = Path("/etc/nftables.conf")
FLUSHING = b"#!/usr/sbin/nft -f\n\nflush ruleset\n\ntable inet filter {\n}\n"


def test_it_comes_last_and_once_where_the_ruleset_is_flushed_and_goes_without_a_trace(host: Host) -> None:
    host.files.write(CONF, FLUSHING, 0o755)
    assert nft_include.problem(host) == "missing"
    nft_include.put(host)
    nft_include.put(host)
    text = (host.files.read(CONF) or b"").decode()
    assert text.startswith(FLUSHING.decode())
    assert text.count(nft_include.INCLUDE) == 1
    assert text.endswith('include "/etc/droplan/*.nft"\n')
    assert host.files.mode(CONF) == 0o755
    assert nft_include.problem(host) is None
    assert list(nft_include.forget(host)) == ["Took our include out of /etc/nftables.conf"]
    assert host.files.read(CONF) == FLUSHING
    assert list(nft_include.forget(host)) == []


def test_a_file_that_flushes_nothing_is_left_alone(host: Host) -> None:
    host.files.write(CONF, b"# flush ruleset\ntable inet filter {\n}\n", 0o644)
    assert nft_include.problem(host) is None


@pytest.mark.parametrize("name", ["/etc/nftables.d/*.nft", "nftables.d/base.nft"])
def test_a_file_that_includes_one_that_flushes_does_so_itself(name: str, host: Host) -> None:
    host.files.write(Path("/etc/nftables.d/base.nft"), b'include "nftables.d/more"\n', 0o644)
    host.files.write(Path("/etc/nftables.d/more"), b"flush ruleset\n", 0o644)
    text = f'include "{name}"\ntable inet filter {{\n}}\n'.encode()
    host.files.write(CONF, text, 0o644)
    assert nft_include.problem(host) == "missing"
    nft_include.put(host)
    assert nft_include.problem(host) is None
    assert (host.files.read(CONF) or b"").startswith(text)
    assert host.files.read(Path("/etc/nftables.d/more")) == b"flush ruleset\n"


def test_an_include_before_the_flush_counts_for_nothing(host: Host) -> None:
    host.files.write(CONF, b'include "/etc/droplan/*.nft"\nflush ruleset\n', 0o644)
    assert nft_include.problem(host) == "missing"
    nft_include.put(host)
    assert nft_include.problem(host) is None


def test_files_that_include_each_other_end(host: Host) -> None:
    host.files.write(CONF, b'include "/etc/nftables.conf"\ninclude "/etc/none"\nflush ruleset\n', 0o644)
    assert nft_include.problem(host) == "missing"


def test_where_a_link_leads_is_read_and_not_written(host: Host) -> None:
    own = Path("/srv/nftables.conf")
    host.files.write(own, FLUSHING, 0o644)
    host.files.link(CONF, own)
    assert nft_include.loaded(host, CONF) == FLUSHING.decode()
    assert nft_include.put(host) == ()
    assert host.files.read(own) == FLUSHING
    host.files.link(CONF, CONF)
    assert nft_include.loaded(host, CONF) is None


def test_an_include_that_a_person_took_out_by_a_comment_is_missing_and_put_back(host: Host) -> None:
    host.files.write(CONF, FLUSHING + b'# include "/etc/droplan/*.nft"\n', 0o644)
    assert nft_include.problem(host) == "missing"
    nft_include.put(host)
    assert nft_include.problem(host) is None
    assert (host.files.read(CONF) or b"").splitlines()[-1] == nft_include.INCLUDE.encode()


def test_an_include_that_a_person_moved_goes_too(host: Host) -> None:
    host.files.write(CONF, b'flush ruleset\ninclude "/etc/droplan/*.nft"\ntable ip mine {\n}\n', 0o644)
    list(nft_include.forget(host))
    assert host.files.read(CONF) == b"flush ruleset\ntable ip mine {\n}\n"


def test_the_guard_is_there_after_a_reload(host: Host) -> None:
    kernel = Kernel()
    guard = Nftables(kernel)
    guard.apply(TWO)
    nft_include.save(host, guard, TWO)
    assert host.files.mode(paths.RULES) == 0o600
    kernel.netfilter.run_nft("flush ruleset\n" + (host.files.read(paths.RULES) or b"").decode())
    assert guard.plan(TWO) == ()


def test_without_a_guard_of_nft_there_is_no_file(host: Host) -> None:
    nft_include.save(host, Nftables(Kernel()), TWO)
    nft_include.save(host, None, TWO)
    assert not host.files.exists(paths.RULES)
