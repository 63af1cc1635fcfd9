"""What droplan costs, measured against the alternatives; ``script/bench`` runs it and writes docs/benchmarks.md.

Everything is measured in one run, interleaved: round by round each candidate has its turn, so that whatever else
the machine does meets them all. Medians are shown with minimum and maximum; read ratios, not numbers.
"""
