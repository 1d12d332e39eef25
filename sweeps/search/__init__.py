"""What to try next: the space of a sweep, what fits into memory, samplers, early stopping.

Knows nothing of result files, nodes and trackers.
"""
