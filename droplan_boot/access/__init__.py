"""Decide who may reach what. Pure: what was listed and set goes in, a policy comes out."""
