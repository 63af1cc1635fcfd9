"""What script/build makes: dist/droplan.pyz and what lies beside it. Needs root; see docs/building.md.

Every start happens in a mount and network namespace of its own, with an empty /var/lib: the machine's own
/var/lib/droplan and firewall are never touched.
"""
