"""patchtrain: train vision models on high-resolution images inside a hard memory budget."""

__version__ = "0.1.0"
