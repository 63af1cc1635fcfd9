"""The fake kernel of the unit tests beside the real one, in network namespaces: what one refuses the other refuses,
and what is listed afterwards reads the same. Needs root, iptables of both variants and nft 1.0.6."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed.memory.machine import Netfilter
from tests.bed.memory.netfilter import NetfilterError
from tests.bed.memory.refusals import NFT, XTABLES

pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("nft", "iptables-nft", "iptables-legacy")),
    reason="lacks the real programs",
)
GOLDEN = Path(__file__).parents[1] / "golden"
NETNS = "droplan-fake-kernel"


def run(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ip", "netns", "exec", NETNS, *argv], input=stdin, text=True, capture_output=True, check=False, timeout=60
    )


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    subprocess.run(["ip", "netns", "del", NETNS], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "add", NETNS], check=True)
    yield
    subprocess.run(["ip", "netns", "del", NETNS], check=True)


def empty(variant: str) -> None:
    """Take everything away, so that each script begins alike."""
    if variant == "nft":
        run("nft", "flush", "ruleset")
        return
    for tool in ("iptables", "ip6tables"):
        for table in ("filter", "mangle", "nat"):
            if run(f"{tool}-legacy-save", "-t", table).stdout:
                flushed = f"*{table}\n-F\n-X\n" + "-P INPUT ACCEPT\n" * (table != "nat") + "COMMIT\n"
                assert not run(f"{tool}-legacy-restore", "--noflush", stdin=flushed).returncode


def blocks(saved: str) -> dict[str, list[str]]:
    """Part what iptables-save printed into tables; chains in the order of their names, as rules are within each."""
    found: dict[str, list[str]] = {}
    for block in re.findall(r"^\*.*?^COMMIT", saved, re.MULTILINE | re.DOTALL):
        name, *lines, _ = block.splitlines()
        declared = sorted(line.split(" [")[0] for line in lines if line.startswith(":"))
        rules = sorted((line for line in lines if line.startswith("-A")), key=lambda line: line.split(" ")[1])
        if rules or any(not line.endswith(" ACCEPT") for line in declared):  # who looks at a table makes it
            found[name] = declared + rules
    return found


def told(netfilter: Netfilter, variant: str, version: int, script: str) -> str | None:
    try:
        netfilter.restore(variant, version, script)
    except NetfilterError as error:
        return str(error)
    return None


def compare(variant: str, version: int, scripts: list[str]) -> None:
    """Give the scripts to both; they must agree after each."""
    empty(variant)
    fake = Netfilter()
    tool = f"ip{'6' if version == 6 else ''}tables-{variant}"
    for script in scripts:
        real = run(f"{tool}-restore", "--noflush", stdin=script)
        said = told(fake, variant, version, script)
        assert (said is None) == (real.returncode == 0), f"{script}\nreal: {real.stderr}\nfake: {said}"
        saved = run(f"{tool}-save")
        assert blocks(fake.save(variant, version)) == blocks(saved.stdout), script


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_iptables_refuses_what_the_list_says_and_in_these_words(variant: str) -> None:
    for what, (lines, *words) in XTABLES.items():
        empty(variant)
        expected = words[variant == "legacy"]
        script = "\n".join(["*filter", *lines, "COMMIT", ""])
        real = run(f"iptables-{variant}-restore", "--noflush", stdin=script)
        assert (real.returncode == 0) == (expected is None), f"{what}: {real.stderr}"
        assert (expected or "") in real.stderr, what
        compare(variant, 4, [script])


def test_nft_refuses_what_the_list_says_and_in_these_words() -> None:
    for what, (lines, words) in NFT.items():
        empty("nft")
        real = run("nft", "-f", "-", stdin="\n".join([*lines, ""]))
        assert (real.returncode == 0) == (words is None), f"{what}: {real.stderr}"
        assert (words or "") in real.stderr, what
        compare_nft(["\n".join([*lines, ""])])


@pytest.mark.parametrize("variant", ["nft", "legacy"])
@pytest.mark.parametrize("version", [4, 6])
def test_our_rules_are_taken_and_saved_alike(variant: str, version: int) -> None:
    for place in sorted((GOLDEN / "iptables").glob(f"*.v{version}")):
        text = place.read_text()
        compare(variant, version, [text[text.index("*filter") :]])


def random_block(random_: random.Random) -> str:
    """Make a block that is obeyed about half the time."""
    table = random_.choice(["filter", "filter", "mangle", "nat"])
    hooks = {"filter": ["INPUT", "FORWARD"], "mangle": ["PREROUTING", "INPUT"], "nat": ["PREROUTING", "OUTPUT"]}[
        table
    ]
    own = ["a", "b", "c"]
    lines = []
    for _ in range(random_.randint(1, 4)):
        chain, rule = random_.choice([*hooks, *own]), random_.choice(
            ["-j ACCEPT", "-s 10.0.0.0/8 -j RETURN", "-p tcp -m tcp --dport 80 -j ACCEPT",
             *(f"-j {one}" for one in own),
             f"-s 192.0.2.1/32 -g {random_.choice(own)}", "-j DROP" if table != "nat" else "-j RETURN"]
        )  # fmt: skip
        lines.append(
            random_.choice(
                [f"-A {chain} {rule}", f"-A {chain} {rule}", f"-I {chain} {random_.randint(1, 3)} {rule}",
                 f"-D {chain} {rule}", f":{random_.choice(own)} - [0:0]", f":{random_.choice(own)} - [0:0]",
                 f"-F {random_.choice(own)}", f"-X {random_.choice(own)}", f"-D {chain} {random_.randint(1, 3)}"]
            )
        )  # fmt: skip
    return "\n".join([f"*{table}", *lines, "COMMIT", ""])


@pytest.mark.parametrize("variant", ["nft", "legacy"])
@pytest.mark.parametrize("seed", range(4))
def test_random_edits_are_obeyed_or_refused_alike(variant: str, seed: int) -> None:
    random_ = random.Random(seed)
    declared = [f"*{table}\n:a - [0:0]\n:b - [0:0]\n:c - [0:0]\nCOMMIT\n" for table in ("filter", "mangle", "nat")]
    compare(variant, 4, declared + [random_block(random_) + random_block(random_) for _ in range(30)])


def compare_nft(scripts: list[str]) -> None:
    empty("nft")
    fake = Netfilter()
    for script in scripts:
        real = run("nft", "-f", "-", stdin=script)
        try:
            fake.run_nft(script)
            said = None
        except NetfilterError as error:
            said = str(error)
        assert (said is None) == (real.returncode == 0), f"{script}\nreal: {real.stderr}\nfake: {said}"
        assert fake.nft.list() == run("nft", "list", "ruleset").stdout, script


def test_our_tables_are_taken_and_listed_alike() -> None:
    for place in sorted((GOLDEN / "nftables").glob("*.nft")):
        text = place.read_text()
        compare_nft([text, "delete table inet droplan\n" + text])
    listed = (GOLDEN / "nftables" / "listed-by-1.0.6.txt").read_text()
    compare_nft([listed])


RULES = """ct state established,related ct direction reply accept
ct state related meta l4proto { icmp, ipv6-icmp } accept
ct state new counter
icmpv6 type { 130, 133-137 } accept
icmpv6 type { nd-neighbor-solicit, nd-router-advert,mld-listener-query } accept
icmp type 8 accept
meta l4proto 47 accept
meta l4proto tcp th dport 80 accept
meta l4proto { tcp, udp } th dport 53 accept
th dport { 80, 443, 8000-8100 } accept
tcp dport {443,80} accept
tcp dport {80,80} accept
tcp dport 8000-8100 accept
tcp dport != ssh accept
ip protocol tcp tcp dport 22 drop
meta l4proto . th dport { tcp . 22, udp . 53 } accept
ip saddr @s accept
ip saddr != @s drop
ip saddr @i meta l4proto tcp th dport { 22 } accept
ip saddr 10.0.0.1/8 accept
ip saddr 10.0.0.3-10.0.0.9 accept
ip saddr {10.0.0.2, 10.0.0.1} accept
ip saddr {10.0.0.1, 10.0.0.0/24} accept
ip6 saddr fe80::0/10 accept
ip6 saddr @s6 ip6 daddr ff02::/16 accept
meta nfproto ipv4 ip saddr 10.0.0.0/8 drop
meta nfproto ipv4 tcp dport 22 drop
meta nfproto ipv6 return
iifname eth1 accept
iifname != { "eth1", "lo" } accept
iifname "eth*" accept
iifname @names goto judge
meta iifname "eth0" accept
iif lo accept
fib daddr type local accept
fib daddr type != { local, multicast } accept
log prefix "x " group 5
log group 5 prefix "a"
limit rate 10/second burst 5 packets accept
limit rate over 10/minute burst 20 packets drop
update @noted { ip saddr limit rate 1/second burst 1 packets } log group 5 drop
add @noted { ip saddr timeout 10s } drop
reject
ip daddr 1.1.1.1 meta skuid 1 reject
ip6 daddr ::1 reject
meta nfproto ipv4 reject
tcp dport 1 reject
ip daddr 1.1.1.1 reject with icmpx port-unreachable
reject with icmpx type port-unreachable
reject with icmpx admin-prohibited
reject with tcp reset
meta skuid != 0 reject
meta mark 5 accept
meta l4proto tcp ct original proto-dst 443-445 accept
drop comment hello
iifname != "lo" ip daddr { 10.0.0.1, 10.0.0.2 } goto judge""".splitlines()
SETS = """table inet t {
 set s { type ipv4_addr; }
 set i { type ipv4_addr; flags interval; auto-merge; }
 set s6 { type ipv6_addr; elements = { fd00::1, fe80::0 }
 }
 set names { type ifname; elements = { "eth1", lo }
 }
 set noted { type ipv4_addr; size 1024; flags dynamic,timeout; timeout 60s; }
 chain judge { }
 chain c {
"""


@pytest.mark.parametrize("start", range(0, len(RULES), 10))
def test_rules_are_listed_alike_however_they_were_spelled(start: int) -> None:
    for rule in RULES[start : start + 10]:
        compare_nft([f"{SETS}{rule}\n}}\n}}\n"])


def test_priorities_are_listed_alike() -> None:
    chains = [
        f"chain c{place + 400}x{hook} {{ type filter hook {hook} priority {place}; }}"
        for hook in ("prerouting", "input", "forward", "postrouting")
        for place in (-310, -300, -289, -200, -170, -161, -160, -150, -139, -110, -100, -20, -10, 0, 11, 50, 100, 110)
    ]
    compare_nft(["\n".join(["table inet t {", *chains, "}", ""])])


def random_nft(random_: random.Random) -> str:
    address = f"10.0.0.{random_.randint(0, 7)}"
    prefix = f"10.0.{random_.choice([0, 1])}.{random_.choice([0, 4, 8])}/{random_.choice([29, 30, 32])}"
    chain, other = random_.choice(["c", "d", "base"]), random_.choice(["c", "d"])
    return random_.choice(
        [f"add element inet t s {{ {address} }}", f"delete element inet t s {{ {address} }}",
         f"add element inet t i {{ {prefix} }}", f"delete element inet t i {{ {prefix} }}",
         f"add rule inet t {chain} ip saddr @s jump {other}", f"insert rule inet t {chain} iifname eth1 goto {other}",
         f"flush chain inet t {chain}", f"delete chain inet t {other}", f"add chain inet t {other}",
         "flush set inet t s", "delete set inet t s", "add set inet t s { type ipv4_addr; }", "flush table inet t",
         f"add rule inet t {chain} tcp dport {random_.randint(1, 9)} accept"]
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_random_nft_scripts_are_obeyed_or_refused_alike(seed: int) -> None:
    random_ = random.Random(seed)
    begin = """table inet t {
 set s { type ipv4_addr; }
 set i { type ipv4_addr; flags interval; }
 chain c { }
 chain d { }
 chain base { type filter hook prerouting priority -170; }
}
"""
    scripts = ["\n".join([*(random_nft(random_) for _ in range(random_.randint(1, 3))), ""]) for _ in range(40)]
    compare_nft([begin, *scripts])


def test_an_interval_is_narrowed_in_one_transaction_and_not_widened_over_its_neighbour() -> None:
    begin = "table inet t {\n set i { type ipv4_addr; flags interval; elements = { 10.0.0.0/24, 10.0.1.5 }\n }\n}\n"
    narrowed = (
        "delete element inet t i { 10.0.0.0/24 }\nadd element inet t i { 10.0.0.0/25, 10.0.0.128-10.0.0.130 }\n"
    )
    compare_nft([begin, narrowed, "add element inet t i { 10.0.0.0/23 }\n", "delete element inet t i { 10.0.0.1 }\n"])


def test_a_flush_of_the_ruleset_takes_iptables_nft_along_and_leaves_legacy() -> None:
    fake = Netfilter()
    for variant in ("nft", "legacy"):
        script = "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n*mangle\n-A PREROUTING -j DROP\nCOMMIT\n"
        run(f"iptables-{variant}-restore", "--noflush", stdin=script)
        fake.restore(variant, 4, script)
    run("nft", "flush", "ruleset")
    fake.run_nft("flush ruleset")
    for variant in ("nft", "legacy"):
        assert blocks(fake.save(variant, 4)) == blocks(run(f"iptables-{variant}-save").stdout)
    assert fake.save("nft", 4) == ""
