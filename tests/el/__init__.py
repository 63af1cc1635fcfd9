"""droplan on Enterprise Linux: real dnf and rpm, stand-ins for the packages (docs/distributions.md)."""
