"""A fleet's shared source against the real engine of Spaces."""
