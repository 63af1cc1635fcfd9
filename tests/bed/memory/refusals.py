"""What the real programs refuse, and with which words (iptables 1.8.9, nft 1.0.6, kernel 6.18).

The unit tests hold the fake to this list, tests/lab/test_fake_kernel.py the real programs.
"""

from __future__ import annotations


def nested(count: int) -> tuple[str, ...]:
    """Return lines of iptables that jump from INPUT through so many chains."""
    declared = [f":c{index} - [0:0]" for index in range(1, count + 1)]
    jumps = [f"-A c{index} -j c{index + 1}" for index in range(1, count)]
    return (*declared, *jumps, "-A INPUT -j c1", f"-A c{count} -j DROP")


def nested_nft(count: int) -> tuple[str, ...]:
    """Return lines of nft that jump from a base chain through so many chains."""
    declared = [f"add chain inet t c{index}" for index in range(1, count + 1)]
    jumps = [f"add rule inet t c{index} jump c{index + 1}" for index in range(1, count)]
    return (TABLE, BASE, *declared, *jumps, "add rule inet t base jump c1")


LONG = "x" * 29
LOOP = (":a - [0:0]", ":b - [0:0]", "-A a -j b", "-A b -g a")
# lines of a filter table's block: the nft variant's words, and legacy's; None where it is accepted
XTABLES: dict[str, tuple[tuple[str, ...], str | None, str | None]] = {
    "deleting an absent rule": (("-D INPUT -j DROP",), "Bad rule (does a matching rule exist", "line 2 failed"),
    "appending to an absent chain": (("-A nowhere -j DROP",), "No chain/target/match by that name", "line 2 failed"),
    "jumping to an absent chain": (
        ("-A INPUT -j nowhere",),
        "Chain 'nowhere' does not exist",
        "Couldn't load target `nowhere'",
    ),
    "inserting too far down": (("-I INPUT 3 -j DROP",), "Index of insertion too big", "line 2 failed"),
    "inserting at 0": (("-I INPUT 0 -j DROP",), "Invalid rule number `0'", "Invalid rule number `0'"),
    "deleting too far down": (("-A INPUT -j DROP", "-D INPUT 3"), "Index of deletion too big", "line 3 failed"),
    "replacing too far down": (
        ("-A INPUT -j DROP", "-R INPUT 3 -j DROP"),
        "Index of replacement too big",
        "line 3 failed",
    ),
    "removing an absent chain": (("-X nowhere",), "No chain/target/match by that name", "line 2 failed"),
    "flushing an absent chain": (("-F nowhere",), "No chain/target/match by that name", "line 2 failed"),
    "making a chain twice": (("-N a", "-N a"), "line 3 failed: Chain already exists", "line 3 failed"),
    "a policy of an own chain": ((":u - [0:0]", "-P u DROP"), "Bad built-in chain name", "line 3 failed"),
    "a policy that is none": (("-P INPUT REJECT",), "Bad policy name", "line 2 failed"),
    "removing a built-in chain": ((":INPUT ACCEPT [0:0]", "-X INPUT"), None, "line 3 failed"),
    "removing a chain with rules": (
        (":full - [0:0]", "-A full -j DROP", "-X full"),
        "line 4: CHAIN_DEL failed (Device or resource busy): chain full",
        "line 4 failed",
    ),
    "removing a chain in use": (
        (":used - [0:0]", "-A INPUT -j used", "-X used"),
        "line 4: CHAIN_DEL failed (Device or resource busy): chain used",
        "line 4 failed",
    ),
    "a circle that no hook leads to": (LOOP, None, None),
    "a circle": (
        (*LOOP, "-A INPUT -j a"),
        "line 6: RULE_APPEND failed (Too many links): rule in chain INPUT",
        "line 7 failed",
    ),
    "a circle behind a verdict": (
        (*LOOP, "-A INPUT -j ACCEPT", "-A INPUT -j a"),
        "line 7: RULE_APPEND failed (Too many links)",
        None,
    ),
    "15 levels": (nested(15), None, None),
    "16 levels": (nested(16), "RULE_APPEND failed (Too many links)", None),
    "a long name declared": ((f":{LONG} - [0:0]",), "too long (must be under 29 chars)", f"{LONG}' "),
    "a long name made": ((f"-N {LONG}",), "too long (must be under 29 chars)", "too long (must be under 29 chars)"),
    "a name of 28 letters": ((f":{'x' * 28} - [0:0]",), None, None),
    "an unknown option": (
        ("-A INPUT --mystery 1 -j DROP",),
        'unknown option "--mystery"',
        'unknown option "--mystery"',
    ),
    "a port without a protocol": (
        ("-A INPUT --dport 80 -j ACCEPT",),
        'unknown option "--dport"',
        'unknown option "--dport"',
    ),
    "an address that is none": (
        ("-A INPUT -s 10.0.0.300 -j ACCEPT",),
        "host/network `10.0.0.300' not found",
        "`10.0.0.300' not found",
    ),
    "an address of the other family": (
        ("-A INPUT -s fd00::1 -j ACCEPT",),
        "host/network `fd00::1' not found",
        "`fd00::1' not found",
    ),
    "a way out of INPUT": (("-A INPUT -o eth0 -j ACCEPT",), "Can't use -o with INPUT", "Can't use -o with INPUT"),
    "a long interface": (
        (f"-A INPUT -i {'e' * 16} -j ACCEPT",),
        "must be shorter than IFNAMSIZ",
        "must be shorter than IFNAMSIZ",
    ),
    "a jump to a hook itself": (
        ("-A INPUT -j INPUT",),
        "RULE_APPEND failed (Operation not supported): rule in chain INPUT",
        "line 2 failed",
    ),
    "a policy for a new chain": ((":x ACCEPT [0:0]",), None, "Bad built-in chain name"),
    "a hook of another table": (("-A PREROUTING -j ACCEPT",), "No chain/target/match by that name", "line 2 failed"),
    "NAT elsewhere": (
        ("-A INPUT -p tcp -j DNAT --to-destination 10.0.0.1",),
        "RULE_APPEND failed (",
        "line 3 failed",
    ),
    "a word": (("bogus",), "Bad argument `bogus'", "Bad argument `bogus'"),
    "a rule made and deleted": (("-I INPUT -j DROP", "-D INPUT -j DROP"), None, None),
    "chains removed in order": ((":a - [0:0]", "-A INPUT -j a", "-F INPUT", "-X a"), None, None),
}

TABLE = "add table inet t"
BASE = "add chain inet t base { type filter hook input priority 0; }"
PLAIN = "add set inet t s { type ipv4_addr; }"
INTERVALS = "add set inet t i { type ipv4_addr; flags interval; }"
CHAIN = "add chain inet t c"
ABSENT = "Could not process rule: No such file or directory"
BUSY = "Could not process rule: Device or resource busy"
UNSUPPORTED = "Could not process rule: Operation not supported"
# lines of a script: nft's words; None where it is accepted
NFT: dict[str, tuple[tuple[str, ...], str | None]] = {
    "deleting an absent table": (("delete table inet t",), ABSENT),
    "deleting a table twice": ((TABLE, "delete table inet t", "delete table inet t"), ABSENT),
    "flushing an absent table": (("flush table inet t",), ABSENT),
    "making a table twice": ((TABLE, "create table inet t"), "File exists"),
    "adding a table twice": ((TABLE, TABLE), None),
    "a chain without table": ((CHAIN,), "No such file or directory"),
    "a rule without chain": ((TABLE, "add rule inet t nowhere drop"), ABSENT),
    "a jump to an absent chain": ((TABLE, CHAIN, "add rule inet t c jump nowhere"), ABSENT),
    "a jump to a chain that comes later": ((TABLE, CHAIN, "add rule inet t c jump d", "add chain inet t d"), ABSENT),
    "a jump to a base chain": ((TABLE, CHAIN, BASE, "add rule inet t c jump base"), UNSUPPORTED),
    "a rule with an absent set": ((TABLE, CHAIN, "add rule inet t c ip saddr @s drop"), "No such file or directory"),
    "an element of an absent set": ((TABLE, "add element inet t s { 10.0.0.1 }"), "No such file or directory"),
    "flushing an absent set": ((TABLE, "flush set inet t s"), "No such file or directory"),
    "deleting an absent set": ((TABLE, "delete set inet t s"), ABSENT),
    "deleting an absent chain": ((TABLE, "delete chain inet t c"), ABSENT),
    "flushing an absent chain": ((TABLE, "flush chain inet t c"), ABSENT),
    "deleting an absent rule": ((TABLE, CHAIN, "delete rule inet t c handle 999"), ABSENT),
    "deleting an absent element": ((TABLE, PLAIN, "delete element inet t s { 10.0.0.1 }"), ABSENT),
    "adding an element twice": ((TABLE, PLAIN, *["add element inet t s { 10.0.0.1 }"] * 2), None),
    "making an element twice": (
        (TABLE, PLAIN, "add element inet t s { 10.0.0.1 }", "create element inet t s { 10.0.0.1 }"),
        "File exists",
    ),
    "a prefix in a plain set": (
        (TABLE, PLAIN, "add element inet t s { 10.0.0.0/24 }"),
        "You must add 'flags interval'",
    ),
    "a range in a plain set": (
        (TABLE, PLAIN, "add element inet t s { 10.0.0.1-10.0.0.4 }"),
        "You must add 'flags interval'",
    ),
    "an element of the other family": (
        (TABLE, PLAIN, "add element inet t s { fd00::1 }"),
        "Address family for hostname not supported",
    ),
    "a set of another type": ((TABLE, PLAIN, "add set inet t s { type ipv6_addr; }"), "File exists"),
    "a set with other flags": ((TABLE, PLAIN, "add set inet t s { type ipv4_addr; flags interval; }"), "File exists"),
    "a set in use": ((TABLE, PLAIN, CHAIN, "add rule inet t c ip saddr @s drop", "delete set inet t s"), BUSY),
    "a set no longer in use": (
        (TABLE, PLAIN, CHAIN, "add rule inet t c ip saddr @s drop", "flush chain inet t c", "delete set inet t s"),
        None,
    ),
    "intervals that overlap": (
        (TABLE, INTERVALS, "add element inet t i { 10.0.0.0/24 }", "add element inet t i { 10.0.0.5 }"),
        "interval",
    ),  # "conflicting intervals" within one script, "interval overlaps with an existing one" else
    "intervals that overlap at once": (
        (TABLE, INTERVALS, "add element inet t i { 10.1.0.0/24, 10.1.0.0/25 }"),
        "conflicting intervals specified",
    ),
    "the same interval twice": ((TABLE, INTERVALS, *["add element inet t i { 10.0.0.0/24 }"] * 2), None),
    "deleting a part of an interval": (
        (TABLE, INTERVALS, "add element inet t i { 10.0.0.0/24 }", "delete element inet t i { 10.0.0.5 }"),
        "element does not exist",
    ),
    "more elements than the size": (
        (TABLE, "add set inet t z { type ipv4_addr; size 2; }", "add element inet t z { 1.1.1.1, 1.1.1.2, 1.1.1.3 }"),
        "Too many open files in system",
    ),
    "a chain in use": (
        (TABLE, CHAIN, "add chain inet t d", "add rule inet t d jump c", "delete chain inet t c"),
        BUSY,
    ),
    "a chain with rules": ((TABLE, CHAIN, "add rule inet t c drop", "delete chain inet t c"), None),
    "a chain that jumps to itself": ((TABLE, CHAIN, "add rule inet t c jump c", "delete chain inet t c"), BUSY),
    "another priority": ((TABLE, BASE, BASE.replace("priority 0", "priority 10")), UNSUPPORTED),
    "another hook": ((TABLE, BASE, BASE.replace("input", "forward")), UNSUPPORTED),
    "another policy": ((TABLE, BASE, BASE.replace("0;", "0; policy drop;")), None),
    "a hook for a plain chain": ((TABLE, "add chain inet t base", BASE), "File exists"),
    "a policy that is none": ((TABLE, BASE.replace("0;", "0; policy return;")), "expecting accept or drop"),
    "nat in forward": ((TABLE, "add chain inet t n { type nat hook forward priority 0; }"), UNSUPPORTED),
    "ingress without a card": (
        (TABLE, "add chain inet t n { type filter hook ingress priority 0; }"),
        "Missing `device'",
    ),
    "15 levels": (nested_nft(15), None),
    "16 levels": (nested_nft(16), "Could not process rule: Too many links"),
    "a circle": (
        (
            TABLE,
            BASE,
            CHAIN,
            "add chain inet t d",
            "add rule inet t c jump d",
            "add rule inet t d goto c",
            "add rule inet t base jump c",
        ),
        "Could not process rule: Too many links",
    ),
    "a circle that no hook leads to": (
        (TABLE, CHAIN, "add chain inet t d", "add rule inet t c jump d", "add rule inet t d goto c"),
        None,
    ),
    "an address that is none": (
        (TABLE, CHAIN, "add rule inet t c ip saddr 10.0.0.300 drop"),
        "Name or service not known",
    ),
    "a long interface": (
        (TABLE, CHAIN, f'add rule inet t c iifname "{"e" * 19}" drop'),
        "String exceeds maximum length",
    ),
    "a word after a verdict": ((TABLE, CHAIN, "add rule inet t c drop accept"), "Statement after terminal statement"),
    "a port that is none": ((TABLE, CHAIN, "add rule inet t c tcp dport 70000 drop"), "Service out of range"),
    "a range backwards": (
        (TABLE, CHAIN, "add rule inet t c tcp dport 8000-7000 drop"),
        "Range has zero or negative size",
    ),
    "an asked port without protocol": (
        (TABLE, CHAIN, "add rule inet t c ct original proto-dst 443 drop"),
        "Can't parse symbolic invalid expressions",
    ),
    "half a rule": ((TABLE, CHAIN, "add rule inet t c tcp dport 80 ip daddr"), "syntax error, unexpected "),
    "half a block": (("table inet t {", "chain y {"), "unexpected end of file"),
    "the other family in a table of one": (
        ("add table ip t", "add chain ip t c", "add rule ip t c ip6 saddr fd00::1 drop"),
        "conflicting protocols specified",
    ),
    "a long name": ((f"add table inet {'x' * 256}",), "Numerical result out of range"),
    "a rule too far down": ((TABLE, CHAIN, "insert rule inet t c index 99 drop"), ABSENT),
}
