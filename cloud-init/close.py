# ruff: noqa
"""Close the private interface of a Droplet before anything is fetched, until droplan is there to open it to peers.

Runs on Python 2.7 and 3, standard library only, beside bootstrap.sh which calls it:

    close.py                close, where DROPLAN_FAIL_CLOSED says so and droplan has no rules of its own yet
    close.py --remembered   close the same interfaces again at boot, when there is no network to ask yet
    close.py --open         remove what this file added; droplan's first refresh does so, as its own rules stand

It prints one sentence that says how the interface stands. Exit status 1: it should be closed and is not.

nftables come first and in a table of this file's own: nobody else flushes it (iptables.service starts, firewalld
stops while droplan is being installed), and removing it can never remove a rule of droplan's. Where there is no nft,
the rules take the places that droplan's have, so that droplan finds its own layout and fills in the peers. A minimal
system may have neither until droplan brings it: then traffic control, which iproute2 always has, lets in only ARP and
what goes on of TCP over IPv4.
"""

from __future__ import print_function

import json
import os
import subprocess
import sys
import time

try:
    from http.client import HTTPException
    from urllib.request import ProxyHandler, build_opener
except ImportError:  # Python 2
    from httplib import HTTPException
    from urllib2 import ProxyHandler, build_opener

SETTINGS = "/etc/droplan/droplan.env"
REMEMBERED = "/var/lib/droplan/bootstrap.closed"
METADATA = "http://169.254.169.254"
TABLE = "droplan-bootstrap"
PREFERENCE = "47101"  # marks our traffic control filter; any number that nobody else is likely to use
TRIES = 3
PATIENCE = 10
UNREADABLE = (IOError, ValueError, KeyError, HTTPException)  # no answer, or not the answer of a Droplet's

# Nobody opens anything. What goes on, goes on, until droplan has decided: connections of either direction with the ICMP
# errors about them, and those that are older than this table, which conntrack did not follow until now (TCP knows a
# connection's first packet by its flags). What keeps IPv6 alive: multicast listener queries and neighbour discovery
# (ICMPv6 130, 135, 136). In prerouting, where droplan's own guard is, no order of others' rules opens it.
NFT_CHAINS = """
    chain prerouting {
        type filter hook prerouting priority -170; policy accept;
        iifname { %(names)s } ct state established,related accept
        iifname { %(names)s } tcp flags & (fin | syn | rst | ack) != syn accept
        iifname { %(names)s } icmpv6 type { mld-listener-query, nd-neighbor-solicit, nd-neighbor-advert } accept
        iifname { %(names)s } drop
    }
"""
# Classic BPF for tc-bpf(8), with relative jumps. ARP (Ethernet type 0x0806) passes (0), and so does of IPv4 (0x0800) TCP
# (protocol 6) but a connection's first packet (of FIN, SYN, RST, ACK only SYN); all else is dropped (2, TC_ACT_SHOT).
WHAT_GOES_ON = "11," + ",".join(
    [
        "40 0 0 12",  # the Ethernet type
        "21 7 0 2054",  # ARP: pass
        "21 0 7 2048",  # not IPv4: drop
        "48 0 0 23",  # the protocol
        "21 0 5 6",  # not TCP: drop
        "177 0 0 14",  # X = the IP header's length
        "80 0 0 27",  # TCP's flags
        "84 0 0 23",  # FIN, SYN, RST, ACK of them
        "21 1 0 2",  # SYN alone: drop
        "6 0 0 0",
        "6 0 0 2",
    ]
)
REPLIES = "-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY"
GOES_ON = (
    "-m conntrack --ctstate RELATED,ESTABLISHED -j %s",
    "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j %s",
)
NEIGHBOURS = "-A droplan-peers -p ipv6-icmp -m icmp6 --icmpv6-type %d -j ACCEPT"
ALIVE = [NEIGHBOURS % kind for kind in (130, 135, 136)]


def settings():
    """Return the settings as droplan reads them: the environment over /etc/droplan/droplan.env."""
    found = {}
    if os.path.exists(SETTINGS):
        with open(SETTINGS) as lines:
            for line in lines:
                key, equals, value = line.strip().partition("=")
                if equals and not key.startswith("#"):
                    found[key.strip()] = value.strip().strip("\"'")
    found.update(os.environ)
    return found


def private_macs(base):
    """Return the MAC addresses that the metadata service names as private (metadata/v1.json)."""
    opener = build_opener(ProxyHandler({}))  # link-local: never by way of a proxy
    for attempt in range(TRIES):
        try:
            answer = opener.open(base.rstrip("/") + "/metadata/v1.json", timeout=5)
            interfaces = json.loads(answer.read().decode("utf-8"))["interfaces"]
            return [entry["mac"].lower() for entry in interfaces.get("private") or []]
        except UNREADABLE:
            if attempt == TRIES - 1:
                raise
            time.sleep(2)


def names_of(macs):
    """Return the names of the interfaces that carry one of the MAC addresses."""
    names = []
    for name in sorted(os.listdir("/sys/class/net")):
        try:
            with open("/sys/class/net/%s/address" % name) as address:
                if address.read().strip().lower() in macs:
                    names.append(name)
        except IOError:  # bonding_masters is a file, not an interface
            continue
    return names


def run(argv, text=None):
    """Run a command with TEXT on its standard input; return (exit status or 127, everything it printed)."""
    try:
        child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
        )
    except OSError as error:
        return 127, "%s: %s" % (argv[0], error)
    output = child.communicate(text)[0]
    return child.returncode, output


def guarded_by_droplan():
    """Say whether droplan has rules of its own, in either backend."""
    if run(["nft", "list", "table", "inet", "droplan"])[0] == 0:
        return True
    status, rules = run(["iptables-save", "-t", "filter"])
    return status == 0 and ":droplan-peers " in rules


def table_text(names):
    """Return the table that closes these interfaces, as nft reads it."""
    chains = NFT_CHAINS % {"names": ", ".join('"%s"' % name for name in names)}
    return "table inet %s {%s}\n" % (TABLE, chains)


def close_with_nft(names):
    """Put the table in place, in one transaction, whatever was there. Return None, or why not."""
    table = "table inet %s" % TABLE
    status, output = run(["nft", "-f", "-"], "add %s\ndelete %s\n%s" % (table, table, table_text(names)))
    return None if status == 0 else output.strip()


def restore_input(names, accepted):
    """Return what iptables-restore reads: droplan's rules with the given entries for peers."""
    lines = ["*filter", ":droplan-peers - [0:0]", ":droplan-forward - [0:0]"]
    lines += ["-A droplan-peers " + rule % "ACCEPT" for rule in GOES_ON] + accepted
    lines += ["-A droplan-forward " + rule % "RETURN" for rule in GOES_ON] + ["-A droplan-forward -j DROP"]
    for name in names:
        lines.append("-I INPUT 1 -i %s %s -j ACCEPT" % (name, REPLIES))
        lines.append("-I INPUT 2 -i %s -j droplan-peers" % name)
        lines.append("-I INPUT 3 -i %s -j DROP" % name)
        lines.append("-I FORWARD 1 -i %s -j droplan-forward" % name)
    return "\n".join(lines + ["COMMIT", ""])


def close_with_iptables(names):
    """Add droplan's rules without a peer to both families. Return None, or why not."""
    for program, accepted in (("iptables", []), ("ip6tables", ALIVE)):
        text = restore_input(names, accepted)
        status, output = run([program + "-restore", "-w", "10", "--noflush"], text)
        if status != 0:  # iptables before 1.6.2 has no -w here
            status, output = run([program + "-restore", "--noflush"], text)
        if status != 0:
            return output.strip()
    return None


def filter_of(name):
    """Return the words with which tc names our filter on an interface."""
    return ["dev", name, "ingress", "pref", PREFERENCE]


def close_with_tc(names):
    """Drop all that comes in but ARP and what goes on of TCP. Return None, or why not."""
    if not set(os.listdir("/sys/class/net")) - set(names) - {"lo"}:
        return "no tc where this is the only interface, as droplan could then not be fetched"
    for name in names:
        deadline = time.time() + PATIENCE
        while not os.path.exists("/sys/class/net/" + name) and time.time() < deadline:
            time.sleep(0.1)  # early at boot; the other ways don't need it to be there
        run(["tc", "qdisc", "add", "dev", name, "ingress"])  # fails where there is one, which serves as well
        match = ["handle", "1", "protocol", "all", "bpf", "direct-action", "bytecode", WHAT_GOES_ON]
        status, output = run(["tc", "filter", "replace"] + filter_of(name) + match)
        if status != 0:
            return output.strip()
    return None


def close_somehow(names):
    """Close by the first way that works. Return None, or why none did."""
    reasons = []
    for way in (close_with_nft, close_with_iptables, close_with_tc):
        failed = way(names)
        if not failed:
            return None
        reasons.append(" ".join(failed.split()))
    return "; ".join(reasons)


def reopen():
    """Remove the table or the filters, and have no boot close again.

    Rules made with iptables stay: they are droplan's layout, and droplan's now.
    """
    if os.path.exists(REMEMBERED):
        os.remove(REMEMBERED)
    run(["nft", "delete", "table", "inet", TABLE])
    for name in os.listdir("/sys/class/net"):
        if run(["tc", "filter", "del"] + filter_of(name))[0] == 0:
            if not run(["tc", "filter", "show", "dev", name, "ingress"])[1].strip():  # nobody else's there
                run(["tc", "qdisc", "del", "dev", name, "ingress"])


def remember(names):
    """Keep the names for the next boot, when the metadata service cannot be asked before the network is up."""
    with open(REMEMBERED, "w") as remembered:
        remembered.write("\n".join(names) + "\n")


def interfaces(found):
    """Return the names of the private interfaces: as the metadata say, else as remembered."""
    try:
        return names_of(private_macs(found.get("DROPLAN_METADATA_URL") or METADATA))
    except UNREADABLE:
        if not os.path.exists(REMEMBERED):
            raise
        with open(REMEMBERED) as remembered:
            return remembered.read().split()


def close(remembered_only):
    """Close the private interfaces if the settings ask for it. Return (exit status, sentence)."""
    found = settings()
    if found.get("DROPLAN_FAIL_CLOSED", "").lower() != "true":
        return 0, "The private interface is OPEN, as DROPLAN_FAIL_CLOSED is not set."
    if found.get("DROPLAN_MODE", "").lower() == "observe":
        return 0, "The private interface is OPEN, as DROPLAN_MODE is observe."
    if guarded_by_droplan():
        return 0, "The private interface is guarded by the rules that droplan has."
    try:
        if remembered_only:
            with open(REMEMBERED) as remembered:
                names = remembered.read().split()
        else:
            names = interfaces(found)
    except UNREADABLE as error:
        return (
            1,
            "The private interface is OPEN: the metadata service does not say which it is (%s): see that %s answers."
            % (error, METADATA),
        )
    if not names:
        return 0, "There is no private interface to close."
    failed = close_somehow(names)
    if failed:
        return 1, "The private interface is OPEN: nothing here can close it (%s): install nftables." % failed
    remember(names)
    return 0, "The private interface %s is closed." % ", ".join(names)


def main():
    """Do what the command line says; return the exit status."""
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"
    if sys.argv[1:] == ["--open"]:
        reopen()
        return 0
    status, sentence = close(sys.argv[1:] == ["--remembered"])
    print(sentence)
    return status


if __name__ == "__main__":
    sys.exit(main())
