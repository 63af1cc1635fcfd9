"""The watcher: it sleeps in the kernel, hears what concerns droplan, and starts the ordinary program when it must.

It lives as long as the machine, so it is bare Python: no dataclasses, typing or pathlib, and of droplan's own rooms
only ``firewall.nflog`` and ``host.netlink``; everything else runs in a child that ends. ``host.netlink`` reads the
kernel's messages, and ``nflog``, ``rulesets`` and ``links`` say what they mean. ``lookups``, ``healing`` and
``overdue`` decide: pure, on a clock that is passed in. ``shut_out`` remembers who was shut out, ``outline`` reads
droplan's state, ``children`` starts what was decided, and ``loop`` listens.
"""
