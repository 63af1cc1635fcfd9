"""One pass from the settings to the kernel: learn who may come in, enforce it, report. Verbs are built on it."""
