"""Droplets that really boot, and the region around them."""
