"""From clone to a changed, tested line, as CONTRIBUTING.md tells it."""
