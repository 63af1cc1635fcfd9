"""`install` from any broken state, `uninstall` from any installed one: whole machines are compared, not spots."""
