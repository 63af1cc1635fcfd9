"""A fleet's own list of its Droplets: what a publisher signed, in an object store that the user already has."""
