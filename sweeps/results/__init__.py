"""What a sweep leaves in its RUN_DIR: rows, checkpoints, the search's journal.

Knows nothing of trainers and trackers.
"""
