"""The verbs: one module each, named as on the command line.

``words`` and ``budget`` are how they speak to people; ``standing`` finds out what ``status`` tells.
"""
