"""A lab's Droplet that looks like Enterprise Linux: real dnf and rpm, stand-ins for the packages."""
