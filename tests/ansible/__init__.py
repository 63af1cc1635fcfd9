"""The role of ansible/, run by the real ansible-core over the real ssh against Droplets that really boot."""
