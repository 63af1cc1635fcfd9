"""Write the firewall: who may come in becomes rules, and the rules become the kernel's, in one transaction.

Goals, and how each is met:

* *No packet of a peer is lost, no stranger is let in, at any moment.* All changes of a family are one transaction:
  the kernel swaps the old ruleset for the new one between two packets.
* *Everybody else's rules and counters stay untouched.* We own the chains whose names begin with ``droplan-``, and a
  few rules at the head of INPUT, FORWARD and (with DROPLAN_LOCK_METADATA) OUTPUT. Nothing else is declared, flushed
  or deleted. Our rules are deleted by their full text, never by number: a number may mean another rule by then.
* *What is right is not written again.* The kernel is read, compared, and left alone when nothing differs.

What other programs may do to the table, and how we survive it:

* *Insert before our rules* (Docker, fail2ban, a person with ``iptables -I``): the next refresh moves ours back to the
  head, deleting and inserting in the same transaction.
* *Flush the table* (``iptables -F``, ``netfilter-persistent reload``): our chains and rules are missing, so the next
  refresh writes them again.
* *Write between our read and our write*: a deletion by text then fails, the transaction with it, and we read again.
  python-iptables would overwrite their change instead, so it runs under xtables.lock from read to commit.
* *Hold the lock*: iptables-restore waits for it, a bounded time.
* *Mix native nft rules into the table of iptables-nft*: iptables cannot read it then, an error that names it.

``policy`` says who may come in. ``ruleset`` and ``tree`` turn that into rules, ``edits`` compares them with what is
there and lists what to do: all pure. ``iptables`` reads, has the edits written by ``restore`` or ``libiptc``, and
reads back. On hosts without iptables ``nft_table`` (pure) and ``nftables`` do the same for nft. ``choose`` picks one
and says why.
"""
