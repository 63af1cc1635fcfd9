"""`install` from any broken state, `uninstall` from any installed one: whole Droplets are compared, not spots."""
