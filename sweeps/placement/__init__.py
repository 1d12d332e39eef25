"""Where trials run: the Ray cluster, and what each trial reserves there.

Knows nothing of the search.
"""
