"""Write the firewall: who may come in becomes rules, and the rules become the kernel's, in whole transactions.

*The guard* shuts out. It is ours alone and stands before everybody's rules: a table of nftables in prerouting, or,
where nf_tables is not, chains in mangle's PREROUTING. *The door* lets in: droplan-peers in INPUT, as the tutorial
shows it, before a REJECT of the host's. docs/guard.md says more; docs/rules.md shows the rules.

Goals, and how each is met:

* *No packet of a peer is lost, no stranger is let in, at any moment.* Each table is one transaction: the kernel swaps
  the old rules for the new ones between two packets. The guard is written first, and what stands in an earlier
  backend's place goes last; both admit whoever stays a peer, so the order never costs one a packet.
* *Everybody else's rules and counters stay untouched.* We own our table, the chains whose names begin with
  ``droplan-``, and a few rules in built-in chains. Nothing else is declared, flushed or deleted. Our rules are
  deleted by their full text, never by number: a number may mean another rule by then.
* *What is right is not written again.* The kernel is read, compared, and left alone when nothing differs.

What other programs may do, and how we survive it:

* *Insert before our rules* (Docker, fail2ban, a person with ``iptables -I``): the guard in nftables comes before all
  of that, and in mangle ours are moved back to the head. In INPUT what others put above stays: a ban is to hold. Only
  from behind a bare DROP or REJECT, which would shut out the peers too, the door is moved.
* *Flush their tables* (``iptables -F``, firewalld's reload): the guard in nftables stays; the next refresh writes the
  door again. A flush of mangle takes the guard there away until then, and ``nft flush ruleset`` the one in nftables,
  but for a reload of nftables.service, where our include is part of the same transaction.
* *Write between our read and our write*: a deletion by text then fails, the transaction with it, and we read again.
  python-iptables would overwrite their change instead, so it runs under xtables.lock from read to commit.
* *Hold the lock*: iptables-restore waits for it, a bounded time.
* *Mix native nft rules into the table of iptables-nft*: iptables cannot read it then, an error that names it.

``policy`` says who may come in. ``nft_guard``, ``mangle``, ``ruleset`` (the door) and ``tree`` turn that into rules;
``nft_table`` and ``edits`` compare them with what is there and list what to do: all pure. ``nftables`` and
``iptables`` (by ``restore`` or ``libiptc``) read, write and read back. ``enforcement`` is guard and door together;
``choose`` says which they are here, and why.
"""
