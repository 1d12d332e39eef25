"""Tasks: what is predicted, its loss and its metrics."""

from patchtrain.tasks.base import Task
from patchtrain.tasks.classification import Classification

__all__ = ["Classification", "Task"]
