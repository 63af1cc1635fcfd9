"""A stand-in for the digitalocean/digitalocean provider, so that the examples can be applied without an account.

It knows the resources that the examples use, in the shapes of the provider's own schemas (version 2), and creates
Droplets through the DigitalOcean API at ``DIGITALOCEAN_API_URL``, which in tests is one of ours. VPCs, tags and
Spaces stay within the stub: the fake APIs know Droplets only. ``__main__.py`` says how to run it.
"""
