#!/bin/sh
# The way of the Go droplan and of the tutorial: flush the chain, then one iptables process for each peer.
#   per_rule.sh INTERFACE < addresses
iptables -N droplan-peers 2>/dev/null
iptables -F droplan-peers
while read -r peer; do
    iptables -A droplan-peers -s "$peer" -j ACCEPT
done
iptables -C INPUT -i "$1" -j droplan-peers 2>/dev/null || iptables -A INPUT -i "$1" -j droplan-peers
for rule in "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT" "-j DROP"; do
    # shellcheck disable=SC2086 # words of a rule
    iptables -C INPUT -i "$1" $rule 2>/dev/null || iptables -A INPUT -i "$1" $rule
done
